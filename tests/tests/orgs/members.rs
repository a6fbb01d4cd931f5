//! Who is in, and what ends when somebody leaves.

use crate::world::{PAYLOAD, VAULT, World, refused, seen};
use anyhow::Result;
use serde_json::json;

#[tokio::test]
async fn members_see_each_other_owners_first() -> Result<()> {
    let world = World::new().await?;
    world.sql(
        "delete from lpm.user_public_keys k using lpm.account a where a.id = k.user_id and a.handle = 'mia'",
    )?;
    let list = world.get(&world.dan, "/api/orgs/acme/members").await?.json();
    assert_eq!(list["mayShare"], "developer");
    let seen: Vec<String> = list["members"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|member| format!("{} {} {}", member["handle"], member["role"], member["hasPublicKey"]))
        .collect();
    assert_eq!(
        seen,
        [
            r#""olga" "owner" true"#,
            r#""alice" "admin" true"#,
            r#""mia" "maintainer" false"#,
            r#""dan" "developer" true"#
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_leaver_reads_nothing_from_that_moment_and_the_others_go_on() -> Result<()> {
    for by_dba in [false, true] {
        let world = World::new().await?;
        world.shared().await?;
        world.shared().await?;
        assert_eq!(world.copies(&world.dan)?, 2);
        if by_dba {
            world.sql("select * from lpm.remove_member('acme', 'dan')")?;
        } else {
            let reply = world.delete(&world.alice, "/api/orgs/acme/members/dan").await?;
            assert_eq!(reply.json(), json!({"success": true, "policies": []}), "{}", reply.text());
        }
        assert_eq!(world.copies(&world.dan)?, 0, "copies of all versions, at once");
        assert_eq!(seen(&world.pull(&world.dan).await?), refused(404, "org_unknown"));
        assert_eq!(world.read(&world.mia).await?, PAYLOAD);
        let for_leaver = world.share(&world.alice, &world.members(), json!({"force": true})).await?;
        assert_eq!(seen(&for_leaver), refused(409, "recipient_unknown"));
        let staying = [&world.olga, &world.alice, &world.mia];
        assert_eq!(world.share(&world.alice, &staying, json!({"force": true})).await?.status.as_u16(), 200);
        // Whoever comes back reads what is shared from then on.
        world.sql("select lpm.add_member('acme', 'dan')")?;
        assert!(world.pull(&world.dan).await?.json().get("wrappedKey").is_none());
        world.shared().await?;
        assert_eq!(world.read(&world.dan).await?, PAYLOAD);
    }
    Ok(())
}

#[tokio::test]
async fn an_account_that_is_dropped_leaves_its_orgs_too() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    world
        .post(&world.alice, "/api/orgs/acme/invitations", &json!({"handle": "gone", "role": "developer"}))
        .await?;
    world
        .sql("select lpm.create_user('gone'); select lpm.drop_user('gone'); select lpm.drop_user('alice')")?;
    assert_eq!(world.copies(&world.alice)?, 0);
    assert_eq!(world.read(&world.dan).await?, PAYLOAD);
    assert_eq!(world.sql("select count(*) from lpm.org_invitation")?, "0", "whom and by whom");
    Ok(())
}

#[tokio::test]
async fn no_copy_is_stored_without_a_membership_whatever_writes_it() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    for (row, user, org) in [
        ("no member", world.eve.id.to_string(), "o.id"),
        ("another org", world.dan.id.to_string(), "gen_random_uuid()"),
    ] {
        let sql = format!(
            "insert into lpm.vault_org_keys (vault, version, org_id, user_id, wrapped_key)
             select v.id, 7, {org}, '{user}', repeat('A', 126) from lpm.vault_sync v, lpm.org o where o.slug = 'acme'"
        );
        let output = world.stack.database().psql(&sql)?;
        assert!(String::from_utf8_lossy(&output.stderr).contains("foreign key"), "{row}");
    }
    Ok(())
}

#[tokio::test]
async fn a_leavers_policies_are_listed_and_end_where_that_is_asked_for() -> Result<()> {
    let world = World::new().await?;
    world.sql("select lpm.add_member('acme', 'mia', role => 'admin')")?;
    let policy = |environment: &str| {
        json!({"vaultId": VAULT, "provider": "github", "subject": "repo:acme/web", "allowedBranches": ["main"],
               "allowedEnvironments": [environment], "allowForks": false, "scope": "org", "org": "acme"})
    };
    for (who, environment) in [(&world.mia, "production"), (&world.alice, "staging")] {
        let reply = world.post(who, "/api/vault/oidc/policies", &policy(environment)).await?;
        assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
    }
    let typo = world.delete(&world.olga, "/api/orgs/acme/members/mia?revokePolicies=yes").await?;
    assert_eq!(seen(&typo), refused(400, "bad_request"));
    let kept = world.delete(&world.olga, "/api/orgs/acme/members/mia").await?.json();
    assert_eq!(
        (&kept["policies"][0]["subject"], &kept["policies"][0]["revoked"]),
        (&json!("repo:acme/web"), &json!(false))
    );
    assert_eq!(world.sql("select count(*) from lpm.oidc_policy")?, "2");
    world.sql("select lpm.add_member('acme', 'mia', role => 'admin')")?;
    let ended = world.delete(&world.olga, "/api/orgs/acme/members/mia?revokePolicies=true").await?.json();
    assert_eq!(
        (&ended["policies"][0]["vaultId"], &ended["policies"][0]["revoked"]),
        (&json!(VAULT), &json!(true))
    );
    assert_eq!(ended["policies"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        world.sql("select a.handle from lpm.oidc_policy p join lpm.account a on a.id = p.author")?,
        "alice",
        "others' stay"
    );
    Ok(())
}

#[tokio::test]
async fn everybody_may_leave_and_the_last_owner_may_not() -> Result<()> {
    let world = World::new().await?;
    let leave = async |who: &crate::world::Person, query: &str| {
        world.delete(who, &format!("/api/orgs/acme/members/{}{query}", who.handle)).await
    };
    let with_policies = leave(&world.dan, "?revokePolicies=true").await?;
    assert_eq!(seen(&with_policies), refused(403, "org_role"), "a developer ends no policies");
    assert_eq!(leave(&world.dan, "").await?.status.as_u16(), 200);
    assert_eq!(seen(&leave(&world.dan, "").await?), refused(404, "org_unknown"), "once");
    assert_eq!(leave(&world.mia, "").await?.status.as_u16(), 200);
    assert_eq!(seen(&leave(&world.olga, "").await?), refused(409, "last_owner"));
    world.put(&world.olga, "/api/orgs/acme/members/alice", &json!({"role": "owner"})).await?;
    assert_eq!(leave(&world.olga, "").await?.status.as_u16(), 200);
    let demotion = world.put(&world.alice, "/api/orgs/acme/members/alice", &json!({"role": "admin"})).await?;
    assert_eq!(seen(&demotion), refused(409, "last_owner"));
    Ok(())
}

#[tokio::test]
async fn what_a_member_did_for_the_org_stays_with_the_org() -> Result<()> {
    let world = World::new().await?;
    world.share(&world.dan, &world.members(), json!({})).await?;
    world.delete(&world.alice, "/api/orgs/acme/members/dan").await?;
    world.sql("select lpm.set_plan('dan', 'pro')")?;
    let dan = world.stack.escrowed(&world.dan.token);
    let client = dan.gateway().await?;
    dan.push(&client, VAULT).await?;
    let refusal = dan.allow(&client, VAULT).await.expect_err("the id is the org's").to_string();
    assert!(refusal.contains("vault_claimed"), "{refusal}");
    Ok(())
}

#[tokio::test]
async fn public_keys_are_checked_returned_as_they_came_and_replaced() -> Result<()> {
    let world = World::new().await?;
    let path = "/api/users/me/public-key";
    let own = world.get(&world.dan, path).await?.json();
    assert_eq!(own, json!({"publicKey": world.dan.public_key()}));
    let small = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (row, body) in [
        ("no key", json!({})),
        ("null", json!({"publicKey": null})),
        ("empty", json!({"publicKey": ""})),
        ("hex", json!({"publicKey": hex::encode([9; 32])})),
        ("31 bytes", json!({"publicKey": "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQ=="})),
        ("unpadded", json!({"publicKey": world.dan.public_key().trim_end_matches('=')})),
        ("of small order", json!({"publicKey": small})),
    ] {
        let reply = world.post(&world.dan, path, &body).await?;
        assert_eq!(reply.status.as_u16(), 400, "{row}: {}", reply.text());
    }
    assert_eq!(world.get(&world.dan, path).await?.json(), own, "the old one stays");
    world.post(&world.dan, path, &own).await?;
    world.post(&world.dan, path, &json!({"publicKey": world.eve.public_key()})).await?;
    assert_eq!(world.get(&world.dan, path).await?.member("publicKey"), world.eve.public_key());
    let trail = world.sql(&format!(
        "select count(*) || ' ' || count(distinct metadata ->> 'fingerprint') from lpm.audit_log
          where action = 'public_key' and user_id = '{}'",
        world.dan.id
    ))?;
    assert_eq!(trail, "2 2", "a key that is registered again changes nothing");
    let other = world.stack.account("new", "free").await?;
    let none = world.stack.gateway.get(path, Some(&other)).await?;
    assert_eq!(none.json(), json!({"publicKey": null}));
    Ok(())
}

#[tokio::test]
async fn words_that_stand_where_a_handle_does_are_no_names() -> Result<()> {
    let world = World::new().await?;
    for sql in ["select lpm.create_user('public-keys')", "select lpm.create_org('accept')"] {
        let output = world.stack.database().psql(sql)?;
        assert!(String::from_utf8_lossy(&output.stderr).contains("is reserved"), "{sql}");
    }
    Ok(())
}
