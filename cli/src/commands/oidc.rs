//! `lpm env oidc list`, `revoke`, `disable`, `repin` and `explain`.

use super::copy::encode;
use super::local::done;
use super::{Session, check_org, wait_for};
use crate::args::{ExplainArgs, OrgArg, RepinArgs};
use crate::ci_token::Source;
use crate::client::{Bearer, Request, Retry};
use crate::error::{Error, Result};
use crate::output::{self, note, printable};
use lpm_core::failure::exit;
use lpm_core::json::{self as strict, Limits};
use lpm_core::secret::Secret;
use lpm_core::wire::ExplainRequest;
use reqwest::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::io::Read;

/// A policy's subject: `repo:owner/repo` or `project:group/project`.
pub(super) fn subject(repo: Option<&str>, project: Option<&str>) -> String {
    match (repo, project) {
        (Some(repo), _) => format!("repo:{}", repo.trim()),
        (None, project) => format!("project:{}", project.unwrap_or_default().trim()),
    }
}

/// Asks the server as the account of `LPM_TOKEN`.
fn ask(
    session: &Session,
    method: Method,
    path: &[&str],
    query: &[(&str, &str)],
    body: Option<Secret>,
) -> Result<Value> {
    let (token, client) = (session.token()?, session.client()?);
    let bearer = Bearer::Account(&token);
    wait_for(client.send(&Request { method, path, query, body, bearer, retry: Retry::Repeatable }))
}

/// The parameters that name a vault, or an org's.
fn of_vault<'a>(id: &'a str, org: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    std::iter::once(("vaultId", id)).chain(org.map(|org| ("org", org))).collect()
}

/// `lpm env oidc list`.
pub(crate) fn list(session: &Session, args: &OrgArg) -> Result<()> {
    let org = args.org.as_deref().map(check_org).transpose()?;
    let id = session.vault()?;
    let query = of_vault(&id, org);
    let reply = ask(session, Method::GET, &["api", "vault", "oidc", "policies"], &query, None)?;
    if session.json() {
        return output::json(&reply);
    }
    let policies = reply["policies"].as_array().map(Vec::as_slice).unwrap_or_default();
    if policies.is_empty() {
        note("no policies: CI cannot pull this vault; `lpm env oidc allow` makes one");
    } else if reply["escrow"] == "off" {
        note("CI escrow is off, so nothing can be pulled: `lpm env oidc allow` opens the vault");
    }
    for policy in policies {
        let text = |name: &str| policy[name].as_str().map(printable);
        output::line(format!("{}  {}", text("id").unwrap_or_default(), text("permits").unwrap_or_default()))?;
        let by = text("author").zip(text("createdAt")).map(|(author, at)| format!("by {author} at {at}"));
        let pinned = policy["pinned"]["id"].as_str().map(|id| format!("pinned to id {}", printable(id)));
        let lapses =
            text("lapsesAt").map(|at| format!("pinned by the first pull; without one it lapses at {at}"));
        let details: Vec<String> = [by, pinned, lapses].into_iter().flatten().collect();
        output::line(format!("    {}", details.join("; ")))?;
    }
    Ok(())
}

/// `lpm env oidc revoke`.
pub(crate) fn revoke(session: &Session, policy: &str) -> Result<()> {
    // Repeatable: when the first answer is lost, "no such policy" is the truth.
    let reply = ask(session, Method::DELETE, &["api", "vault", "oidc", "policies", policy], &[], None)?;
    let subject = printable(reply["subject"].as_str().unwrap_or("?"));
    done(session, reply, || format!("revoked the policy for {subject}; what was granted under it has ended"))
}

/// `lpm env oidc disable`.
pub(crate) fn disable(session: &mut Session, args: &OrgArg) -> Result<()> {
    let org = args.org.as_deref().map(check_org).transpose()?;
    let id = session.vault()?;
    let query = of_vault(&id, org);
    let reply = ask(session, Method::DELETE, &["api", "vault", "oidc", "escrow"], &query, None)?;
    if org.is_none() {
        session.home()?.vault(&id).set_escrow_key(None)?;
    }
    if session.is_projects(&id) && session.project.is_open_to_ci(org) {
        session.project.set_open_to_ci(org, false);
        session.project.save()?;
    }
    done(session, reply, || "CI escrow is off: the server has forgotten this vault's escrow".to_owned())
}

/// `lpm env oidc repin`.
pub(crate) fn repin(session: &Session, args: &RepinArgs) -> Result<()> {
    let subject = match &args.subject {
        Some(subject) if subject.starts_with("repo:") || subject.starts_with("project:") => subject.clone(),
        Some(_) => {
            return Err(Error::usage(
                "the subject must begin with `repo:` or `project:`, as policies name it",
            ));
        }
        None => subject(args.repo.as_deref(), args.project.as_deref()),
    };
    let body = encode(&json!({ "vaultId": session.vault()?, "subject": subject }))?;
    let reply = ask(session, Method::POST, &["api", "vault", "oidc", "repin"], &[], Some(body))?;
    done(session, reply, || format!("the next pull by {} pins its ids anew", printable(&subject)))
}

