//! Sharing with an org (contract, section 3).

use super::personal::listed;
use super::{Listed, Printed, Published, Pushed, crypto, raw_unless_success, status_line, typed};
use crate::gateway::Reply;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyBody<'a> {
    public_key: &'a str,
}

/// An item of the bare array of members.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberKey {
    /// The account.
    pub user_id: String,
    /// Its role.
    pub role: String,
    /// 44 characters.
    pub public_key: Option<String>,
    /// Whether there is one.
    pub has_public_key: bool,
}

/// One copy of the vault's key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recipient {
    /// The account.
    pub user_id: String,
    /// 126 characters in three parts.
    pub wrapped_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShareBody<'a> {
    encrypted_blob: &'a str,
    wrapped_keys: &'a [Recipient],
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_version: Option<i32>,
}

/// What `pull --org` gives it.
#[derive(Debug, PartialEq, Eq)]
pub struct OrgPull {
    /// Byte for byte what was shared.
    pub encrypted_blob: String,
    /// The caller's own copy.
    pub wrapped_key: String,
    /// 0 where it is no number.
    pub version: i32,
}

impl Published {
    /// 3.1 `GET /api/users/me/public-key`: no success means no key.
    pub async fn public_key(&self) -> Result<(Printed<Option<String>>, Reply)> {
        let reply = self.get("/api/users/me/public-key").await?;
        Ok((public_key(&reply), reply))
    }

    /// 3.2 `POST /api/users/me/public-key`
    pub async fn upload_public_key(&self, key: &str) -> Result<(Printed<()>, Reply)> {
        let reply = self.post("/api/users/me/public-key", &KeyBody { public_key: key }).await?;
        Ok((raw_unless_success(&reply, "failed to upload public key"), reply))
    }

    /// 3.3 `GET /api/orgs/{slug}/members/public-keys`
    pub async fn members(&self, org: &str) -> Result<(Printed<Vec<MemberKey>>, Reply)> {
        let reply = self.get(&format!("/api/orgs/{org}/members/public-keys")).await?;
        Ok((members(&reply), reply))
    }

    /// 3.4 `POST /api/orgs/{slug}/vaults/{vaultId}`
    pub async fn share(
        &self,
        org: &str,
        vault: &str,
        blob: &str,
        recipients: &[Recipient],
        expected_version: Option<i32>,
    ) -> Result<(Printed<Pushed>, Reply)> {
        let body = ShareBody { encrypted_blob: blob, wrapped_keys: recipients, expected_version };
        let reply = self.post(&format!("/api/orgs/{org}/vaults/{vault}"), &body).await?;
        Ok((shared(&reply), reply))
    }

    /// 3.5 `GET /api/orgs/{slug}/vaults/{vaultId}`
    pub async fn org_pull(&self, org: &str, vault: &str) -> Result<(Printed<OrgPull>, Reply)> {
        let reply = self.get(&format!("/api/orgs/{org}/vaults/{vault}")).await?;
        Ok((org_pulled(&reply), reply))
    }

    /// 3.6 `GET /api/orgs/{slug}/vaults`
    pub async fn org_list(&self, org: &str) -> Result<(Printed<Vec<Listed>>, Reply)> {
        let reply = self.get(&format!("/api/orgs/{org}/vaults")).await?;
        Ok((listed(&reply), reply))
    }
}

/// Wraps a vault's key for everyone with a key.
pub fn recipients(members: &[MemberKey], aes_key: &[u8; 32]) -> Printed<Vec<Recipient>> {
    let mut recipients = Vec::new();
    for member in members {
        let (true, Some(key)) = (member.has_public_key, &member.public_key) else { continue };
        let user = &member.user_id;
        let key =
            crypto::decode(key).map_err(|_| format!("invalid public key for user {user}: not base64"))?;
        let key: [u8; 32] = key.try_into().map_err(|key: Vec<u8>| {
            format!("invalid public key for user {user}: expected 32 bytes, got {}", key.len())
        })?;
        let wrapped_key = crypto::wrap_for_member(&key, aes_key).map_err(|error| error.to_string())?;
        recipients.push(Recipient { user_id: user.clone(), wrapped_key });
    }
    if recipients.is_empty() {
        return Err(
            "no org members have registered public keys. Each member needs to run `lpm env vars share \
                    --org` once to generate their keypair."
                .to_owned(),
        );
    }
    Ok(recipients)
}

