//! `lpm env list-remote` and `log`: what the server tells about vaults without opening one.

use super::{Session, check_org, wait_for};
use crate::args::{LogArgs, OrgArg};
use crate::client::{Bearer, Client, Request};
use crate::error::Result;
use crate::output::{self, note, printable};
use lpm_core::failure::presentable;
use lpm_core::secret::Secret;
use lpm_core::wire::{VaultEntry, VaultList};
use serde_json::{Value, json};

/// `lpm env list-remote`: the vaults that the server has for the account, or for an org.
pub(crate) fn list(session: &Session, args: &OrgArg) -> Result<()> {
    let org = args.org.as_deref().map(check_org).transpose()?;
    let (token, client) = (session.token()?, session.client()?);
    let vaults = wait_for(vaults(&client, &token, org))?;
    if session.json() {
        return output::json(&json!({ "vaults": vaults }));
    }
    if vaults.is_empty() {
        note(match org {
            None => "the server has no vault of yours; `lpm env push` uploads one".to_owned(),
            Some(org) => format!("`{org}` has no vault; `lpm env share --org={org}` shares one"),
        });
    }
    let here = session.vault().ok();
    vaults.iter().try_for_each(|entry| output::line(listed(entry, here.as_deref())))
}

/// The vaults of the account, or of an org.
pub(super) async fn vaults(client: &Client, token: &Secret, org: Option<&str>) -> Result<Vec<VaultEntry>> {
    let path: &[&str] = match org {
        Some(org) => &["api", "orgs", org, "vaults"],
        None => &["api", "vaults"],
    };
    let list: VaultList = client.send(&Request::read(path, &[], Bearer::Account(token))).await?;
    Ok(list.vaults)
}

/// A vault in one line: id, version, when, name.
fn listed(entry: &VaultEntry, here: Option<&str>) -> String {
    let mut line = format!(
        "{}  version {}  {}",
        printable(&entry.vault_id),
        entry.version,
        printable(&entry.updated_at)
    );
    if let Some(name) = entry.name.as_deref().filter(|name| !name.is_empty()) {
        line.push_str(&format!("  {}", printable(name)));
    }
    if here == Some(&entry.vault_id) {
        line.push_str("  (this project)");
    }
    line
}

/// `lpm env log`.
pub(crate) fn log(session: &Session, args: &LogArgs) -> Result<()> {
    let org = args.org.org.as_deref().map(check_org).transpose()?;
    let (token, client, id) = (session.token()?, session.client()?, session.vault()?);
    let (entries, next) = wait_for(async {
        let mut entries: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let query: Vec<(&str, &str)> = [("cursor", cursor.as_deref()), ("org", org)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            let path = ["api", "vaults", &id, "audit"];
            let page: Value = client.send(&Request::read(&path, &query, Bearer::Account(&token))).await?;
            entries.extend(page["entries"].as_array().cloned().unwrap_or_default());
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() || !args.all {
                return Ok((entries, cursor));
            }
        }
    })?;
    if session.json() {
        return output::json(&json!({ "entries": entries, "nextCursor": next }));
    }
    if next.is_some() {
        note("these are the last 50 entries; `--all` shows the others");
    }
    entries.iter().try_for_each(|entry| output::line(described(entry)))
}

/// One entry in one line: when, what, and what else is known.
fn described(entry: &Value) -> String {
    const FIRST: [&str; 2] = ["decision", "reason"];
    let text = |value: &Value| match value {
        Value::String(text) => Some(presentable(text)),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    let mut line: Vec<String> =
        ["createdAt", "action"].iter().filter_map(|name| text(&entry[*name])).collect();
    let metadata = &entry["metadata"];
    line.extend(FIRST.iter().filter_map(|name| text(&metadata[*name])));
    let rest = metadata.as_object().into_iter().flatten().filter(|(name, _)| !FIRST.contains(&name.as_str()));
    line.extend(rest.filter_map(|(name, value)| Some(format!("{}={}", presentable(name), text(value)?))));
    line.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_without_control_characters() {
        let entry = json!({"id": "1", "action": "ci_pull", "createdAt": "2026-01-01T00:00:00Z",
            "metadata": {"repo": "acme/web", "branch": "a\nb", "decision": "denied", "reason": "branch_not_allowed", "x": null}});
        assert_eq!(
            described(&entry),
            "2026-01-01T00:00:00Z  ci_pull  denied  branch_not_allowed  branch=a\\u{a}b  repo=acme/web"
        );
        assert_eq!(described(&json!({"action": "push", "createdAt": "t", "metadata": null})), "t  push");
    }

    #[test]
    fn a_vault_is_one_line_without_control_characters() {
        let entry = VaultEntry {
            vault_id: "v\n1".into(),
            version: 3,
            name: Some("shop".into()),
            updated_at: "t".into(),
        };
        assert_eq!(listed(&entry, Some("v")), "v\\u{a}1  version 3  t  shop");
        assert_eq!(listed(&entry, Some("v\n1")), "v\\u{a}1  version 3  t  shop  (this project)");
        assert_eq!(listed(&VaultEntry { name: None, ..entry }, None), "v\\u{a}1  version 3  t");
    }
}
