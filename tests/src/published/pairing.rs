//! Pairing with a browser (contract, section 5).

use super::{Printed, Published, raw_unless_success, typed};
use crate::gateway::Reply;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A pairing that waits for this machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Pending {
    /// 65 bytes, SEC1 uncompressed.
    pub browser_public_key: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PairingBody {
    status: String,
    browser_public_key: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApproveBody<'a> {
    encrypted_wrapping_key: &'a str,
    ephemeral_public_key: &'a str,
}

impl Published {
    /// 5.1 `GET /api/vault/pair/{code}`
    pub async fn pairing(&self, code: &str) -> Result<(Printed<Pending>, Reply)> {
        let reply = self.get(&format!("/api/vault/pair/{}", code.to_ascii_uppercase())).await?;
        Ok((pairing(&reply), reply))
    }

    /// 5.2 `POST /api/vault/pair/{code}`
    pub async fn approve(
        &self,
        code: &str,
        encrypted: &str,
        ephemeral: &str,
    ) -> Result<(Printed<()>, Reply)> {
        let body = ApproveBody { encrypted_wrapping_key: encrypted, ephemeral_public_key: ephemeral };
        let reply = self.post(&format!("/api/vault/pair/{}", code.to_ascii_uppercase()), &body).await?;
        Ok((raw_unless_success(&reply, "approval failed"), reply))
    }

    /// 5.3 `POST /api/vault/pair/revoke-all`
    pub async fn unpair(&self) -> Result<(Printed<()>, Reply)> {
        let reply = self.post("/api/vault/pair/revoke-all", &json!({})).await?;
        Ok((raw_unless_success(&reply, "unpair failed"), reply))
    }
}

fn pairing(reply: &Reply) -> Printed<Pending> {
    raw_unless_success(reply, "pairing error")?;
    let body: PairingBody = typed(reply, "parse error")?;
    if body.status != "pending" {
        return Err(format!(
            "pairing session is '{}' (expected 'pending'). The code may have expired or already been used.",
            body.status
        ));
    }
    let key = body.browser_public_key.ok_or("server did not return browser public key")?;
    let key = super::crypto::decode(&key).map_err(|error| format!("browser public key decode: {error}"))?;
    super::crypto::p256_point(&key).map_err(|_| "invalid browser P-256 public key: crypto error")?;
    Ok(Pending { browser_public_key: key })
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::reply;
    use super::*;

    #[test]
    fn whatever_is_not_pending_is_named() {
        let key = "BFkat3HrvP1tnLkJTRBlKK3Rpp1EwsH2J/CJ7Fi5xhrfn05qvw0EXAxpOjxorXyXynK+ZN70om/s0mPdmKkngPA=";
        assert!(
            pairing(&reply(200, &format!(r#"{{"status":"pending","browserPublicKey":"{key}"}}"#))).is_ok()
        );
        for (status, body, expected) in [
            (
                200,
                r#"{"status":"expired"}"#,
                "pairing session is 'expired' (expected 'pending'). The code may have expired or already been used.",
            ),
            (200, r#"{"status":"pending"}"#, "server did not return browser public key"),
            (200, r#"{"status":null}"#, "parse error: error decoding response body"),
            (
                200,
                r#"{"status":"pending","browserPublicKey":"AAAA"}"#,
                "invalid browser P-256 public key: crypto error",
            ),
            (410, "pairing expired", "pairing error: pairing expired"),
        ] {
            assert_eq!(pairing(&reply(status, body)), Err(expected.to_owned()), "{status} {body}");
        }
    }
}