fn public_key(reply: &Reply) -> Printed<Option<String>> {
    if !reply.status.is_success() {
        return Ok(None);
    }
    let body: Value = typed(reply, "parse error")?;
    Ok(body["publicKey"].as_str().map(str::to_owned))
}

fn members(reply: &Reply) -> Printed<Vec<MemberKey>> {
    raw_unless_success(reply, "failed to fetch member keys")?;
    typed(reply, "parse error")
}

/// As a push, but an error has to be JSON.
fn shared(reply: &Reply) -> Printed<Pushed> {
    let body: Pushed = typed(reply, "response parse error")?;
    if !reply.status.is_success() {
        return Err(body.error.unwrap_or_else(|| format!("server error: {}", status_line(reply.status))));
    }
    Ok(body)
}

fn org_pulled(reply: &Reply) -> Printed<OrgPull> {
    raw_unless_success(reply, "server error")?;
    let body: Value = typed(reply, "parse error")?;
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    Ok(OrgPull {
        encrypted_blob: text("encryptedBlob").ok_or("no encryptedBlob in response")?,
        wrapped_key: text("wrappedKey").ok_or("no wrappedKey in response (you may not have access)")?,
        #[expect(clippy::cast_possible_truncation, reason = "that is what it does")]
        version: body["version"].as_i64().unwrap_or(0) as i32,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::reply;
    use super::*;

    #[test]
    fn members_are_a_bare_array_without_nulls() {
        let unparsable = Err("parse error: error decoding response body".to_owned());
        for body in [
            r#"{"members":[]}"#,
            r#"[{"userId":"u","role":null,"hasPublicKey":true}]"#,
            r#"[{"userId":"u","role":"owner"}]"#,
            r#"[{"userId":7,"role":"owner","hasPublicKey":false}]"#,
        ] {
            assert_eq!(members(&reply(200, body)), unparsable, "{body}");
        }
        let refused = members(&reply(403, "no"));
        assert_eq!(refused, Err("failed to fetch member keys: no".to_owned()));
    }

    #[test]
    fn one_key_of_the_wrong_size_ends_the_share() {
        let member = |key: Option<&str>, has| MemberKey {
            user_id: "u".to_owned(),
            role: "owner".to_owned(),
            public_key: key.map(str::to_owned),
            has_public_key: has,
        };
        let wrapped = |members: &[MemberKey]| recipients(members, &[7; 32]).map(|all| all.len());
        assert_eq!(
            wrapped(&[member(Some("AAAA"), true)]),
            Err("invalid public key for user u: expected 32 bytes, got 3".to_owned())
        );
        let good = member(Some("pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk="), true);
        assert_eq!(wrapped(&[good, member(Some("AAAA"), false), member(None, true)]), Ok(1));
        assert!(wrapped(&[]).is_err_and(|text| text.starts_with("no org members have registered")));
    }

    #[test]
    fn a_share_needs_json_and_a_pull_is_read_leniently() {
        assert_eq!(
            shared(&reply(403, "forbidden")),
            Err("response parse error: error decoding response body".to_owned())
        );
        assert_eq!(
            shared(&reply(409, r#"{"error":"x","status":409}"#)),
            Err("response parse error: error decoding response body".to_owned())
        );
        assert_eq!(
            org_pulled(&reply(200, r#"{"encryptedBlob":"b","version":1}"#)),
            Err("no wrappedKey in response (you may not have access)".to_owned())
        );
        let huge = org_pulled(&reply(200, r#"{"encryptedBlob":"b","wrappedKey":"w","version":2147483653}"#));
        assert_eq!(huge.map(|pull| pull.version), Ok(-2_147_483_643));
    }
}
