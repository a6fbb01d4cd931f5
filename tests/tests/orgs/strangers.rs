//! An org of others answers as one that does not exist: the same status, the same bytes but for its name.

use crate::world::{World, refused, seen};
use anyhow::Result;
use lpm_tests::gateway::Reply;
use reqwest::Method;
use serde_json::{Value, json};

/// What everybody's answer has of its own.
fn without_the_name(reply: &Reply, org: &str) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| !["x-request-id", "date", "content-length"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    headers.sort();
    (reply.status.as_u16(), headers, reply.text().replace(org, "ORG"))
}

#[tokio::test]
async fn an_org_of_others_answers_as_one_that_does_not_exist() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    world.sql("select lpm.set_plan('eve', 'org')")?;
    let share = world.share_of(&world.members())?;
    let policy = |org: &str| {
        json!({"vaultId": "mine", "provider": "github", "subject": "repo:acme/web", "allowedBranches": ["main"],
               "allowedEnvironments": ["production"], "allowForks": false, "scope": "org", "org": org})
    };
    let invitation = json!({"handle": "olga", "role": "developer"});
    let routes: [(Method, &str, Value); 20] = [
        (Method::GET, "/api/orgs/{org}/members/public-keys", Value::Null),
        (Method::GET, "/api/orgs/{org}/members", Value::Null),
        (Method::PUT, "/api/orgs/{org}/members/dan", json!({"role": "owner"})),
        (Method::PUT, "/api/orgs/{org}/members/eve", json!({"role": "no role"})),
        (Method::DELETE, "/api/orgs/{org}/members/dan", Value::Null),
        (Method::DELETE, "/api/orgs/{org}/members/eve?revokePolicies=true", Value::Null),
        (Method::PUT, "/api/orgs/{org}/settings", json!({"mayShare": "owner"})),
        (Method::POST, "/api/orgs/{org}/invitations", invitation),
        (Method::GET, "/api/orgs/{org}/invitations", Value::Null),
        (Method::DELETE, "/api/orgs/{org}/invitations/olga", Value::Null),
        (Method::DELETE, "/api/orgs/{org}/invitations/eve", Value::Null),
        (Method::POST, "/api/orgs/{org}/invitations/accept", json!({})),
        (Method::GET, "/api/orgs/{org}/vaults", Value::Null),
        (Method::GET, "/api/orgs/{org}/vaults/vault-123", Value::Null),
        (Method::GET, "/api/orgs/{org}/vaults/no-such-vault", Value::Null),
        (Method::POST, "/api/orgs/{org}/vaults/vault-123", share.clone()),
        (Method::POST, "/api/orgs/{org}/vaults/new", json!({"encryptedBlob": "", "wrappedKeys": []})),
        (Method::GET, "/api/vaults/vault-123/audit?org={org}", Value::Null),
        (Method::GET, "/api/vault/oidc/policies?vaultId=vault-123&org={org}", Value::Null),
        (Method::POST, "/api/vault/oidc/policies", Value::Null),
    ];
    let rows = "select (select count(*) from lpm.vault_sync) || ' ' || (select count(*) from lpm.vault_claim) || ' '
                    || (select count(*) from lpm.org_member) || ' ' || (select count(*) from lpm.oidc_policy) || ' '
                    || (select count(*) from lpm.org_invitation) || ' ' || (select count(*) from lpm.blob_seen)";
    let before = world.sql(rows)?;
    for (method, path, body) in &routes {
        let mut answers = Vec::new();
        // `gone` has the name of an org; `acme` is one
        for org in ["acme", "gone"] {
            let request = world.stack.gateway.request(method.clone(), &path.replace("{org}", org));
            let request = request.bearer_auth(&world.eve.token);
            let body = if path.ends_with("/policies") && method == Method::POST {
                policy(org)
            } else {
                body.clone()
            };
            let request = if body.is_null() { request } else { request.json(&body) };
            let reply = Reply::read(request.send().await?).await?;
            let invitee = path.ends_with("/accept") || path.ends_with("/invitations/eve");
            let expected = if invitee { "invitation_unknown" } else { "org_unknown" };
            assert_eq!(seen(&reply), refused(404, expected), "{method} {path} {org}: {}", reply.text());
            answers.push(without_the_name(&reply, org));
        }
        assert_eq!(answers[0], answers[1], "{method} {path}");
    }
    assert_eq!(world.sql(rows)?, before, "and changes nothing");
    Ok(())
}

#[tokio::test]
async fn the_owner_of_one_org_is_nobody_in_another() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    world.sql("select lpm.create_org('other'); select lpm.add_member('other', 'eve', role => 'owner')")?;
    for path in
        ["/api/orgs/acme/members", "/api/orgs/acme/vaults/vault-123", "/api/orgs/acme/members/public-keys"]
    {
        assert_eq!(seen(&world.get(&world.eve, path).await?), refused(404, "org_unknown"), "{path}");
    }
    let path = "/api/orgs/other/vaults/vault-123";
    assert_eq!(
        seen(&world.get(&world.eve, path).await?),
        refused(404, "org_vault_unknown"),
        "its own, and empty"
    );
    let foreign = world.share_of(&[&world.eve, &world.dan])?;
    assert_eq!(seen(&world.post(&world.eve, path, &foreign).await?), refused(409, "recipient_unknown"));
    for handle in ["dan", "olga"] {
        let path = format!("/api/orgs/other/members/{handle}");
        assert_eq!(seen(&world.delete(&world.eve, &path).await?), refused(404, "member_unknown"));
        let role = world.put(&world.eve, &path, &json!({"role": "developer"})).await?;
        assert_eq!(seen(&role), refused(404, "member_unknown"));
    }
    // Somebody who is in both takes nothing from one to the other.
    world.sql("select lpm.add_member('other', 'dan')")?;
    let keys = world.get(&world.eve, "/api/orgs/other/members/public-keys").await?.json();
    let handles: Vec<&str> =
        keys.as_array().into_iter().flatten().filter_map(|key| key["handle"].as_str()).collect();
    assert_eq!(handles, ["eve", "dan"]);
    assert_eq!(world.get(&world.dan, "/api/orgs/other/vaults").await?.json(), json!({"vaults": []}));
    Ok(())
}

#[tokio::test]
async fn names_that_are_no_slug_are_refused_before_anything_else() -> Result<()> {
    let world = World::new().await?;
    for (slug, expected) in [
        ("%00", refused(400, "bad_request")),
        ("%FF", refused(400, "bad_request")),
        (&*"x".repeat(257), refused(400, "bad_request")),
        ("ACME", refused(404, "org_unknown")),
        ("acme%20", refused(404, "org_unknown")),
        ("..%2Facme", refused(404, "org_unknown")),
        ("acm%65", (200, String::new())),
    ] {
        let reply = world.get(&world.dan, &format!("/api/orgs/{slug}/members")).await?;
        assert_eq!(seen(&reply), expected, "{slug}");
    }
    Ok(())
}
