//! Parameters that several operations take. The types only describe: handlers read the request themselves.
//!
//! Lengths are in characters here and in bytes where they are checked, so a text that is refused for its length
//! may be one that the document allows: the answer is the documented 400.
#![expect(dead_code, reason = "nobody makes one")]

use utoipa::IntoParams;

/// A vault in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct VaultPath {
    /// The vault's id: any text of 1 to 256 bytes, percent-encoded.
    #[param(min_length = 1, max_length = 256, example = "web")]
    vault: String,
}

/// A policy in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct PolicyPath {
    /// The policy's id.
    #[param(min_length = 1, max_length = 256)]
    policy: String,
}

/// A vault that has to be named.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct VaultQuery {
    /// The vault's id: any text of 1 to 256 bytes.
    #[param(min_length = 1, max_length = 256, example = "web")]
    vault_id: String,
}

/// A vault that may be named.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct OptionalVaultQuery {
    /// The vault's id: any text of 1 to 256 bytes.
    #[param(min_length = 1, max_length = 256, example = "web")]
    vault_id: Option<String>,
}

/// The org whose vault it is.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OrgQuery {
    /// The slug of the org whose vault it is; absent: the caller's own.
    #[param(min_length = 1, max_length = 256, example = "acme")]
    org: Option<String>,
}

/// An environment.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EnvironmentQuery {
    /// The environment, an alias or not; absent means `default`.
    #[param(max_length = 256, example = "production")]
    env: Option<String>,
}

/// Where a page begins.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CursorQuery {
    /// `nextCursor` of the page before; absent: the newest entries.
    #[param(pattern = "^[0-9]{1,18}$")]
    cursor: Option<String>,
}

/// An org in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OrgPath {
    /// The org's slug.
    #[param(min_length = 1, max_length = 256, example = "acme")]
    org: String,
}

/// A member of an org, or who is to be one, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct HandlePath {
    /// The account's handle.
    #[param(min_length = 1, max_length = 256, example = "bob")]
    handle: String,
}

/// A login session in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct SessionPath {
    /// The session's id.
    #[param(min_length = 1, max_length = 256)]
    id: String,
}

/// A pairing code in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct CodePath {
    /// Six characters, as the browser shows them.
    #[param(pattern = "^[0-9A-Za-z]{6}$", example = "K7WQ2M")]
    code: String,
}

/// What else ends with a membership.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct RevokePoliciesQuery {
    /// Whether the org's policies that the member wrote end too; absent means `false`.
    revoke_policies: Option<bool>,
}
