//! Personal sync: push, pull, list, audit (contract, section 2).

use super::{Printed, Published, raw_unless_success, status_line, typed};
use crate::gateway::Reply;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a push sends. A member that is `None` is left out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Push {
    /// `b64(iv):b64(ct+tag)`.
    pub encrypted_blob: String,
    /// `b64(iv):b64(ct+tag)`, 81 characters.
    pub wrapped_key: String,
    /// Only where `lpm.json` has one, and not with `force`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<i32>,
    /// `true`, or left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    /// On `push` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// On `push` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

/// What it makes of an answer to a push and to a share.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Pushed {
    /// Goes into `lpm.json`; without it nothing does.
    pub version: Option<i32>,
    /// Echoed.
    pub status: Option<String>,
    pub(super) error: Option<String>,
}

impl Pushed {
    /// Version and status.
    #[must_use]
    pub fn of(version: i32, status: &str) -> Self {
        Self { version: Some(version), status: Some(status.to_owned()), error: None }
    }
}

/// What a pull gives it.
#[derive(Debug, PartialEq, Eq)]
pub struct Pull {
    /// Byte for byte what was pushed.
    pub encrypted_blob: String,
    /// Byte for byte what was pushed.
    pub wrapped_key: String,
    /// 0 where the answer has none.
    pub version: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullBody {
    encrypted_blob: Option<String>,
    wrapped_key: Option<String>,
    version: Option<i32>,
    #[serde(rename = "vaultId")]
    _vault_id: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct ListBody {
    vaults: Vec<Listed>,
}

/// An item of its list.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The vault.
    pub vault_id: String,
    /// Its version.
    pub version: Option<i32>,
    /// A string.
    pub updated_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuditBody {
    entries: Option<Vec<AuditEntry>>,
    next_cursor: Option<String>,
    error: Option<String>,
}

/// A line of its log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// A string, whatever it counts.
    pub id: String,
    /// What was done.
    pub action: String,
    /// Who did it.
    pub user_id: Option<String>,
    /// The org whose vault it is.
    pub org_id: Option<String>,
    /// Anything.
    pub metadata: Option<Value>,
    /// A string.
    pub created_at: String,
}

impl Published {
    /// 2.1 `POST /api/vaults/{vaultId}/sync`
    pub async fn push(&self, vault: &str, push: &Push) -> Result<(Printed<Pushed>, Reply)> {
        let reply = self.post(&format!("/api/vaults/{vault}/sync"), push).await?;
        Ok((pushed(&reply), reply))
    }

    /// 2.2 `GET /api/vaults/{vaultId}/sync`
    pub async fn pull(&self, vault: &str) -> Result<(Printed<Pull>, Reply)> {
        let reply = self.get(&format!("/api/vaults/{vault}/sync")).await?;
        Ok((pulled(&reply), reply))
    }

    /// 2.3 `GET /api/vaults`
    pub async fn list(&self) -> Result<(Printed<Vec<Listed>>, Reply)> {
        let reply = self.get("/api/vaults").await?;
        Ok((listed(&reply), reply))
    }

