//! Orgs: what a share carries, and the public keys of members.

use crate::answer::refusal;
use crate::envelope::check_schema;
use lpm_core::envelope::{fingerprint, share, vault};
use lpm_core::failure::{Code, Failure};
use pgrx::Uuid;
use pgrx::prelude::*;
use std::collections::HashSet;

/// The form of a share: canonical base64, sizes, each recipient once; with the blob's hash. Whether the recipients are
/// members, only the tables know.
#[pg_extern(immutable, parallel_safe)]
#[expect(clippy::type_complexity, reason = "the columns of one row")]
fn check_share(
    encrypted_blob: Option<&str>,
    recipients: Option<Vec<Option<Uuid>>>,
    wrapped_keys: Option<Vec<Option<String>>>,
    schema: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(refusal, Option<pgrx::composite_type!('static, "lpm_api.answer")>),
        name!(blob_sha256, Option<Vec<u8>>),
    ),
> {
    let checked = share_problem(
        encrypted_blob,
        &recipients.unwrap_or_default(),
        &wrapped_keys.unwrap_or_default(),
        schema,
    );
    TableIterator::once(match checked {
        Ok(hash) => (None, Some(hash.to_vec())),
        Err(failure) => (Some(refusal(&failure)), None),
    })
}

fn share_problem(
    blob: Option<&str>,
    recipients: &[Option<Uuid>],
    wrapped_keys: &[Option<String>],
    schema: Option<&str>,
) -> Result<[u8; 32], Failure> {
    let bad = |reason: String| Failure::new(Code::BadRequest).with("reason", reason);
    let hash = vault::blob_sha256(blob.unwrap_or_default()).map_err(|problem| problem.failure())?;
    if recipients.is_empty() {
        return Err(bad("`wrappedKeys` names nobody, so nobody could read the vault".to_owned()));
    }
    if recipients.len() != wrapped_keys.len() {
        return Err(bad("`wrappedKeys` must name a user and a key each".to_owned()));
    }
    let mut seen = HashSet::new();
    for (recipient, wrapped_key) in recipients.iter().zip(wrapped_keys) {
        let (Some(recipient), Some(wrapped_key)) = (recipient, wrapped_key) else {
            return Err(bad("`wrappedKeys` must name a user and a key each".to_owned()));
        };
        if !seen.insert(*recipient.as_bytes()) {
            let recipient = uuid::Uuid::from_bytes(*recipient.as_bytes());
            return Err(bad(format!("`wrappedKeys` names {recipient} twice")));
        }
        share::check_wrapped_for_member(wrapped_key).map_err(|problem| problem.failure())?;
    }
    check_schema(schema)?;
    Ok(hash)
}

/// The fingerprint of a member's public key, or why it is none.
#[pg_extern(immutable, parallel_safe)]
fn check_public_key(
    public_key: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(refusal, Option<pgrx::composite_type!('static, "lpm_api.answer")>),
        name!(fingerprint, Option<String>),
    ),
> {
    TableIterator::once(match share::member_public_key(public_key.unwrap_or_default()) {
        Ok(key) => (None, Some(fingerprint(&key))),
        Err(problem) => (Some(refusal(&problem.failure())), None),
    })
}
