//! Envelopes: what a push carries, escrow in, environment out.

use crate::answer::{Answer, answer, refusal};
use crate::keyring;
use lpm_core::envelope::escrow::{self, EscrowContext, EscrowKind, Owner};
use lpm_core::envelope::vault;
use lpm_core::environment;
use lpm_core::failure::{Code, Failure};
use lpm_core::json;
use pgrx::Uuid;
use pgrx::prelude::*;

/// The form of a push: canonical base64, sizes, and a schema that is a JSON object; with the blob's hash.
#[pg_extern(immutable, parallel_safe)]
#[expect(clippy::type_complexity, reason = "the columns of one row")]
fn check_push(
    encrypted_blob: Option<&str>,
    wrapped_key: Option<&str>,
    schema: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(refusal, Option<pgrx::composite_type!('static, "lpm_api.answer")>),
        name!(blob_sha256, Option<Vec<u8>>),
    ),
> {
    TableIterator::once(match push_problem(encrypted_blob, wrapped_key, schema) {
        Ok(hash) => (None, Some(hash.to_vec())),
        Err(failure) => (Some(refusal(&failure)), None),
    })
}

fn push_problem(
    blob: Option<&str>,
    wrapped_key: Option<&str>,
    schema: Option<&str>,
) -> Result<[u8; 32], Failure> {
    let hash = vault::blob_sha256(blob.unwrap_or_default()).map_err(|problem| problem.failure())?;
    vault::check_wrapped_key(wrapped_key.unwrap_or_default()).map_err(|problem| problem.failure())?;
    check_schema(schema)?;
    Ok(hash)
}

/// What a push or share tells of the project's `lpm.json`.
pub(crate) fn check_schema(schema: Option<&str>) -> Result<(), Failure> {
    if let Some(schema) = schema {
        let parsed = json::parse(schema.as_bytes(), &json::Limits::BODY);
        if schema.len() > 64 * 1024 || !matches!(parsed, Ok(json::Value::Object(_))) {
            return Err(Failure::new(Code::BadRequest)
                .with("reason", "`schema` must be a JSON object of at most 64 KiB"));
        }
    }
    Ok(())
}

fn owner(kind: &str, id: Uuid) -> Owner {
    let id = uuid::Uuid::from_bytes(*id.as_bytes());
    if kind == "org" { Owner::Org(id) } else { Owner::User(id) }
}

/// A key that was sealed on the way in, checked against the vault and sealed anew for storage.
///
/// Kind `wrapping` must open `wrapped_key`, the stored one, where there is one. Kind `aes` is bound to the blob
/// with the hash `blob_sha256`, and nothing is decrypted to see whether it opens it: without CI the server
/// decrypts nothing. `key_id` is the id that the caller names beside it, if any.
#[pg_extern(volatile, parallel_unsafe)]
#[expect(clippy::type_complexity, reason = "the columns of one row")]
#[expect(clippy::too_many_arguments, reason = "the columns of the row it is for")]
fn accept_escrow(
    kind: &str,
    sealed: Option<&str>,
    key_id: Option<&str>,
    vault_id: &str,
    owner_kind: &str,
    owner_id: Uuid,
    wrapped_key: Option<&str>,
    blob_sha256: Option<&[u8]>,
) -> TableIterator<
    'static,
    (
        name!(refusal, Option<pgrx::composite_type!('static, "lpm_api.answer")>),
        name!(reason, Option<String>),
        name!(escrow, Option<String>),
        name!(key_id, Option<String>),
    ),
> {
    let accepted = || {
        let kind = EscrowKind::parse(kind).ok_or(Code::Internal)?;
        let blob_hash = match kind {
            EscrowKind::Wrapping => None,
            EscrowKind::Aes => Some(hash(blob_sha256).ok_or(Code::EscrowOtherBlob)?),
        };
        let context = EscrowContext { kind, vault_id, owner: owner(owner_kind, owner_id), blob_hash };
        accept(sealed.unwrap_or_default(), key_id, &context, wrapped_key)
    };
    TableIterator::once(match accepted() {
        Ok((escrow, key_id)) => (None, None, Some(escrow), Some(key_id)),
        Err(failure) => (Some(refusal(&failure)), Some(failure.code.as_str().to_owned()), None, None),
    })
}

fn hash(blob_sha256: Option<&[u8]>) -> Option<[u8; 32]> {
    blob_sha256?.try_into().ok()
}

fn accept(
    sealed: &str,
    named_key: Option<&str>,
    context: &EscrowContext<'_>,
    wrapped_key: Option<&str>,
) -> Result<(String, String), Failure> {
    let id = escrow::sealed_key_id(sealed).map_err(|problem| problem.failure())?;
    if named_key.is_some_and(|named| named != id.as_str()) {
        return Err(Failure::new(Code::EscrowInvalid).with("reason", "`keyId` is not the key of `sealed`"));
    }
    let newest = keyring::keys().into_iter().next().ok_or(Code::NoEscrowKey)?;
    let key = keyring::find(id.as_str())
        .ok_or_else(|| Failure::new(Code::EscrowKeyUnknown).with("key", id.as_str()))?;
    let secret = escrow::open_sealed_escrow(&key, context.kind, context.vault_id, context.blob_hash, sealed)
        .map_err(|problem| problem.failure())?;
    if let (EscrowKind::Wrapping, Some(wrapped_key)) = (context.kind, wrapped_key) {
        vault::open_wrapped_key(&secret, wrapped_key).map_err(|_| Code::EscrowWrongKey)?;
    }
    let stored =
        escrow::store_escrow_random(&newest, context, &secret).map_err(|problem| problem.failure())?;
    Ok((stored, newest.id().as_str().to_owned()))
}

/// Opens a vault and answers with the one environment that the grant permits.
///
/// Arguments are ciphertext; the plaintext exists only in here and in the finished answer.
#[pg_extern(volatile, parallel_unsafe)]
#[expect(clippy::too_many_arguments, reason = "the columns of the row")]
fn open_vault(
    stored_escrow: Option<&str>,
    escrow_kind: Option<&str>,
    vault_id: Option<&str>,
    owner_kind: Option<&str>,
    owner_id: Option<Uuid>,
    blob_sha256: Option<&[u8]>,
    encrypted_blob: Option<&str>,
    wrapped_key: Option<&str>,
    asked: Option<&str>,
    permitted: Option<Vec<String>>,
) -> pgrx::composite_type!('static, "lpm_api.answer") {
    let opened = || -> Result<Answer, Failure> {
        let (Some(vault_id), Some(owner_kind), Some(owner_id), Some(blob)) =
            (vault_id, owner_kind, owner_id, encrypted_blob)
        else {
            return Err(Code::NeverPushed.into());
        };
        let (Some(stored), Some(kind)) = (stored_escrow, escrow_kind.and_then(EscrowKind::parse)) else {
            return Err(Code::EscrowOff.into());
        };
        let id = escrow::stored_key_id(stored).map_err(|_| Code::EscrowMismatch)?;
        let key = keyring::find(id.as_str()).ok_or(Code::NoEscrowKey)?;
        let blob_hash = match kind {
            EscrowKind::Wrapping => None,
            EscrowKind::Aes => Some(hash(blob_sha256).ok_or(Code::EscrowMismatch)?),
        };
        let context = EscrowContext { kind, vault_id, owner: owner(owner_kind, owner_id), blob_hash };
        let escrowed =
            escrow::open_stored_escrow(&key, &context, stored).map_err(|_| Code::EscrowMismatch)?;
        let aes_key = match kind {
            EscrowKind::Wrapping => vault::open_wrapped_key(&escrowed, wrapped_key.unwrap_or_default())
                .map_err(|_| Code::EscrowMismatch)?,
            EscrowKind::Aes => escrowed,
        };
        let plaintext = vault::open_blob(&aes_key, blob).map_err(|_| Code::EscrowMismatch)?;
        let selected =
            environment::select(&plaintext, asked.unwrap_or("default"), &permitted.unwrap_or_default())
                .map_err(|problem| problem.failure())?;
        Ok(answer(200, selected.body.expose_str().ok_or(Code::Internal)?))
    };
    opened().unwrap_or_else(|failure| refusal(&failure))
}
