//! The extension: thin shells around `lpm-core`, and what only a server process can do.
//!
//! [`keyring`] and [`worker`] bring the escrow keys into shared memory, [`scope`] keeps whose rows a
//! transaction may touch, [`opened`] lets each grant be opened once. Everything else converts, calls
//! lpm-core, converts: [`answer`], [`claims`], [`policy`], [`decision`], [`envelope`], [`orgs`], [`accounts`].
//! Joins and writes are plpgsql, in `sql/`.

use pgrx::prelude::*;

mod accounts;
mod answer;
mod claims;
mod decision;
mod envelope;
mod keyring;
mod opened;
mod orgs;
mod policy;
mod scope;
mod session;
mod settings;
mod source;
mod worker;

pgrx::pg_module_magic!(name, version);

extension_sql_file!("../../sql/roles.sql", bootstrap);
extension_sql_file!("../../sql/tables.sql", requires = ["roles"]);
extension_sql_file!("../../sql/tables_sessions.sql", requires = ["tables"]);
extension_sql_file!("../../sql/scope.sql", requires = ["tables_sessions"]);
extension_sql_file!("../../sql/members.sql", requires = ["scope"]);
extension_sql_file!(
    "../../sql/row_security.sql",
    requires = [
        "scope",
        scope::scope_account,
        scope::scope_orgs,
        scope::scope_led_orgs,
        scope::scope_vault,
        scope::scope_vault_user,
        scope::scope_vault_org,
        scope::scope_has_account,
        scope::scope_has_org,
        scope::scope_owns,
        scope::scope_leads,
        scope::scope_opens
    ]
);
extension_sql_file!(
    "../../sql/issuers.sql",
    requires = ["tables", answer::failure, keyring::has_escrow_keys]
);
extension_sql_file!("../../sql/api_vaults.sql", requires = ["scope"]);
extension_sql_file!("../../sql/api_orgs.sql", requires = ["api_vaults"]);
extension_sql_file!("../../sql/api_versions.sql", requires = ["scope"]);
extension_sql_file!("../../sql/api_members.sql", requires = ["members"]);
extension_sql_file!("../../sql/api_invitations.sql", requires = ["members"]);
extension_sql_file!("../../sql/api_policies.sql", requires = ["scope", policy::describe_policy]);
extension_sql_file!("../../sql/api_escrow.sql", requires = ["scope", answer::failure]);
extension_sql_file!("../../sql/api_ci.sql", requires = ["scope", keyring::has_escrow_key]);
extension_sql_file!("../../sql/sessions.sql", requires = ["scope"]);
extension_sql_file!("../../sql/pairing.sql", requires = ["sessions"]);
extension_sql_file!("../../sql/admin_accounts.sql", requires = ["tables"]);
extension_sql_file!("../../sql/admin_issuers.sql", requires = ["admin_accounts"]);
extension_sql_file!("../../sql/admin_vaults.sql", requires = ["admin_accounts", "api_ci"]);
extension_sql_file!("../../sql/health.sql", requires = ["tables", keyring::loaded_escrow_keys]);
extension_sql_file!("../../sql/dashboard.sql", requires = ["tables"]);
extension_sql_file!(
    "../../sql/dump.sql",
    requires = [
        "row_security",
        "members",
        "issuers",
        "api_orgs",
        "api_versions",
        "api_members",
        "api_invitations",
        "api_policies",
        "api_escrow",
        "pairing",
        "admin_issuers",
        "admin_vaults",
        "health",
        "dashboard"
    ]
);
extension_sql_file!("../../sql/grants.sql", requires = ["dump"], finalize);

/// Registers settings, shared memory and the worker. Never raises: `pg_upgrade` loads libraries bare.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // SAFETY: a plain flag of the server, read in the postmaster or backend that loads us.
    let preloading = unsafe { pg_sys::process_shared_preload_libraries_in_progress };
    settings::register(preloading);
    if preloading {
        source::take_environment();
        keyring::register();
        opened::register();
        worker::register();
        settings::protect_memory();
    }
}
