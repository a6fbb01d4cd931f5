//! Invitations by handle.

use crate::world::{Person, World, refused, seen};
use anyhow::Result;
use lpm_tests::gateway::Reply;
use serde_json::{Value, json};

const ORG: &str = "/api/orgs/acme/invitations";
const ACCEPT: &str = "/api/orgs/acme/invitations/accept";

async fn invite(world: &World, who: &Person, handle: &str, role: &str) -> Result<Reply> {
    world.post(who, ORG, &json!({"handle": handle, "role": role})).await
}

#[tokio::test]
async fn whoever_is_invited_sees_it_and_joins() -> Result<()> {
    let world = World::new().await?;
    let invited = invite(&world, &world.alice, "eve", "maintainer").await?;
    assert_eq!(invited.status.as_u16(), 201, "{}", invited.text());
    let expected = json!({"org": "acme", "handle": "eve", "role": "maintainer", "invitedBy": "alice",
                          "expiresAt": invited.member("expiresAt")});
    assert_eq!(invited.json(), expected);
    for (who, path) in [(&world.eve, "/api/invitations"), (&world.olga, ORG)] {
        let list = world.get(who, path).await?;
        assert_eq!(list.json(), json!({"invitations": [expected]}), "{path}");
    }
    assert_eq!(seen(&world.pull(&world.eve).await?), refused(404, "org_unknown"), "invited is not in");
    let joined = world.post(&world.eve, ACCEPT, &json!({})).await?;
    let member = json!({"userId": world.eve.id, "handle": "eve", "role": "maintainer", "hasPublicKey": true});
    assert_eq!((joined.status.as_u16(), joined.json()), (200, member));
    assert_eq!(world.get(&world.eve, "/api/orgs/acme/members").await?.status.as_u16(), 200);
    assert_eq!(
        seen(&world.post(&world.eve, ACCEPT, &json!({})).await?),
        refused(404, "invitation_unknown"),
        "once"
    );
    Ok(())
}

#[tokio::test]
async fn the_answer_does_not_tell_whether_there_is_such_an_account() -> Result<()> {
    let world = World::new().await?;
    let without = |reply: &Reply| {
        let mut body = reply.json();
        body["handle"] = Value::Null;
        body["expiresAt"] = Value::Null;
        (reply.status.as_u16(), body)
    };
    let real = invite(&world, &world.alice, "eve", "developer").await?;
    let unreal = invite(&world, &world.alice, "nobody", "developer").await?;
    assert_eq!(without(&real), without(&unreal));
    for handle in ["eve", "nobody"] {
        let ended = world.delete(&world.alice, &format!("{ORG}/{handle}")).await?;
        assert_eq!((ended.status.as_u16(), ended.json()), (200, json!({"success": true})), "{handle}");
        let again = world.delete(&world.alice, &format!("{ORG}/{handle}")).await?;
        assert_eq!(seen(&again), refused(404, "invitation_unknown"), "{handle}");
    }
    // A handle that gets its account later has its invitation.
    invite(&world, &world.alice, "later", "developer").await?;
    let token = world.stack.account("later", "free").await?;
    let accepted = world.stack.gateway.post(ACCEPT, Some(&token), &json!({})).await?;
    assert_eq!(accepted.status.as_u16(), 200, "{}", accepted.text());
    Ok(())
}

#[tokio::test]
async fn invitations_that_nobody_may_make_are_refused() -> Result<()> {
    let world = World::new().await?;
    let long = "x".repeat(64);
    for (who, handle, role, expected) in [
        (&world.dan, "eve", "developer", refused(403, "org_role")),
        (&world.mia, "eve", "developer", refused(403, "org_role")),
        (&world.alice, "eve", "owner", refused(403, "org_role")),
        (&world.alice, "dan", "developer", refused(409, "already_member")),
        (&world.alice, "alice", "owner", refused(403, "org_role")),
        (&world.alice, "", "developer", refused(400, "bad_request")),
        (&world.alice, "Eve", "developer", refused(400, "bad_request")),
        (&world.alice, "a b", "developer", refused(400, "bad_request")),
        (&world.alice, &long, "developer", refused(400, "bad_request")),
        (&world.alice, "eve", "guest", refused(400, "bad_request")),
        (&world.alice, "eve", "", refused(400, "bad_request")),
        (&world.eve, "eve", "owner", refused(404, "org_unknown")),
    ] {
        let reply = invite(&world, who, handle, role).await?;
        assert_eq!(seen(&reply), expected, "{} {handle} {role}: {}", who.handle, reply.text());
    }
    assert_eq!(world.sql("select count(*) from lpm.org_invitation")?, "0");
    assert_eq!(invite(&world, &world.olga, "eve", "owner").await?.status.as_u16(), 201);
    for who in [&world.dan, &world.mia] {
        assert_eq!(seen(&world.get(who, ORG).await?), refused(403, "org_role"));
        assert_eq!(seen(&world.delete(who, &format!("{ORG}/eve")).await?), refused(403, "org_role"));
    }
    Ok(())
}

