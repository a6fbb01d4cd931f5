//! What an org's trail shows, and to whom.

use crate::world::{Person, VAULT, World, refused, seen};
use anyhow::Result;
use serde_json::{Value, json};

async fn trail(world: &World, who: &Person) -> Result<Value> {
    let reply = world.get(who, &format!("/api/vaults/{VAULT}/audit?org=acme")).await?;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    Ok(reply.json())
}

#[tokio::test]
async fn an_orgs_trail_shows_its_vault_and_who_came_and_went() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    world.pull(&world.dan).await?;
    world.post(&world.dan, "/api/orgs/acme/vaults/elsewhere", &world.share_of(&world.members())?).await?;
    world.put(&world.olga, "/api/orgs/acme/members/dan", &json!({"role": "maintainer"})).await?;
    world
        .post(&world.olga, "/api/orgs/acme/invitations", &json!({"handle": "eve", "role": "developer"}))
        .await?;
    world.delete(&world.olga, "/api/orgs/acme/members/dan").await?;
    let entries = trail(&world, &world.mia).await?["entries"].clone();
    let seen: Vec<(&str, &Value)> = entries
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| Some((entry["action"].as_str()?, &entry["userId"])))
        .take(5)
        .collect();
    let (olga, dan, alice) = (json!(world.olga.id), json!(world.dan.id), json!(world.alice.id));
    assert_eq!(
        seen,
        [
            ("member_removed", &olga),
            ("invitation_create", &olga),
            ("member_role", &olga),
            ("pull", &dan),
            ("share", &alice)
        ],
        "{entries}"
    );
    let org = world.sql("select id from lpm.org where slug = 'acme'")?;
    for entry in entries.as_array().into_iter().flatten() {
        assert_eq!(entry["orgId"], json!(org), "{entry}");
        assert!(entry["id"].is_string() && entry["createdAt"].is_string(), "{entry}");
        let text = entry.to_string();
        assert!(!text.contains("wrappedKey") && !text.contains(":AAAA"), "{text}");
    }
    let role = &entries[2]["metadata"];
    assert_eq!(
        (&role["handle"], &role["from"], &role["role"]),
        (&json!("dan"), &json!("developer"), &json!("maintainer"))
    );
    Ok(())
}

#[tokio::test]
async fn owners_admins_and_maintainers_read_it_and_nobody_else() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    world.pull(&world.dan).await?;
    for who in [&world.olga, &world.alice, &world.mia] {
        assert!(trail(&world, who).await?["entries"].as_array().is_some_and(|entries| !entries.is_empty()));
    }
    let path = format!("/api/vaults/{VAULT}/audit?org=acme");
    let reply = world.get(&world.dan, &path).await?;
    assert_eq!(seen(&reply), refused(403, "org_role"));
    assert_eq!(reply.member("error"), "as developer of `acme` you cannot read its audit log");
    assert_eq!(seen(&world.get(&world.eve, &path).await?), refused(404, "org_unknown"));
    let own = world.get(&world.dan, &format!("/api/vaults/{VAULT}/audit")).await?;
    assert_eq!(
        own.json(),
        json!({"entries": [], "nextCursor": null}),
        "what was done for the org is the org's"
    );
    world.put(&world.olga, "/api/orgs/acme/members/mia", &json!({"role": "developer"})).await?;
    assert_eq!(seen(&world.get(&world.mia, &path).await?), refused(403, "org_role"), "from that moment");
    let empty = world.get(&world.olga, &format!("/api/vaults/{VAULT}/audit?org=")).await?;
    assert_eq!(seen(&empty), refused(400, "bad_request"));
    Ok(())
}

#[tokio::test]
async fn a_long_trail_comes_in_pages_and_each_entry_once() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    for number in 0..60 {
        if number % 3 == 0 {
            let role = if number % 2 == 0 { "maintainer" } else { "developer" };
            world.put(&world.olga, "/api/orgs/acme/members/dan", &json!({"role": role})).await?;
        } else {
            world.pull(&world.dan).await?;
        }
    }
    let mut ids: Vec<u64> = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/vaults/{VAULT}/audit?org=acme{cursor}");
        let page = world.get(&world.mia, &path).await?.json();
        let entries = page["entries"].as_array().cloned().unwrap_or_default();
        assert!(entries.len() <= 50);
        ids.extend(entries.iter().filter_map(|entry| entry["id"].as_str()?.parse::<u64>().ok()));
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let expected = world.sql("select string_agg(l.id::text, ' ' order by l.id desc) from lpm.audit_log l join lpm.org o on o.id = l.owner_org_id")?;
    assert_eq!(ids.iter().map(u64::to_string).collect::<Vec<_>>().join(" "), expected);
    Ok(())
}

#[tokio::test]
async fn refusals_stand_in_the_trail_with_their_reason() -> Result<()> {
    let world = World::new().await?;
    world.share(&world.dan, &[&world.dan], json!({})).await?;
    world.put(&world.dan, "/api/orgs/acme/settings", &json!({"mayShare": "owner"})).await?;
    world.delete(&world.alice, "/api/orgs/acme/members/olga").await?;
    let denied = "select string_agg(concat_ws(' ', a.handle, l.action, l.reason, o.slug), ', ' order by l.id)
                    from lpm.audit_log l join lpm.account a on a.id = l.user_id left join lpm.org o on o.id = l.owner_org_id
                   where l.decision = 'denied'";
    assert_eq!(
        world.sql(denied)?,
        "dan share recipient_missing acme, dan sharing_set org_role acme, alice member_removed org_role acme"
    );
    Ok(())
}
