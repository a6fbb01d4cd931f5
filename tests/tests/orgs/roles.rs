//! What each role may do.

use crate::world::{Person, VAULT, World, refused, seen};
use anyhow::Result;
use serde_json::{Value, json};

#[tokio::test]
async fn nobody_acts_above_their_own_role() -> Result<()> {
    let world = World::new().await?;
    let World { olga, alice, mia, dan, .. } = &world;
    let set = async |who: &Person, handle: &str, role: &str| {
        world.put(who, &format!("/api/orgs/acme/members/{handle}"), &json!({"role": role})).await
    };
    for (who, handle, role) in [
        (dan, "dan", "admin"),
        (dan, "mia", "developer"),
        (mia, "dan", "maintainer"),
        (alice, "alice", "owner"),
        (alice, "dan", "owner"),
        (alice, "olga", "developer"),
        (alice, "olga", "owner"),
    ] {
        let reply = set(who, handle, role).await?;
        assert_eq!(seen(&reply), refused(403, "org_role"), "{} {handle} {role}", who.handle);
    }
    let said = set(dan, "mia", "developer").await?.member("error");
    assert_eq!(said, "as developer of `acme` you cannot change roles");
    for (handle, role, expected) in [
        ("dan", "root", refused(400, "bad_request")),
        ("dan", "", refused(400, "bad_request")),
        ("dan", "Owner", refused(400, "bad_request")),
        ("eve", "developer", refused(404, "member_unknown")),
        ("nobody", "developer", refused(404, "member_unknown")),
        ("olga", "admin", refused(409, "last_owner")),
    ] {
        assert_eq!(seen(&set(olga, handle, role).await?), expected, "{handle} {role}");
    }
    let roles = "select string_agg(a.handle || ' ' || m.role, ', ' order by a.handle) from lpm.org_member m join lpm.account a on a.id = m.user_id";
    assert_eq!(world.sql(roles)?, "alice admin, dan developer, mia maintainer, olga owner");

    let promoted = set(alice, "dan", "admin").await?;
    let expected = json!({"userId": dan.id, "handle": "dan", "role": "admin", "hasPublicKey": true});
    assert_eq!((promoted.status.as_u16(), promoted.json()), (200, expected));
    assert_eq!(set(dan, "alice", "maintainer").await?.status.as_u16(), 200, "from that moment");
    assert_eq!(seen(&set(alice, "dan", "developer").await?), refused(403, "org_role"));
    assert_eq!(set(olga, "dan", "owner").await?.status.as_u16(), 200);
    assert_eq!(set(dan, "olga", "developer").await?.status.as_u16(), 200, "owners unmake owners");
    Ok(())
}

#[tokio::test]
async fn only_leaders_remove_members_and_only_owners_remove_owners() -> Result<()> {
    let world = World::new().await?;
    let remove = async |who: &Person, handle: &str| {
        world.delete(who, &format!("/api/orgs/acme/members/{handle}")).await
    };
    for (who, handle, expected) in [
        (&world.dan, "mia", refused(403, "org_role")),
        (&world.mia, "dan", refused(403, "org_role")),
        (&world.mia, "nobody", refused(403, "org_role")),
        (&world.alice, "olga", refused(403, "org_role")),
        (&world.alice, "eve", refused(404, "member_unknown")),
    ] {
        assert_eq!(seen(&remove(who, handle).await?), expected, "{} {handle}", who.handle);
    }
    assert_eq!(world.sql("select count(*) from lpm.org_member")?, "4");
    assert_eq!(remove(&world.olga, "alice").await?.status.as_u16(), 200);
    Ok(())
}

#[tokio::test]
async fn who_may_share_is_the_orgs_to_say() -> Result<()> {
    let world = World::new().await?;
    let all = world.members();
    let settings = "/api/orgs/acme/settings";
    for (who, body, expected) in [
        (&world.dan, json!({"mayShare": "developer"}), refused(403, "org_role")),
        (&world.mia, json!({"mayShare": "owner"}), refused(403, "org_role")),
        (&world.alice, json!({"mayShare": "everybody"}), refused(400, "bad_request")),
        (&world.alice, json!({"mayShare": null}), refused(400, "bad_request")),
        (&world.alice, json!({}), refused(400, "bad_request")),
    ] {
        assert_eq!(seen(&world.put(who, settings, &body).await?), expected, "{} {body}", who.handle);
    }
    let rank = |person: &Person| all.iter().position(|member| member.handle == person.handle);
    for (lowest, role) in ["owner", "admin", "maintainer", "developer"].into_iter().enumerate() {
        if lowest % 2 == 0 {
            let set = world.put(&world.alice, settings, &json!({"mayShare": role})).await?;
            assert_eq!((set.status.as_u16(), set.json()), (200, json!({"mayShare": role})));
        } else {
            world.sql(&format!("select lpm.set_sharing('acme', '{role}')"))?;
        }
        for who in all {
            let reply = world.share(who, &all, json!({"force": true})).await?;
            if rank(who) <= Some(lowest) {
                assert!(reply.status.is_success(), "{role}: {} {}", who.handle, reply.text());
            } else {
                assert_eq!(seen(&reply), refused(403, "org_role"), "{role}: {}", who.handle);
                assert!(reply.member("error").ends_with("of `acme` you cannot share its vaults"));
            }
            assert_eq!(world.pull(who).await?.status.as_u16(), 200, "everybody reads");
        }
    }
    let output = world.stack.database().psql("select lpm.set_sharing('acme', 'all')")?;
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no role"));
    Ok(())
}

#[tokio::test]
async fn a_token_with_less_scope_does_less() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    let token = |scope: &str| world.sql(&format!("select lpm.create_token('olga', scope => '{scope}')"));
    let reader = Person { token: token("read")?, ..world.olga.clone() };
    let nobody = Person { token: token("none")?, ..world.olga.clone() };
    let vault = format!("/api/orgs/acme/vaults/{VAULT}");
    let reads = [
        vault.as_str(),
        "/api/users/me/public-key",
        "/api/orgs/acme/members/public-keys",
        "/api/orgs/acme/vaults",
        "/api/orgs/acme/members",
        "/api/orgs/acme/invitations",
        "/api/invitations",
    ];
    for path in reads {
        assert_eq!(world.get(&reader, path).await?.status.as_u16(), 200, "{path}");
        assert_eq!(seen(&world.get(&nobody, path).await?), refused(403, "token_scope"), "{path}");
    }
    let key = json!({"publicKey": world.olga.public_key()});
    let share = world.share_of(&world.members())?;
    let invitation = json!({"handle": "new", "role": "developer"});
    for who in [&reader, &nobody] {
        let writes: [(&str, &str, &Value); 8] = [
            ("POST", "/api/users/me/public-key", &key),
            ("POST", &vault, &share),
            ("PUT", "/api/orgs/acme/members/dan", &json!({"role": "admin"})),
            ("DELETE", "/api/orgs/acme/members/dan", &Value::Null),
            ("PUT", "/api/orgs/acme/settings", &json!({"mayShare": "owner"})),
            ("POST", "/api/orgs/acme/invitations", &invitation),
            ("DELETE", "/api/orgs/acme/invitations/new", &Value::Null),
            ("POST", "/api/orgs/acme/invitations/accept", &json!({})),
        ];
        for (method, path, body) in writes {
            let reply = match method {
                "PUT" => world.put(who, path, body).await?,
                "DELETE" => world.delete(who, path).await?,
                _ => world.post(who, path, body).await?,
            };
            assert_eq!(seen(&reply), refused(403, "token_scope"), "{method} {path}");
        }
    }
    Ok(())
}