/// `lpm env oidc explain`: exit code 0 when the job would be granted, 3 when not.
pub(crate) fn explain(session: &Session, args: &ExplainArgs) -> Result<u8> {
    let mut request = ExplainRequest {
        vault_id: session.vault()?,
        env: session.asked_environment(&args.environment)?,
        oidc_token: None,
        claims: None,
    };
    match args.claims.as_deref() {
        Some(file) => request.claims = Some(read_claims(file)?),
        None => request.oidc_token = Some(job_token(session)?),
    }
    let reply =
        ask(session, Method::POST, &["api", "vault", "oidc", "explain"], &[], Some(encode(&request)?))?;
    let granted = reply["granted"].as_bool().unwrap_or(false);
    if session.json() {
        output::json(&reply)?;
    } else {
        explanation(&reply).iter().try_for_each(output::line)?;
    }
    Ok(if granted { 0 } else { exit::DENIED })
}

fn read_claims(file: &str) -> Result<Box<RawValue>> {
    let mut text = String::new();
    let read = match file {
        "-" => std::io::stdin().read_to_string(&mut text),
        path => std::fs::File::open(path).and_then(|mut open| open.read_to_string(&mut text)),
    };
    // No path in this text: whoever takes the flag for the place of a token has put one there.
    read.map_err(|error| Error::failure(format!("cannot read the file of `--claims`: {error}")))?;
    let wrong = |why: String| Error::usage(format!("`{}` {why}", printable(file)));
    let value = strict::parse(text.as_bytes(), &Limits::CLAIMS).map_err(|error| wrong(error.to_string()))?;
    if value.as_object().is_none() {
        return Err(wrong(format!("holds {}, not an object of claims", value.type_name())));
    }
    RawValue::from_string(text.trim().to_owned()).map_err(|_| wrong("is not valid JSON".to_owned()))
}

/// The token of the job that runs this; it is verified like one that pulls, but not used up.
fn job_token(session: &Session) -> Result<String> {
    let client = session.client()?;
    let source = Source::find(client.audience()).map_err(|error| {
        Error::usage(format!("no `--claims`, and {error}"))
            .hint("`--claims=FILE` explains a token's claims from anywhere")
    })?;
    let token = wait_for(source.token(&client, session.timeout()))?;
    Ok(token.expose_str().unwrap_or_default().to_owned())
}

/// The answer, then each policy with its checks.
fn explanation(reply: &Value) -> Vec<String> {
    let text = |value: &Value| printable(value.as_str().unwrap_or("-"));
    let mut lines = Vec::new();
    if reply["granted"].as_bool().unwrap_or(false) {
        lines.push("granted".to_owned());
    } else {
        lines.push(format!("denied: {} ({})", text(&reply["error"]), text(&reply["reason"])));
        lines.extend(reply["hint"].as_str().map(|hint| format!("hint: {}", printable(hint))));
    }
    let unknown = reply["unknownClaims"].as_array().into_iter().flatten();
    lines.extend(unknown.map(|name| format!("note: no claim is called `{}`", text(name))));
    let mut policy = None;
    for row in reply["checks"].as_array().into_iter().flatten() {
        if policy != Some(&row["policy"]) {
            policy = Some(&row["policy"]);
            lines.push(format!("policy {}", text(&row["policy"])));
        }
        let (check, actual) = (text(&row["check"]), text(&row["actual"]));
        lines.push(if row["ok"].as_bool().unwrap_or(false) {
            format!("  ok    {check}: {actual}")
        } else {
            format!("  FAIL  {check}: {actual}, expected {}", text(&row["expected"]))
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_named_as_policies_name_them() {
        assert_eq!(subject(Some("acme/web"), None), "repo:acme/web");
        assert_eq!(subject(None, Some("group/project")), "project:group/project");
        assert_eq!(subject(None, Some("42")), "project:42");
    }

    #[test]
    fn an_explanation_shows_what_differed() {
        let reply = json!({"granted": false, "reason": "branch_not_allowed", "error": "the branch `x` is not allowed to pull",
            "hint": "allow it", "checks": [
                {"policy": "p1", "check": "event", "expected": "push", "actual": "push", "ok": true},
                {"policy": "p1", "check": "branch", "expected": "main", "actual": "x\u{1b}", "ok": false},
                {"policy": "p2", "check": "branch", "expected": "dev", "actual": null, "ok": false}]});
        assert_eq!(
            explanation(&reply),
            [
                "denied: the branch `x` is not allowed to pull (branch_not_allowed)",
                "hint: allow it",
                "policy p1",
                "  ok    event: push",
                "  FAIL  branch: x\\u{1b}, expected main",
                "policy p2",
                "  FAIL  branch: -, expected dev",
            ]
        );
        assert_eq!(explanation(&json!({"granted": true, "checks": []})), ["granted"]);
        assert_eq!(
            explanation(&json!({"granted": true, "unknownClaims": ["brnch"], "checks": []})),
            ["granted", "note: no claim is called `brnch`"]
        );
        assert_eq!(explanation(&json!({})), ["denied: - (-)"], "an answer that says nothing grants nothing");
    }
}