    /// 2.4 `GET /api/vaults/{vaultId}/audit`; the command line never sends a cursor, the function in it can.
    pub async fn log(
        &self,
        vault: &str,
        cursor: Option<&str>,
    ) -> Result<(Printed<(Vec<AuditEntry>, Option<String>)>, Reply)> {
        let query = cursor.map(|cursor| format!("?cursor={cursor}")).unwrap_or_default();
        let reply = self.get(&format!("/api/vaults/{vault}/audit{query}")).await?;
        Ok((log(&reply), reply))
    }
}

/// A success needs a JSON object; an error may be anything.
fn pushed(reply: &Reply) -> Printed<Pushed> {
    if reply.status.is_success() {
        return typed(reply, "response parse error");
    }
    let line = format!("server error: {}", status_line(reply.status));
    Err(match serde_json::from_slice::<Pushed>(&reply.bytes) {
        Ok(body) => body.error.unwrap_or(line),
        Err(_) => match reply.text().trim() {
            "" => line,
            text => text.to_owned(),
        },
    })
}

/// Every answer is parsed first, whatever its status.
fn pulled(reply: &Reply) -> Printed<Pull> {
    let body: PullBody = typed(reply, "response parse error")?;
    if !reply.status.is_success() {
        return Err(body.error.unwrap_or_else(|| format!("server error: {}", status_line(reply.status))));
    }
    Ok(Pull {
        encrypted_blob: body.encrypted_blob.ok_or("server returned no encrypted data")?,
        wrapped_key: body.wrapped_key.ok_or("server returned no wrapped key")?,
        version: body.version.unwrap_or(0),
    })
}

pub(super) fn listed(reply: &Reply) -> Printed<Vec<Listed>> {
    raw_unless_success(reply, "server error")?;
    typed::<ListBody>(reply, "parse error").map(|body| body.vaults)
}

fn log(reply: &Reply) -> Printed<(Vec<AuditEntry>, Option<String>)> {
    let body: AuditBody = typed(reply, "response parse error")?;
    if !reply.status.is_success() {
        return Err(body.error.unwrap_or_else(|| format!("server error: {}", status_line(reply.status))));
    }
    Ok((body.entries.unwrap_or_default(), body.next_cursor))
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::reply;
    use super::*;

    #[test]
    fn a_push_reads_versions_of_32_bits_and_prints_whatever_an_error_is() {
        let unparsable = "response parse error: error decoding response body";
        for (status, body, expected) in [
            (200, r#"{"version":3,"status":"updated"}"#, Ok(Some(3))),
            (200, r#"{"error":"x"}"#, Ok(None)),
            (200, r#"{"version":-1}"#, Ok(Some(-1))),
            (200, r#"{"version":"5"}"#, Err(unparsable)),
            (200, r#"{"version":1.0}"#, Err(unparsable)),
            (200, r#"{"version":2147483648}"#, Err(unparsable)),
            (200, r#"{"status":200}"#, Err(unparsable)),
            (204, "", Err(unparsable)),
            (409, r#"{"error":"pull first"}"#, Err("pull first")),
            (403, "{}", Err("server error: 403 Forbidden")),
            (409, r#"{"error":"conflict","status":409}"#, Err(r#"{"error":"conflict","status":409}"#)),
            (500, " down \n", Err("down")),
            (500, "", Err("server error: 500 Internal Server Error")),
        ] {
            let printed = pushed(&reply(status, body)).map(|pushed| pushed.version);
            assert_eq!(printed, expected.map_err(str::to_owned), "{status} {body}");
        }
    }

    #[test]
    fn a_pull_parses_before_it_looks_at_the_status() {
        for (status, body, expected) in [
            (404, "not found", "response parse error: error decoding response body"),
            (404, r#"{"error":"no such vault"}"#, "no such vault"),
            (404, "{}", "server error: 404 Not Found"),
            (200, r#"{"wrappedKey":"w"}"#, "server returned no encrypted data"),
            (200, r#"{"encryptedBlob":"b","wrappedKey":null}"#, "server returned no wrapped key"),
            (200, r#"{"vaultId":7}"#, "response parse error: error decoding response body"),
        ] {
            assert_eq!(pulled(&reply(status, body)), Err(expected.to_owned()), "{status} {body}");
        }
    }

    #[test]
    fn a_list_is_an_object_and_its_times_are_strings() {
        for (status, body, expected) in [
            (200, "[]", "parse error: error decoding response body"),
            (200, r#"{"vaults":null}"#, "parse error: error decoding response body"),
            (
                200,
                r#"{"vaults":[{"vaultId":"v","updatedAt":1}]}"#,
                "parse error: error decoding response body",
            ),
            (403, r#"{"error": "Not a member"}"#, r#"server error: {"error": "Not a member"}"#),
        ] {
            assert_eq!(listed(&reply(status, body)), Err(expected.to_owned()), "{status} {body}");
        }
    }

    #[test]
    fn one_numeric_id_spoils_the_whole_log() {
        let body = r#"{"entries":[{"id":1,"action":"push","createdAt":"2026-01-01T00:00:00Z"}]}"#;
        let printed = log(&reply(200, body)).err();
        assert_eq!(printed.as_deref(), Some("response parse error: error decoding response body"));
        assert!(log(&reply(200, "{}")).is_ok());
    }
}
