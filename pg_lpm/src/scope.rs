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

/// Enters a scope for the rest of this transaction, in place of the one before.
#[pg_extern(volatile, parallel_unsafe)]
fn set_scope(
    account: Option<Uuid>,
    orgs: Option<Vec<Uuid>>,
    led_orgs: Option<Vec<Uuid>>,
    vault: Option<String>,
    vault_user: Option<Uuid>,
    vault_org: Option<Uuid>,
) {
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
    SCOPE.set(Scope {
        transaction,
        account,
        orgs: orgs.unwrap_or_default(),
        led_orgs: led_orgs.unwrap_or_default(),
        vault,
        vault_user,
        vault_org,
    });
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
