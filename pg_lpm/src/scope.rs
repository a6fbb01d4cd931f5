//! Whose rows this transaction may touch: kept in backend memory, read by the row security policies.
//!
//! Only `lpm_owner` may execute `lpm.set_scope`, so only the `enter_…` functions of `sql/scope.sql` do,
//! after they have checked a token. No setting is involved, so nothing that a client can write widens it.
//! A scope is worth nothing outside the transaction that entered it, and that transaction cannot be prepared: it would
//! keep its locks beyond the session, and commit in another one, where nobody waits for its place in the WAL.

use pgrx::Uuid;
use pgrx::prelude::*;
use std::cell::RefCell;

#[derive(Default)]
struct Scope {
    transaction: u32,
    account: Option<Uuid>,
    orgs: Vec<Uuid>,
    led_orgs: Vec<Uuid>,
    vault: Option<String>,
    vault_user: Option<Uuid>,
    vault_org: Option<Uuid>,
}

thread_local! {
    static SCOPE: RefCell<Scope> = RefCell::default();
}

/// The local number of the running transaction: never used twice by a backend until it wraps.
fn current_transaction() -> u32 {
    // SAFETY: a backend that runs SQL has a PGPROC, and reads its own field.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
        return (*pg_sys::MyProc).lxid;
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        return (*pg_sys::MyProc).vxid.lxid;
    }
}

fn read<T>(field: impl FnOnce(&Scope) -> T, nothing: T) -> T {
    SCOPE.with_borrow(|scope| if scope.transaction == current_transaction() { field(scope) } else { nothing })
}

/// Enters a scope for the rest of this transaction, in place of the one before. True where a vault is in it.
#[pg_extern(volatile, parallel_unsafe)]
fn set_scope(
    account: Option<Uuid>,
    orgs: Option<Vec<Uuid>>,
    led_orgs: Option<Vec<Uuid>>,
    vault: Option<String>,
    vault_user: Option<Uuid>,
    vault_org: Option<Uuid>,
) -> bool {
    let transaction = current_transaction();
    if SCOPE.with_borrow(|scope| scope.transaction) != transaction {
        pgrx::register_xact_callback(pgrx::PgXactCallbackEvent::PrePrepare, || {
            ereport!(
                ERROR,
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "a transaction that has called lpm_api cannot be prepared"
            );
        });
    }
    let has_vault = vault.is_some();
    SCOPE.set(Scope {
        transaction,
        account,
        orgs: orgs.unwrap_or_default(),
        led_orgs: led_orgs.unwrap_or_default(),
        vault,
        vault_user,
        vault_org,
    });
    has_vault
}

/// The account in scope.
#[pg_extern(stable, parallel_restricted)]
pub(crate) fn scope_account() -> Option<Uuid> {
    read(|scope| scope.account, None)
}

/// The orgs that the account in scope is a member of.
#[pg_extern(stable, parallel_restricted)]
pub(crate) fn scope_orgs() -> Vec<Uuid> {
    read(|scope| scope.orgs.clone(), Vec::new())
}

/// The orgs in which the account in scope is owner or admin.
#[pg_extern(stable, parallel_restricted)]
pub(crate) fn scope_led_orgs() -> Vec<Uuid> {
    read(|scope| scope.led_orgs.clone(), Vec::new())
}

/// The vault in scope: of a CI request, or one that the account in scope owns.
#[pg_extern(stable, parallel_restricted)]
pub(crate) fn scope_vault() -> Option<String> {
    read(|scope| scope.vault.clone(), None)
}

/// The account that owns the vault id in scope.
#[pg_extern(stable, parallel_restricted)]
pub(crate) fn scope_vault_user() -> Option<Uuid> {
    read(|scope| scope.vault_user, None)
}

/// The org that owns the vault id in scope.
#[pg_extern(stable, parallel_restricted)]
pub(crate) fn scope_vault_org() -> Option<Uuid> {
    read(|scope| scope.vault_org, None)
}

// What row security asks of each row: one call for a rule, because all of them are part of every plan.

/// Is this the account in scope, or the one that owns the vault id in scope?
#[pg_extern(stable, parallel_restricted)]
fn scope_has_account(id: Option<Uuid>) -> bool {
    id.is_some() && read(|scope| id == scope.account || id == scope.vault_user, false)
}

/// Is the account in scope a member of this org, or does the org own the vault id in scope?
#[pg_extern(stable, parallel_restricted)]
fn scope_has_org(id: Option<Uuid>) -> bool {
    id.is_some_and(|id| read(|scope| scope.orgs.contains(&id) || scope.vault_org == Some(id), false))
}

/// Does a row of this account or org belong to the account in scope, or to one of its orgs?
#[pg_extern(stable, parallel_restricted)]
fn scope_owns(user_id: Option<Uuid>, org_id: Option<Uuid>) -> bool {
    read(|scope| is_one(user_id, scope.account) || org_id.is_some_and(|id| scope.orgs.contains(&id)), false)
}

/// Does a row of this account or org belong to the account in scope, or to an org in which it is owner or admin?
#[pg_extern(stable, parallel_restricted)]
fn scope_leads(user_id: Option<Uuid>, org_id: Option<Uuid>) -> bool {
    read(
        |scope| is_one(user_id, scope.account) || org_id.is_some_and(|id| scope.led_orgs.contains(&id)),
        false,
    )
}

/// Is it a row of the vault in scope, and of an account or org that owns its id?
#[pg_extern(stable, parallel_restricted)]
fn scope_opens(vault_id: Option<&str>, user_id: Option<Uuid>, org_id: Option<Uuid>) -> bool {
    let opens = |scope: &Scope| {
        vault_id.is_some_and(|id| scope.vault.as_deref() == Some(id))
            && (is_one(user_id, scope.vault_user) || is_one(org_id, scope.vault_org))
    };
    read(opens, false)
}

/// The same, and there at all.
fn is_one(id: Option<Uuid>, other: Option<Uuid>) -> bool {
    id.is_some() && id == other
}