#[tokio::test]
async fn an_invitation_ends_by_being_declined_taken_back_replaced_or_old() -> Result<()> {
    let world = World::new().await?;
    let accept = async || world.post(&world.eve, ACCEPT, &json!({})).await;
    let gone = refused(404, "invitation_unknown");
    assert_eq!(seen(&accept().await?), gone, "never made");

    invite(&world, &world.alice, "eve", "admin").await?;
    assert_eq!(world.delete(&world.eve, &format!("{ORG}/eve")).await?.json(), json!({"success": true}));
    assert_eq!(seen(&world.delete(&world.eve, &format!("{ORG}/eve")).await?), gone);
    assert_eq!(seen(&accept().await?), gone, "declined");

    invite(&world, &world.alice, "eve", "admin").await?;
    world.delete(&world.olga, &format!("{ORG}/eve")).await?;
    assert_eq!(seen(&accept().await?), gone, "taken back");

    invite(&world, &world.alice, "eve", "admin").await?;
    world.sql("update lpm.org_invitation set expires_at = clock_timestamp()")?;
    assert_eq!(seen(&accept().await?), gone, "old");
    assert_eq!(world.get(&world.eve, "/api/invitations").await?.json(), json!({"invitations": []}));
    assert_eq!(world.get(&world.olga, ORG).await?.json(), json!({"invitations": []}));
    assert_eq!(seen(&world.delete(&world.olga, &format!("{ORG}/eve")).await?), gone);

    invite(&world, &world.alice, "eve", "admin").await?;
    invite(&world, &world.olga, "eve", "developer").await?;
    assert_eq!(accept().await?.member("role"), "developer", "the last one counts");
    let week = world
        .sql("select count(*) from lpm.audit_log where action = 'invitation_create' and decision = 'done'")?;
    assert_eq!(week, "5");
    Ok(())
}

#[tokio::test]
async fn an_invitation_lasts_seven_days_and_is_swept_away() -> Result<()> {
    let world = World::new().await?;
    invite(&world, &world.alice, "eve", "developer").await?;
    // both come from the clock, one after the other
    let lasts = "select date_trunc('second', expires_at - created_at + interval '0.5 seconds') from lpm.org_invitation";
    assert_eq!(world.sql(lasts)?, "7 days");
    world.sql("update lpm.org_invitation set expires_at = clock_timestamp() - interval '1 second'")?;
    world.sql("select lpm.remove_expired()")?;
    assert_eq!(world.sql("select count(*) from lpm.org_invitation")?, "0");
    Ok(())
}

#[tokio::test]
async fn nobody_leaves_an_invitation_behind_that_they_may_no_longer_make() -> Result<()> {
    let world = World::new().await?;
    let stands = || world.sql("select count(*) from lpm.org_invitation");
    let alice = "/api/orgs/acme/members/alice";
    for (row, end) in [("removed", true), ("demoted", false)] {
        invite(&world, &world.alice, "eve", "admin").await?;
        assert_eq!(stands()?, "1", "{row}");
        if end {
            world.delete(&world.olga, alice).await?;
        } else {
            world.put(&world.olga, alice, &json!({"role": "maintainer"})).await?;
        }
        assert_eq!(stands()?, "0", "{row}");
        assert_eq!(
            seen(&world.post(&world.eve, ACCEPT, &json!({})).await?),
            refused(404, "invitation_unknown")
        );
        world.sql("select lpm.add_member('acme', 'alice', role => 'admin')")?;
    }
    // An owner who becomes an admin keeps those that an admin may make.
    world.sql("select lpm.add_member('acme', 'alice', role => 'owner')")?;
    invite(&world, &world.alice, "one", "owner").await?;
    invite(&world, &world.alice, "two", "admin").await?;
    world.put(&world.olga, alice, &json!({"role": "admin"})).await?;
    assert_eq!(world.sql("select string_agg(handle, ' ') from lpm.org_invitation")?, "two");
    Ok(())
}

#[tokio::test]
async fn an_org_has_a_hundred_open_invitations_at_most() -> Result<()> {
    let world = World::new().await?;
    let fill = "insert into lpm.org_invitation (org_id, handle, role, invited_by)
                select o.id, 'h' || n, 'developer', a.id from lpm.org o, lpm.account a, generate_series(1, 100) n
                 where o.slug = 'acme' and a.handle = 'alice'";
    world.sql(fill)?;
    let reply = invite(&world, &world.alice, "eve", "developer").await?;
    assert_eq!(seen(&reply), refused(409, "too_many_invitations"));
    assert!(reply.member("error").contains("100"), "{}", reply.text());
    assert_eq!(invite(&world, &world.alice, "h7", "admin").await?.status.as_u16(), 201, "one that is there");
    world.sql("update lpm.org_invitation set expires_at = clock_timestamp() where handle = 'h8'")?;
    assert_eq!(
        invite(&world, &world.alice, "eve", "developer").await?.status.as_u16(),
        201,
        "old ones do not count"
    );
    Ok(())
}

#[tokio::test]
async fn whoever_a_dba_adds_needs_no_invitation_any_more() -> Result<()> {
    let world = World::new().await?;
    invite(&world, &world.alice, "eve", "admin").await?;
    world.sql("select lpm.add_member('acme', 'eve')")?;
    assert_eq!(seen(&world.post(&world.eve, ACCEPT, &json!({})).await?), refused(404, "invitation_unknown"));
    assert_eq!(
        world.sql("select m.role from lpm.org_member m join lpm.account a on a.id = m.user_id where a.handle = 'eve'")?,
        "developer"
    );
    Ok(())
}
