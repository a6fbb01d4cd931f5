//! Pairing: a signed-in browser gets the wrapping key of a signed-in machine, once, and nobody else gets anything.

mod codes;
mod flow;
mod revoke;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::{aead, share};
use lpm_core::secret::Secret;
use lpm_tests::gateway::Reply;
use lpm_tests::signin::{Session, SignIn};
use lpm_tests::stack::Stack;
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::nid::Nid;
use openssl::pkey::Private;
use serde_json::{Value, json};

/// A key pair of the curve that browsers and command line agree on, and the public half as it is sent.
pub(crate) struct Pair {
    pub private: EcKey<Private>,
    pub point: Vec<u8>,
}

impl Pair {
    pub(crate) fn fresh() -> Result<Self> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let private = EcKey::generate(&group)?;
        let form = PointConversionForm::UNCOMPRESSED;
        let point = private.public_key().to_bytes(&group, form, &mut *BigNumContext::new()?)?;
        Ok(Self { private, point })
    }

    pub(crate) fn public(&self) -> String {
        STANDARD.encode(&self.point)
    }
}

/// A browser and a command line of `alice`, both signed in.
pub(crate) struct Couple {
    pub stack: Stack,
    pub browser: Session,
    pub machine: Session,
    pub key: Pair,
}

impl Couple {
    pub(crate) async fn new() -> Result<Self> {
        let stack = Stack::new().await?;
        let browser = SignIn::device("browser").session(&stack.gateway, &stack.seed.alice).await?;
        let machine = SignIn::device("machine").session(&stack.gateway, &stack.seed.alice).await?;
        Ok(Self { stack, browser, machine, key: Pair::fresh()? })
    }

    /// Starts a pairing as the browser does; its code.
    pub(crate) async fn start(&self) -> Result<String> {
        let body = json!({"browserPublicKey": self.key.public(), "deviceLabel": "Firefox on <Linux>"});
        let reply = self.stack.gateway.post("/api/vault/pair", Some(&self.browser.token), &body).await?;
        ensure!(reply.status == 201, "start: {} {}", reply.status, reply.text());
        Ok(reply.member("code"))
    }

    pub(crate) async fn show(&self, token: &str, code: &str) -> Result<Reply> {
        self.stack.gateway.get(&format!("/api/vault/pair/{code}"), Some(token)).await
    }

    pub(crate) async fn approve(&self, token: &str, code: &str, sealed: &Value) -> Result<Reply> {
        self.stack.gateway.post(&format!("/api/vault/pair/{code}"), Some(token), sealed).await
    }

    pub(crate) async fn consume(&self, token: &str, code: &str) -> Result<Reply> {
        let path = format!("/api/vault/pair/{code}/consume");
        self.stack.gateway.post(&path, Some(token), &json!({})).await
    }

    pub(crate) async fn revoke_all(&self, token: &str) -> Result<Reply> {
        self.stack.gateway.post("/api/vault/pair/revoke-all", Some(token), &json!({})).await
    }
}

/// What the published client sends for this browser key and wrapping key.
pub(crate) fn sealed_for(browser: &str, wrapping_key: &[u8; 32]) -> Result<Value> {
    let machine = Pair::fresh()?;
    let browser = STANDARD.decode(browser).context("base64")?;
    let secret = Secret::new(wrapping_key.to_vec());
    let sealed = share::seal_for_browser(&browser, &machine.private, &aead::random()?, &secret)?;
    Ok(json!({"encryptedWrappingKey": sealed, "ephemeralPublicKey": machine.public()}))
}

/// Status and machine code of a refusal.
pub(crate) fn refused(reply: &Reply) -> (u16, String) {
    (reply.status.as_u16(), reply.code())
}

/// The trail of what an action did, newest last.
pub(crate) fn trail(stack: &Stack, action: &str) -> Result<String> {
    stack.database().value(&format!(
        "select coalesce(string_agg(concat_ws(' ', decision, reason), ', ' order by id), '') from lpm.audit_log where action = '{action}'"
    ))
}
