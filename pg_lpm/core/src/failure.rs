//! The one table of failures: code → HTTP status, exit code, text, hint.
//!
//! SQL names a failure by its code, the gateway turns it into a reply, the command line into an exit
//! code. Nothing else in the product maps failures. Texts name the thing and the reason, hints the next
//! step; `{name}` stands for an argument, `{name|word}` for the same as one word of a shell, and
//! `{name|literal}` as a string of SQL. Arguments come from callers, so they are shortened and their
//! control characters escaped before they reach a text, a log or an audit row.

use serde::Serialize;
use std::fmt;

/// Longest argument, in bytes, that a text repeats.
pub const MAX_ARGUMENT: usize = 256;

/// Exit codes of the command line (and nothing else: `2` is also clap's).
pub mod exit {
    /// Something failed: a conflict, a missing vault, a local file.
    pub const FAILURE: u8 = 1;
    /// The command or its input is wrong.
    pub const USAGE: u8 = 2;
    /// The server refused: identity, policy, plan.
    pub const DENIED: u8 = 3;
    /// Nobody answered, or not now.
    pub const UNAVAILABLE: u8 = 4;
}

macro_rules! failures {
    ($( $(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $exit:ident, $text:literal, $hint:expr; )*) => {
        /// Why something was refused or failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $( $(#[$doc])* $variant, )* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[ $( Code::$variant, )* ];

            fn row(self) -> (&'static str, u16, u8, &'static str, &'static str) {
                match self { $( Code::$variant => ($code, $status, exit::$exit, $text, $hint), )* }
            }
        }
    };
}

