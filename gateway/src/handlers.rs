//! One function per endpoint: take what it needs from the request, ask the database, answer.
//!
//! No handler decides anything about access: the token's signature is verified here, and whether it grants
//! something is the database's to say.

use crate::db::{CiRequest, Db};
use crate::oidc::Oidc;
use crate::reply::{Answer, Refusal};
use crate::request::{Limit, PUSH_BODY, Request, SMALL_BODY, Segment, bad, name, object, short, typed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::bearer::{self, Kind};
use lpm_core::envelope::aead;
use lpm_core::envelope::escrow::{EscrowKind, seal_escrow_random};
use lpm_core::envelope::keyring::KeyId;
use lpm_core::failure::{Code, Failure};
use lpm_core::secret::Secret;
use lpm_core::token::Verified;
use lpm_core::wire::{EscrowKeyReply, EscrowRequest, ExchangeRequest, ExplainRequest, PushRequest};
use serde::Deserialize;
use std::sync::Arc;
use uuid::Uuid;

const VAULT: &str = "the vault id";

/// What every handler works with.
pub(crate) struct Gateway {
    pub db: Arc<Db>,
    pub oidc: Arc<Oidc>,
}

/// A handler's outcome.
pub(crate) type Outcome = Result<Answer, Refusal>;

/// Stores a new version of a vault.
pub(crate) async fn push(gateway: Arc<Gateway>, mut request: Request, vault: Segment) -> Outcome {
    let account = request.sender(PUSH_BODY).await?;
    if request.is_large() {
        // Nobody fills our memory with a token that he made up.
        let known = gateway.db.check_account(&account).await?;
        if known.status != 200 {
            return Ok(known);
        }
    }
    let body = request.body(PUSH_BODY).await?;
    let vault = vault.decode(VAULT)?;
    let push: PushRequest = typed(&body)?;
    drop(body);
    Ok(gateway.db.push(&request.origin, &account, &vault, &push).await?.signed_for(&account))
}

/// Returns the caller's vault as it was pushed.
pub(crate) async fn pull(gateway: Arc<Gateway>, request: Request, vault: Segment) -> Outcome {
    let account = request.account()?;
    let vault = vault.decode(VAULT)?;
    Ok(gateway.db.pull(&request.origin, &account, &vault).await?.signed_for(&account))
}

/// Lists the caller's vaults.
pub(crate) async fn list_vaults(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    Ok(gateway.db.list_vaults(&request.origin, &account).await?)
}

/// Shows what happened to a vault.
pub(crate) async fn audit(gateway: Arc<Gateway>, request: Request, vault: Segment) -> Outcome {
    let account = request.account()?;
    let (vault, cursor) = (vault.decode(VAULT)?, request.parameter("cursor")?);
    Ok(gateway.db.audit(&request.origin, &account, &vault, cursor.as_deref()).await?)
}

/// Creates a policy. The extension reads the body: there is one parser of policies.
pub(crate) async fn create_policy(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    object(&body)?;
    let body = body.expose_str().ok_or_else(|| bad("the request's body is not UTF-8"))?;
    Ok(gateway.db.create_policy(&request.origin, &account, body).await?)
}

/// Lists a vault's policies.
pub(crate) async fn list_policies(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    let vault = request.required("vaultId")?;
    Ok(gateway.db.list_policies(&request.origin, &account, &vault).await?)
}

/// Revokes a policy, and with it every token that was exchanged under it.
pub(crate) async fn revoke_policy(gateway: Arc<Gateway>, request: Request, policy: Segment) -> Outcome {
    let account = request.account()?;
    let policy = policy.decode("the policy's id")?;
    Ok(gateway.db.revoke_policy(&request.origin, &account, &policy).await?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RepinRequest {
    vault_id: String,
    subject: String,
}

/// Forgets which repository ids a subject was pinned to.
pub(crate) async fn repin(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let repin: RepinRequest = typed(&body)?;
    let vault = name(VAULT, &repin.vault_id)?;
    Ok(gateway.db.repin(&request.origin, &account, vault, &repin.subject).await?)
}

/// Shows the public key that escrows are sealed to.
pub(crate) async fn escrow_key(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    Ok(gateway.db.escrow_key(&request.origin, &account).await?)
}

/// Opts a vault in to CI escrow. A raw wrapping key is sealed here and never reaches SQL.
pub(crate) async fn put_escrow(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let escrow: EscrowRequest = typed(&body)?;
    drop(body);
    let vault = name(VAULT, &escrow.vault_id)?;
    let sealed = match (escrow.wrapping_key_hex.map(Secret::from), escrow.sealed) {
        (None, Some(sealed)) => sealed,
        (Some(hex), None) => {
            let wrapping_key = wrapping_key(&hex)?;
            drop(hex);
            let answer = gateway.db.escrow_key(&request.origin, &account).await?;
            if !answer.is_success() {
                return Ok(answer);
            }
            seal(answer.body(), vault, &wrapping_key)?
        }
        (Some(_), Some(_)) => return Err(bad("`wrappingKeyHex` and `sealed` exclude each other").into()),
        (None, None) => return Err(bad("`sealed` or `wrappingKeyHex` is missing").into()),
    };
    Ok(gateway.db.put_escrow(&request.origin, &account, vault, &sealed).await?)
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
pub(crate) async fn disable_escrow(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    let vault = request.required("vaultId")?;
    Ok(gateway.db.disable_escrow(&request.origin, &account, &vault).await?)
}

/// Tells a vault's owner what would be decided, policy by policy; nothing is used up.
pub(crate) async fn explain(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let asked: ExplainRequest = typed(&body)?;
    let vault = name(VAULT, &asked.vault_id)?;
    let environment = environment(asked.env.as_deref())?;
    let (issuer, claims) = match (asked.oidc_token, asked.claims) {
        (Some(token), None) => {
            let verified = gateway.oidc.verify(&token).await?;
            (Some(verified.claims.issuer), verified.payload)
        }
        (None, Some(claims)) => (None, claims.get().as_bytes().to_vec()),
        _ => return Err(bad("one of `oidcToken` and `claims` is needed").into()),
    };
    Ok(gateway.db.explain(&request.origin, &account, vault, issuer.as_deref(), &claims, environment).await?)
}

/// A CI request whose token has been verified.
struct Asked {
    vault: String,
    environment: Option<String>,
    owner: Option<Uuid>,
    verified: Verified,
}

impl Asked {
    /// Reads the body and verifies the token in it. Nothing is asked of the database before that.
    async fn read(gateway: &Gateway, request: &mut Request, limit: Limit) -> Result<Self, Refusal> {
        let body = request.body(limit).await?;
        let asked: ExchangeRequest = typed(&body)?;
        name(VAULT, &asked.vault_id)?;
        environment(asked.env.as_deref())?;
        let verified = gateway.oidc.verify(&asked.oidc_token).await?;
        Ok(Self { vault: asked.vault_id, environment: asked.env, owner: asked.owner, verified })
    }

    fn ci_request(&self) -> CiRequest<'_> {
        CiRequest {
            issuer: &self.verified.claims.issuer,
            claims: &self.verified.payload,
            vault: &self.vault,
            environment: self.environment.as_deref(),
            owner: self.owner,
        }
    }
}

fn environment(text: Option<&str>) -> Result<Option<&str>, Failure> {
    text.map(|text| short("the environment's name", text)).transpose()
}

/// Exchanges an OIDC token for a token that is good for one vault and environment.
pub(crate) async fn exchange(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let asked = Asked::read(&gateway, &mut request, SMALL_BODY).await?;
    let token = bearer::token(Kind::Ci, &aead::random().map_err(|error| error.failure())?);
    let answer =
        gateway.db.exchange(&request.origin, &asked.ci_request(), &bearer::hash(token.expose())).await?;
    if !answer.is_success() {
        return Ok(answer);
    }
    Ok(Answer::new(answer.status, with_token(answer.body(), &token)?))
}

/// The database's answer, and in it the token that only the gateway has.
fn with_token(body: &str, token: &Secret) -> Result<String, Failure> {
    let mut body: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(body).map_err(|_| Code::Internal)?;
    let token = token.expose_str().ok_or(Code::Internal)?;
    body.insert("token".to_owned(), token.into());
    serde_json::to_string(&body).map_err(|_| Code::Internal.into())
}

/// Answers the environment that an exchanged token is good for.
pub(crate) async fn ci_pull(gateway: Arc<Gateway>, request: Request, vault: Segment) -> Outcome {
    let ci_token = request.ci_token()?;
    let (vault, environment) = (vault.decode(VAULT)?, request.parameter("env")?);
    Ok(gateway.db.ci_pull(&request.origin, &ci_token, &vault, environment.as_deref()).await?)
}

/// Answers the environment that an OIDC token is granted, in one step.
pub(crate) async fn one_step_pull(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let asked = Asked::read(&gateway, &mut request, SMALL_BODY).await?;
    Ok(gateway.db.one_step_pull(&request.origin, &asked.ci_request()).await?)
}

/// Is the process alive? Asks nobody.
pub(crate) async fn alive() -> Outcome {
    Ok(Answer::new(200, r#"{"status":"ok"}"#))
}

/// Can requests be answered?
pub(crate) async fn ready(gateway: Arc<Gateway>) -> Outcome {
    Ok(gateway.db.ready().await?)
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
        };
        let reply = serde_json::to_string(&reply).expect("strings");
        let sealed = seal(&reply, "vault-1", &Secret::new(vec![9; 32])).expect("a good key");
        let opened =
            open_sealed_escrow(&key, EscrowKind::Wrapping, "vault-1", None, &sealed).expect("sealed to it");
        assert_eq!(opened.expose(), [9; 32]);
        assert!(open_sealed_escrow(&key, EscrowKind::Wrapping, "vault-2", None, &sealed).is_err());
        assert!(seal("{}", "vault-1", &Secret::new(vec![9; 32])).is_err());
    }

    #[test]
    fn the_token_joins_the_answer() {
        let body =
            with_token(r#"{"expiresAt":"2026-01-01T00:00:00Z"}"#, &Secret::from("lpm_ci_x".to_owned()));
        assert_eq!(body.expect("an object"), r#"{"expiresAt":"2026-01-01T00:00:00Z","token":"lpm_ci_x"}"#);
        assert!(with_token("[]", &Secret::from("x".to_owned())).is_err());
    }
}
