//! One function per endpoint: take what it needs from the request, ask the database, answer.
//!
//! No handler decides anything about access: the token's signature is verified here, and whether it grants
//! something is the database's to say.

pub(crate) mod ci;
pub(crate) mod escrow;
pub(crate) mod health;
pub(crate) mod login;
pub(crate) mod members;
pub(crate) mod orgs;
pub(crate) mod pairing;
pub(crate) mod platforms;
pub(crate) mod policies;
pub(crate) mod sessions;
pub(crate) mod vaults;
pub(crate) mod versions;

use crate::db::Db;
use crate::lifecycle::Lifecycle;
use crate::limits::Limits;
use crate::oidc::Oidc;
use crate::reply::{Answer, Refusal};
use std::sync::Arc;

/// How refusals name a vault's id.
const VAULT: &str = "the vault id";
/// How refusals name an org's slug.
const ORG: &str = "the org's name";

/// What every handler works with.
pub(crate) struct Gateway {
    pub db: Arc<Db>,
    pub oidc: Arc<Oidc>,
    pub lifecycle: Arc<Lifecycle>,
    pub limits: Limits,
}

/// A handler's outcome.
pub(crate) type Outcome = Result<Answer, Refusal>;