failures! {
    // Step 1: the token itself. 401, and nothing about any vault.
    TokenMalformed = "token_malformed", 401, DENIED, "the OIDC token is malformed: {reason}", "request a fresh token from the CI provider and pass it unchanged";
    TokenTooLarge = "token_too_large", 401, DENIED, "the OIDC token is larger than 16 KiB", "";
    TokenHeader = "token_header", 401, DENIED, "the OIDC token's header is not acceptable: {reason}", "";
    TokenAlgorithm = "token_algorithm", 401, DENIED, "the issuer is not trusted with the signature algorithm `{algorithm}`", "a DBA can allow more with `select lpm.trust_issuer(…, algorithms => …)`";
    TokenIssuer = "token_issuer", 401, DENIED, "the issuer `{issuer}` is not trusted here", "a DBA can trust it with `select lpm.trust_issuer('github' or 'gitlab', {issuer|literal})`";
    TokenKey = "token_key", 401, DENIED, "the issuer publishes no key with the token's key id", "if the issuer has just rotated its keys, try again in a minute";
    TokenSignature = "token_signature", 401, DENIED, "the OIDC token's signature does not hold", "request a fresh token from the CI provider and pass it unchanged";
    TokenExpired = "token_expired", 401, DENIED, "the OIDC token has expired", "request the token in the step that uses it; if it was fresh, check the runner's clock";
    TokenNotYetValid = "token_not_yet_valid", 401, DENIED, "the OIDC token is not valid yet", "check the clocks of the runner and of the gateway";
    TokenTooOld = "token_too_old", 401, DENIED, "the OIDC token was issued too long ago", "request the token in the step that uses it";
    TokenLifetime = "token_lifetime", 401, DENIED, "the OIDC token lives longer than this issuer is trusted with", "a DBA can raise `max_lifetime` with `lpm.trust_issuer`";
    TokenAudience = "token_audience", 401, DENIED, "the OIDC token's audience `{audience}` is not this server", "request the token for the audience `{expected}`";
    TokenClaims = "token_claims", 401, DENIED, "the OIDC token's claim `{claim}` {reason}", "";
    /// The issuer's keys have never been fetched, or not for longer than they may be used.
    IssuerUnavailable = "issuer_unavailable", 503, UNAVAILABLE, "the signing keys of `{issuer}` are not available right now", "try again in a minute";

    // Steps 2 to 15, in the order of the decision.
    NoPolicy = "no_policy", 403, DENIED, "no OIDC policy of this vault allows {subject}", "on a machine that has the vault: `lpm env oidc allow --provider={provider} {subject_flag} --env={environment|word}` (published 0.28: `lpm use vars oidc allow … --repo=…`)";
    Replayed = "replayed", 403, DENIED, "this OIDC token has been used already ({max_uses} per token)", "request a fresh token for every pull";
    IdentityChanged = "identity_changed", 403, DENIED, "`{subject}` is not the repository or project that this policy was made for: its id is now `{id}`", "if it was re-created on purpose: `lpm env oidc repin {subject}`";
    OwnerChanged = "owner_changed", 403, DENIED, "`{subject}` has a new owner: its owner id is now `{id}`", "if it was transferred on purpose: `lpm env oidc repin {subject}`";
    PolicyLapsed = "policy_lapsed", 403, DENIED, "the policy for `{subject}` has lapsed: it granted nothing within 30 days of its creation", "run `lpm env oidc allow` for it again (published 0.28: `lpm use vars oidc allow`)";
    EventNotAllowed = "event_not_allowed", 403, DENIED, "the event `{event}` is not allowed to pull", "{next}";
    ForkNotAllowed = "fork_not_allowed", 403, DENIED, "this run may be a fork's ({what}), and forks are not allowed to pull", "{next}";
    BranchNotAllowed = "branch_not_allowed", 403, DENIED, "the branch `{branch}` is not allowed to pull", "allow it: `lpm env oidc allow … --branch={branch|word}` (published 0.28: `lpm use vars oidc allow … --branch={branch|word}`)";
    TagNotAllowed = "tag_not_allowed", 403, DENIED, "the tag `{tag}` is not allowed to pull", "allow it: `lpm env oidc allow … --tag={tag|word}`";
    RefNotAllowed = "ref_not_allowed", 403, DENIED, "the ref `{ref}` is neither a branch nor a tag of the repository itself", "pull from a run on a branch";
    EnvironmentNotAllowed = "environment_not_allowed", 403, DENIED, "the environment `{environment}` is not allowed for this workflow", "allow it: `lpm env oidc allow … --env={environment|word}` (published 0.28: `lpm use vars oidc allow … --env={environment|word}`)";
    CiEnvironmentNotAllowed = "ci_environment_not_allowed", 403, DENIED, "the job's deployment environment `{ci_environment}` is not allowed to pull", "set the job's `environment:` to the one that the policy names";
    WorkflowNotAllowed = "workflow_not_allowed", 403, DENIED, "the workflow `{workflow}` is not allowed to pull", "allow it: `lpm env oidc allow … --workflow=FILE`";
    ReusableWorkflowNotAllowed = "reusable_workflow_not_allowed", 403, DENIED, "the reusable workflow `{workflow}` is not allowed to pull", "allow it: `lpm env oidc allow … --reusable-workflow=FILE@REF`";
    RefNotProtected = "ref_not_protected", 403, DENIED, "the ref `{ref}` is not protected", "protect the branch or tag at the provider";
    RunnerNotAllowed = "runner_not_allowed", 403, DENIED, "a `{runner}` runner is not allowed to pull", "run the job on the kind of runner that the policy names";
    AudienceNotAllowed = "audience_not_allowed", 403, DENIED, "the audience `{audience}` is not allowed by the policy", "pull with this server's own `lpm`";
    PlanCiPull = "plan_ci_pull", 403, DENIED, "Vault CI pull requires a Pro or Org plan", "a DBA sets plans with `select lpm.set_plan({owner|literal}, 'pro')`";
    EscrowOff = "escrow_off", 403, DENIED, "CI escrow is off for this vault", "on a machine that has the vault: `lpm env oidc allow` (published 0.28: `lpm use vars oidc allow`)";
    NeverPushed = "never_pushed", 404, FAILURE, "the vault has a policy but was never pushed", "on a machine that has the vault: `lpm env push` (published 0.28: `lpm use vars push`)";
    NoEscrowKey = "no_escrow_key", 503, UNAVAILABLE, "the server has no escrow key loaded", "a DBA finds the reason with `select * from lpm.health`";
    EscrowMismatch = "escrow_mismatch", 409, FAILURE, "the escrowed key no longer opens the vault", "run `lpm env oidc allow` again on the machine that pushed last (published 0.28: `lpm use vars oidc allow`)";
    OrgShareWithoutEscrow = "org_share_without_escrow", 409, FAILURE, "the last share left CI out; run \"lpm env share --org {org}\" with this lpm", "";
    PayloadType = "payload_type", 422, FAILURE, "the decrypted vault is not what it should be: {path} must be {expected}", "push the vault again";
    EnvironmentAbsent = "environment_absent", 404, FAILURE, "the vault has no environment `{environment}`", "on a machine that has the vault: `lpm env list`, then `lpm env push`";
    /// `open` refused: the grant is unknown, too old, not committed, or opened already.
    NotOpenable = "not_openable", 403, DENIED, "this request has no grant that can be opened", "start again with a fresh token";
    /// The wait for the synchronous standby was cut short, so the audit row may not survive.
    AuditNotDurable = "audit_not_durable", 503, UNAVAILABLE, "the audit entry is not yet on the synchronous standby", "try again in a moment";

    // The token between exchange and pull.
    CiTokenInvalid = "ci_token_invalid", 401, DENIED, "the CI token is unknown, expired or used up", "exchange a fresh OIDC token";
    CiTokenScope = "ci_token_scope", 403, DENIED, "the CI token is not good for {what}", "exchange an OIDC token for this vault and environment";

    // Accounts and their tokens.
    Unauthorized = "unauthorized", 401, DENIED, "no valid token", "run `lpm login`, or set LPM_TOKEN to a token made with `select lpm.create_token('you', name => 'laptop')`";
    TokenScope = "token_scope", 403, DENIED, "this token may only {allowed}", "use a token with scope `all`";
    PlanSync = "plan_sync", 403, DENIED, "Vault sync requires a Pro or Org plan", "a DBA sets plans with `select lpm.set_plan({owner|literal}, 'pro')`";
    PlanCiEscrow = "plan_ci_escrow", 403, DENIED, "CI escrow requires a Pro or Org plan", "a DBA sets plans with `select lpm.set_plan({owner|literal}, 'pro')`";
    PlanOrgPolicy = "plan_org_policy", 403, DENIED, "Org-scoped policies require an Org plan", "a DBA sets plans with `select lpm.set_plan({owner|literal}, 'org')`";

    // Login sessions and pairing.
    LoginCodeInvalid = "login_code_invalid", 401, DENIED, "the login code is unknown, used or expired", "run `lpm login` again";
    SessionEnded = "session_ended", 401, DENIED, "the login session has ended", "run `lpm login`";
    /// An old refresh token came back, so somebody else may have it: the whole session is over.
    SessionReused = "session_reused", 401, DENIED, "the login session has been ended, because an old refresh token of it was used again", "run `lpm login`; if no copy of your home directory is in use, have your tokens revoked";
    SessionNeeded = "session_needed", 403, DENIED, "this needs a login session, and the token is none", "run `lpm login`";
    SessionUnknown = "session_unknown", 404, FAILURE, "no session `{session}` of yours", "`lpm sessions` shows them";
    TokenUnknown = "token_unknown", 404, FAILURE, "that is no token of yours, or it has ended", "";
    PairingEnded = "pairing_ended", 410, FAILURE, "the pairing code has expired or was used", "start again in the browser";
    PairingLimited = "pairing_limited", 429, UNAVAILABLE, "too many wrong pairing codes", "wait ten minutes, then start again in the browser";

    // Orgs.
    OrgRole = "org_role", 403, DENIED, "as {role} of `{org}` you cannot {what}", "ask an owner or admin of the org";
    MemberUnknown = "member_unknown", 404, FAILURE, "`{member}` is not a member of `{org}`", "";
    AlreadyMember = "already_member", 409, FAILURE, "`{member}` is a member of `{org}` already", "";
    TooManyInvitations = "too_many_invitations", 409, FAILURE, "`{org}` has {limit} open invitations, and cannot have more", "take back those that nobody will accept; each ends by itself after 7 days";
    InvitationUnknown = "invitation_unknown", 404, FAILURE, "no invitation to `{org}` waits here", "";
    LastOwner = "last_owner", 409, FAILURE, "`{org}` would be left without an owner", "make somebody else an owner first";
    OrgVaultUnknown = "org_vault_unknown", 404, FAILURE, "`{org}` has no vault `{vault}`", "share it first: `lpm env share --org {org}` (published 0.28: `lpm use vars share --org={org}`)";
    OrgVersionConflict = "org_version_conflict", 409, FAILURE, "the server has version {version} of this vault of `{org}`, not {expected}: pull with `--org` and reconcile before you share again", "`lpm env pull --org {org}`, then `lpm env share --org {org}` (published 0.28: `lpm use vars pull --org={org}`, then `share`)";
    OrgVersionExpected = "org_version_expected", 409, FAILURE, "`{org}` already has version {version} of this vault: pull with `--org` first", "`lpm env pull --org {org}`, then `lpm env share --org {org}` (published 0.28: `lpm use vars pull --org={org}`, then `share`)";
    RecipientMissing = "recipient_missing", 409, FAILURE, "the share leaves out `{member}`, {role} of `{org}`, who has a registered key", "share again: it was made for the members of a moment ago";
    RecipientUnknown = "recipient_unknown", 409, FAILURE, "the share is for {user}, who is not a member of `{org}`", "share again: it was made for the members of a moment ago";

    // Vaults.
    VaultUnknown = "vault_unknown", 404, FAILURE, "no vault `{vault}` of yours", "push it first: `lpm env push` (published 0.28: `lpm use vars push`)";
    VersionConflict = "version_conflict", 409, FAILURE, "the server has version {version} of this vault, not {expected}: pull and reconcile before you push, or push with `--force`", "`lpm env pull`, then `lpm env push` (published 0.28: `lpm use vars pull`, then `push`)";
    VersionExpected = "version_expected", 409, FAILURE, "the server already has version {version} of this vault: pull first, or push with `--force`", "`lpm env pull`, then `lpm env push` (published 0.28: `lpm use vars pull`, then `push`)";
    VaultClaimed = "vault_claimed", 409, FAILURE, "the vault id `{vault}` belongs to someone else, so you cannot open it to CI", "take a new id with `lpm env new-id`, or have a DBA run `select lpm.transfer_vault({vault|literal}, {owner|literal})`";
    ClaimRateLimited = "claim_rate_limited", 429, UNAVAILABLE, "too many vault ids claimed without a push", "push one of them, or wait until they lapse (24 hours)";
    VersionUnknown = "version_unknown", 404, FAILURE, "no version {version} of the vault `{vault}` is kept", "`lpm env restore` shows those that are";
    BlobKnown = "blob_known", 409, FAILURE, "this ciphertext is already stored for another vault", "push from the machine that has the vault: every push encrypts anew";
    BlobInvalid = "blob_invalid", 400, USAGE, "`{field}` is not {expected}", "";
    BlobTooLarge = "blob_too_large", 413, USAGE, "the encrypted vault is larger than 10 MiB", "";

    // Escrow.
    EscrowInvalid = "escrow_invalid", 400, USAGE, "the sealed escrow is not acceptable: {reason}", "";
    EscrowKeyUnknown = "escrow_key_unknown", 409, FAILURE, "the escrow was sealed to the key `{key}`, which the server no longer has", "run `lpm env oidc allow` again";
    EscrowWrongKey = "escrow_wrong_key", 409, FAILURE, "this wrapping key does not open the vault as it was last pushed", "run it on the machine that pushed last, or push first: `lpm env push`";

    EscrowNotOptedIn = "escrow_not_opted_in", 409, FAILURE, "the vault is not open to CI by a key of its own, so the server takes none", "push without it, or open the vault first: `lpm env oidc allow`";
    EscrowPerVault = "escrow_per_vault", 409, FAILURE, "the CI escrow of this vault is its own key, which this client cannot make", "run `lpm env oidc allow` with this server's lpm; where a team uses published clients: `lpm env oidc allow --legacy-clients`";
    EscrowLegacyClients = "escrow_legacy_clients", 409, FAILURE, "the vault is kept open for published clients, so its CI escrow is the wrapping key", "to have a key of its own instead: `lpm env oidc allow --legacy-clients=false`";
    EscrowOrgVault = "escrow_org_vault", 409, FAILURE, "`{vault}` is a vault of the org `{org}`, which needs an escrow of its own", "run `lpm env oidc allow --org {org}` with this server's lpm";
    EscrowOtherBlob = "escrow_other_blob", 409, FAILURE, "the escrow belongs to another version of the vault than the server has", "pull, then run `lpm env oidc allow` again";

    // Policies.
    ProviderUnsupported = "provider_unsupported", 400, USAGE, "the provider `{provider}` is not supported: use `github` or `gitlab`", "{why}";
    PolicyInvalid = "policy_invalid", 400, USAGE, "the policy's `{field}` {reason}", "{next}";
    IssuerNotTrusted = "issuer_not_trusted", 400, USAGE, "the issuer `{issuer}` is not trusted here as `{provider}`", "a DBA can trust it with `select lpm.trust_issuer({provider|literal}, {issuer|literal})`";
    SubjectUnknown = "subject_unknown", 404, FAILURE, "no policy of this vault names `{subject}`", "`lpm env oidc list` shows the subjects";
    PinnedOtherwise = "pinned_otherwise", 409, FAILURE, "`{subject}` is already pinned to the id {id}", "if the repository was re-created or transferred on purpose: `lpm env oidc repin {subject}`";
    TooManyPolicies = "too_many_policies", 409, FAILURE, "the vault `{vault}` has {limit} policies, and cannot have more", "revoke those that nobody needs: `lpm env oidc list`, then `lpm env oidc revoke <id>`";
    OrgUnknown = "org_unknown", 404, FAILURE, "no org `{org}` of yours", "";
    PolicyUnknown = "policy_unknown", 404, FAILURE, "no policy `{policy}` of yours", "`lpm env oidc list` shows their ids";

    // Requests.
    BadRequest = "bad_request", 400, USAGE, "{reason}", "";
    BodyTooLarge = "body_too_large", 413, USAGE, "the request's body is larger than {limit}", "";
    BodyEncoded = "body_encoded", 415, FAILURE, "the request's body is encoded as `{encoding}`", "send it as it is, without `Content-Encoding`";
    HeadTooLarge = "head_too_large", 431, FAILURE, "the request's head is larger than 64 KiB, has more than 100 headers, or announces too large a body", "";
    NotFound = "not_found", 404, FAILURE, "there is nothing at `{path}`", "";
    MethodNotAllowed = "method_not_allowed", 405, USAGE, "`{method}` is not allowed here", "this path takes {allowed}";
    RequestTimeout = "request_timeout", 408, UNAVAILABLE, "the request took too long to arrive", "";
    NotImplemented = "not_implemented", 501, FAILURE, "{reason}", "{next}";
    // A snapshot that a client keeps would outlive every revocation.
    IsolationLevel = "isolation_level", 503, UNAVAILABLE, "the gateway's transactions are not `read committed`", "have the DBA run: alter role <gateway login> set default_transaction_isolation = 'read committed'";
    ReadOnly = "read_only", 503, UNAVAILABLE, "the database is read-only right now", "try again in a moment";
    FailedTokensLimited = "failed_tokens_limited", 429, UNAVAILABLE, "too many OIDC tokens from this address did not hold", "see why they do not before you try again: a token that holds is not held up by this";
    DenialsLimited = "denials_limited", 429, UNAVAILABLE, "too many attempts of this repository or project were denied", "wait a minute; the answers before this one say why they were";
    PullsLimited = "pulls_limited", 429, UNAVAILABLE, "this repository or project pulls too often", "wait as long as `Retry-After` says";
    Busy = "busy", 503, UNAVAILABLE, "the server has as many requests to answer as it can", "try again in a moment";
    Unavailable = "unavailable", 503, UNAVAILABLE, "the database does not answer right now", "try again in a moment";
    // what `/readyz` says from SIGTERM on; requests are still answered
    Stopping = "stopping", 503, UNAVAILABLE, "the gateway is about to stop", "ask another one";
    Internal = "internal", 500, UNAVAILABLE, "something went wrong on the server", "the server's log has the request id";
}

