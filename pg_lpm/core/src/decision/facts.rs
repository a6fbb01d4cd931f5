//! What the decision needs to know beside the claims, as SQL hands it over.

use crate::envelope::escrow::EscrowKind;
use crate::json::{self, Limits};
use crate::policy::Policy;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uuid::Uuid;

/// Everything that is known when a request is decided. JSON keys are the names of the fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The time, in seconds since 1970.
    pub now: i64,
    /// The vault asked for.
    pub vault: String,
    /// The environment asked for, an alias or not; `default` where the request names none.
    pub environment: String,
    /// GitLab: the issuer's tokens do not say which project runs the job, and a DBA accepts that.
    pub without_job_project: bool,
    /// Something is to be opened now, so a key must be there.
    pub pull: bool,
    /// The policies of the vault, in the order in which they speak; those of other subjects and issuers
    /// may be among them.
    pub candidates: Vec<Candidate>,
}

/// One policy and what belongs to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The policy's id.
    pub id: Uuid,
    /// The policy itself.
    pub policy: Policy,
    /// The account or org whose row the policy reads, as hints name it.
    pub owner: String,
    /// The plan of that account or org.
    pub plan: Plan,
    /// Since when the subject waits to be pinned, in seconds since 1970.
    pub waiting_since: i64,
    /// The ids that were recorded for the subject.
    #[serde(default)]
    pub pin: Option<Pin>,
    /// The row's escrow: what its owner opted in to.
    #[serde(default, deserialize_with = "escrow_kind")]
    pub escrow: Option<EscrowKind>,
    /// Whether the key that sealed the escrow is loaded; where none is stored, whether there is any.
    #[serde(default, deserialize_with = "null_is_false")]
    pub escrow_key_loaded: bool,
    /// Whether a key is stored at all: a push or share may have left it behind.
    #[serde(default, deserialize_with = "null_is_false")]
    pub escrow_copy: bool,
    /// The row's version; 0 until the first push.
    pub version: i32,
    /// `envConfig` of the pushed `lpm.json`: `{"alias": {"canonical": "name"}}`. A client wrote it, so it
    /// may be anything; what is not strict JSON counts as none.
    #[serde(default, deserialize_with = "strict")]
    pub env_config: Option<json::Value>,
}

/// The ids behind a subject's name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// GitHub's `repository_id`, GitLab's `project_id`.
    pub id: String,
    /// GitHub's `repository_owner_id`.
    #[serde(default)]
    pub owner_id: Option<String>,
}

/// What an account or org pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the plans' names")]
pub enum Plan {
    Free,
    Pro,
    Org,
}

impl Plan {
    /// The name in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Plan::Free => "free",
            Plan::Pro => "pro",
            Plan::Org => "org",
        }
    }
}

fn escrow_kind<'de, D: Deserializer<'de>>(json: D) -> Result<Option<EscrowKind>, D::Error> {
    match Option::<String>::deserialize(json)? {
        None => Ok(None),
        Some(name) => match EscrowKind::parse(&name) {
            None => Err(serde::de::Error::custom("no kind of escrow")),
            kind => Ok(kind),
        },
    }
}

/// As the strict parser reads it, and only then: `serde_json::Value` takes some objects for something else, and what
/// it refuses would spoil all other facts.
fn strict<'de, D: Deserializer<'de>>(json: D) -> Result<Option<json::Value>, D::Error> {
    let text = Option::<Box<RawValue>>::deserialize(json)?;
    Ok(text.and_then(|text| json::parse(text.get().as_bytes(), &Limits::BODY).ok()))
}

/// SQL answers null where there is nothing to ask about.
fn null_is_false<'de, D: Deserializer<'de>>(json: D) -> Result<bool, D::Error> {
    Ok(Option::<bool>::deserialize(json)?.unwrap_or(false))
}
