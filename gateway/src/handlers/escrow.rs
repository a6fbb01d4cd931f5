//! CI escrow: the key to seal to, opting in, opting out.

use super::{Gateway, ORG, Outcome, VAULT};
use crate::openapi::parameters::{OptionalVaultQuery, OrgQuery, VaultQuery};
use crate::openapi::refusals::{Conflict, NotFound, TooMany};
use crate::request::{Request, SMALL_BODY, bad, name, typed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::escrow::{EscrowKind, seal_escrow_random};
use lpm_core::envelope::keyring::KeyId;
use lpm_core::failure::{Code, Failure};
use lpm_core::secret::Secret;
use lpm_core::wire::{EscrowKeyReply, EscrowReply, EscrowRequest};
use std::sync::Arc;

/// Shows the public key that escrows are sealed to, and what a vault is opted in to.
#[utoipa::path(
    get,
    path = "/api/vault/oidc/escrow-key",
    params(OptionalVaultQuery, OrgQuery),
    responses((status = 200, body = EscrowKeyReply), NotFound),
    security(("account" = []))
)]
pub(crate) async fn escrow_key(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    let (vault, org) = (request.optional("vaultId")?, request.optional("org")?);
    Ok(gateway.db.escrow_key(&request.origin, &account, vault.as_deref(), org.as_deref()).await?)
}

/// Opts a vault in to CI escrow.
///
/// A raw wrapping key is sealed here and never reaches SQL: it takes the place of one that was sealed before.
#[utoipa::path(
    post,
    path = "/api/vault/oidc/escrow",
    request_body = EscrowRequest,
    responses((status = 200, body = EscrowReply), NotFound, Conflict, TooMany),
    security(("account" = []))
)]
pub(crate) async fn put_escrow(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let mut escrow: EscrowRequest = typed(&body)?;
    drop(body);
    let raw = escrow.wrapping_key_hex.take().map(Secret::from);
    let vault = name(VAULT, &escrow.vault_id)?;
    escrow.org.as_deref().map(|org| name(ORG, org)).transpose()?;
    if let Some(hex) = raw {
        if escrow.sealed.is_some() {
            return Err(bad("`wrappingKeyHex` and `sealed` exclude each other").into());
        }
        if escrow.kind.as_deref().is_some_and(|kind| kind != EscrowKind::Wrapping.as_str()) {
            return Err(bad("`wrappingKeyHex` is of the kind `wrapping`").into());
        }
        let wrapping_key = wrapping_key(&hex)?;
        drop(hex);
        let answer = gateway.db.escrow_key(&request.origin, &account, None, None).await?;
        if !answer.is_success() {
            return Ok(answer);
        }
        escrow.sealed = Some(seal(answer.body(), vault, &wrapping_key)?);
    } else if escrow.sealed.is_none() && escrow.kind.as_deref() != Some(EscrowKind::Aes.as_str()) {
        return Err(bad("`sealed` or `wrappingKeyHex` is missing").into());
    }
    Ok(gateway.db.put_escrow(&request.origin, &account, &escrow).await?)
}

/// The published client's key: 64 hex digits.
fn wrapping_key(hex: &Secret) -> Result<Secret, Failure> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut key = Vec::with_capacity(32);
    for pair in hex.expose().chunks(2) {
        let [high, low] = pair else { break };
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { break };
        key.push(high << 4 | low);
    }
    let key = Secret::new(key);
    if hex.expose().len() == 64 && key.expose().len() == 32 {
        Ok(key)
    } else {
        Err(Failure::new(Code::BlobInvalid).with("field", "wrappingKeyHex").with("expected", "64 hex digits"))
    }
}

/// Seals to the key that the database answered.
fn seal(escrow_key: &str, vault: &str, wrapping_key: &Secret) -> Result<String, Failure> {
    let key: EscrowKeyReply = serde_json::from_str(escrow_key).map_err(|_| Code::Internal)?;
    let id = KeyId::parse(&key.key_id).ok_or(Code::Internal)?;
    let public = STANDARD.decode(&key.public_key).ok().and_then(|bytes| bytes.try_into().ok());
    let public: [u8; 32] = public.ok_or(Code::Internal)?;
    seal_escrow_random(&id, &public, EscrowKind::Wrapping, vault, None, wrapping_key)
        .map_err(|error| error.failure())
}

/// Opts a vault out of CI escrow.
#[utoipa::path(
    delete,
    path = "/api/vault/oidc/escrow",
    params(VaultQuery, OrgQuery),
    responses((status = 200, body = EscrowReply), NotFound),
    security(("account" = []))
)]
pub(crate) async fn disable_escrow(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    let (org, vault) = (request.optional("org")?, request.required("vaultId")?);
    Ok(gateway.db.disable_escrow(&request.origin, &account, &vault, org.as_deref()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lpm_core::envelope::escrow::open_sealed_escrow;
    use lpm_core::envelope::keyring::EscrowKey;

    #[test]
    fn a_wrapping_key_is_64_hex_digits() {
        let key = wrapping_key(&Secret::from("0aFF".repeat(16))).expect("64 digits");
        assert_eq!(key.expose(), [0x0A, 0xFF].repeat(16));
        for wrong in
            ["", "0a", &"0g".repeat(32), &"0a".repeat(33), &"0a".repeat(31), &format!("{}é", "0".repeat(62))]
        {
            let failure = wrapping_key(&Secret::from(wrong.to_owned())).err().expect("not a key");
            assert_eq!(failure.text(), "`wrappingKeyHex` is not 64 hex digits");
        }
    }

    #[test]
    fn a_raw_wrapping_key_is_sealed_to_the_escrow_key_for_this_vault() {
        let key = EscrowKey::derive(None, &[7; 32]).expect("32 bytes");
        let reply = EscrowKeyReply {
            key_id: key.id().to_string(),
            public_key: STANDARD.encode(key.public()),
            fingerprint: String::new(),
            escrow: None,
            legacy_clients: None,
        };
        let reply = serde_json::to_string(&reply).expect("strings");
        let sealed = seal(&reply, "vault-1", &Secret::new(vec![9; 32])).expect("a good key");
        let opened =
            open_sealed_escrow(&key, EscrowKind::Wrapping, "vault-1", None, &sealed).expect("sealed to it");
        assert_eq!(opened.expose(), [9; 32]);
        assert!(open_sealed_escrow(&key, EscrowKind::Wrapping, "vault-2", None, &sealed).is_err());
        assert!(seal("{}", "vault-1", &Secret::new(vec![9; 32])).is_err());
    }
}