impl Code {
    /// The machine code that clients and audit rows carry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// The exit code of the command line.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        self.row().2
    }

    /// The code with this machine name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

/// The exit code for an answer whose machine code this version does not know: the status decides.
#[must_use]
pub fn exit_code_of_status(status: u16) -> u8 {
    match status {
        400 | 405 | 413 | 422 => exit::USAGE,
        401 | 403 => exit::DENIED,
        408 | 429 | 500.. => exit::UNAVAILABLE,
        _ => exit::FAILURE,
    }
}

/// A code with the arguments that its text needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The row of the table.
    pub code: Code,
    args: Vec<(String, String)>,
}

/// The body of every error reply.
#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    hint: &'a str,
}

impl Failure {
    /// A failure without arguments.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self { code, args: Vec::new() }
    }

    /// Adds the argument `name`, shortened and with its control characters escaped.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.args.push((name.to_owned(), presentable(value.as_ref())));
        self
    }

    /// The sentence for people.
    #[must_use]
    pub fn text(&self) -> String {
        self.fill(self.code.row().3)
    }

    /// The next step, or an empty string.
    #[must_use]
    pub fn hint(&self) -> String {
        self.fill(self.code.row().4)
    }

    /// `{"error", "code", "hint"}`, the hint left out where there is none.
    #[must_use]
    pub fn body(&self) -> String {
        let (error, hint) = (self.text(), self.hint());
        serde_json::to_string(&Body { error: &error, code: self.code.as_str(), hint: &hint })
            .expect("a struct of strings always serializes")
    }

    /// One pass, so that an argument that contains `{name}` is not filled again.
    fn fill(&self, template: &str) -> String {
        let mut out = String::with_capacity(template.len() + 32);
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, tail)) = after.split_once('}') else { break };
            out.push_str(before);
            let (name, form) = name.split_once('|').unwrap_or((name, ""));
            if let Some((_, value)) = self.args.iter().find(|(key, _)| key == name) {
                match form {
                    "word" => out.push_str(&shell_word(value)),
                    "literal" => out.push_str(&format!("'{}'", value.replace('\'', "''"))),
                    _ => out.push_str(value),
                }
            }
            rest = tail;
        }
        out.push_str(rest);
        out
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl std::error::Error for Failure {}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

/// `text` as one word of a POSIX shell: hints are commands that people copy, and whoever names a branch
/// must not get to write them.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// `text` as [`visible`] shows it, cut to [`MAX_ARGUMENT`] bytes at a character boundary.
#[must_use]
pub fn presentable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_ARGUMENT));
    for c in text.chars() {
        let fits = out.len();
        show(c, &mut out);
        if out.len() > MAX_ARGUMENT {
            out.truncate(fits);
            break;
        }
    }
    out
}

/// `text` with control characters escaped.
///
/// Bidirectional and other invisible formatting characters are escaped too: they reorder or hide what a
/// terminal or an audit page shows.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| show(c, &mut out));
    out
}

fn show(c: char, out: &mut String) {
    let hidden = c.is_control()
        || matches!(c,
            '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}');
    if hidden {
        out.extend(c.escape_unicode());
    } else {
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_parse_back() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
            assert!(Code::ALL[i + 1..].iter().all(|other| other.as_str() != code.as_str()));
        }
        assert_eq!(Code::parse("no such code"), None);
    }

    #[test]
    fn exit_codes_follow_the_status() {
        for code in Code::ALL {
            let expected = match code.status() {
                400 | 405 | 413 => exit::USAGE,
                401 | 403 => exit::DENIED,
                408 | 429 | 500 | 503 => exit::UNAVAILABLE,
                _ => exit::FAILURE,
            };
            assert_eq!(code.exit_code(), expected, "{}", code.as_str());
        }
    }

    #[test]
    fn an_argument_is_never_filled_again() {
        let failure = Failure::new(Code::BranchNotAllowed).with("branch", "{branch}{reason}");
        assert_eq!(failure.text(), "the branch `{branch}{reason}` is not allowed to pull");
    }

    #[test]
    fn a_command_in_a_hint_quotes_what_a_caller_named() {
        let hint = |branch: &str| Failure::new(Code::BranchNotAllowed).with("branch", branch).hint();
        assert!(hint("feature/x").contains("--branch=feature/x`"), "{}", hint("feature/x"));
        for (branch, word) in [("$(id)", "'$(id)'"), ("a'b", r"'a'\''b'"), ("a;b", "'a;b'"), ("", "''")] {
            assert!(hint(branch).contains(&format!("--branch={word}`")), "{}", hint(branch));
        }
    }

    #[test]
    fn a_statement_in_a_hint_quotes_what_a_caller_named() {
        let hint = |vault: &str| {
            Failure::new(Code::VaultClaimed).with("vault", vault).with("owner", "al'ice").hint()
        };
        assert!(hint("v1").ends_with("`select lpm.transfer_vault('v1', 'al''ice')`"), "{}", hint("v1"));
        let issuer = Failure::new(Code::TokenIssuer).with("issuer", "x'); drop table lpm.account; --").hint();
        assert!(issuer.ends_with("'x''); drop table lpm.account; --')`"), "{issuer}");
    }

    #[test]
    fn arguments_are_cut_and_control_characters_escaped() {
        let failure = Failure::new(Code::BranchNotAllowed).with("branch", "a\n\u{202E}b");
        assert_eq!(failure.text(), "the branch `a\\u{a}\\u{202e}b` is not allowed to pull");
        assert_eq!(presentable(&"é".repeat(1000)).len(), MAX_ARGUMENT);
        // an escape is there as a whole or not at all
        let almost = "x".repeat(MAX_ARGUMENT - 1);
        assert_eq!(presentable(&format!("{almost}\u{1}y")), almost);
    }

    #[test]
    fn what_nobody_sees_is_shown_escaped() {
        for (hidden, shown) in [
            ("\u{1B}[2J", "\\u{1b}[2J"),
            ("\u{202E}", "\\u{202e}"),
            ("\u{61C}", "\\u{61c}"),
            ("\u{AD}", "\\u{ad}"),
            ("\u{206A}", "\\u{206a}"),
            ("\u{FFF9}", "\\u{fff9}"),
            ("\u{E0041}", "\\u{e0041}"),
        ] {
            assert_eq!(visible(&format!("a{hidden}é")), format!("a{shown}é"));
        }
    }

    #[test]
    fn a_body_without_hint_has_no_hint() {
        assert_eq!(
            Failure::new(Code::TokenTooLarge).body(),
            r#"{"error":"the OIDC token is larger than 16 KiB","code":"token_too_large"}"#
        );
    }
}
