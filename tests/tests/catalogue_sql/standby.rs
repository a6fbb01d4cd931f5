//! D9: a server that only follows answers nothing that a primary should have decided.

use crate::{NONE, World};
use anyhow::{Result, ensure};
use lpm_tests::cluster;
use lpm_tests::escrowed::{Escrowed, answer, code};
use lpm_tests::gateway;
use lpm_tests::job::Job;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

#[tokio::test]
async fn d9_a_hot_standby_refuses_every_request_and_opens_no_grant_of_the_primary() -> Result<()> {
    let (primary, alice) = Escrowed::alone(cluster::Options::default()).await?;
    let world = World::of(alice).await?;
    let hash = vec![9_u8; 32];
    assert_eq!(world.job().exchange(&world.client, &world.vault_id, &hash).await?.status, 200);
    let standby = primary.standby("follower")?;
    let granted = world.job().decide(&world.client, &world.vault_id).await?;
    assert_eq!(granted.status, 200);
    let replica = standby.database(world.alice.database.name());
    let there = format!("select count(*) from lpm.audit_log where request_id = '{}'", granted.request);
    let deadline = Instant::now() + Duration::from_secs(30);
    while replica.value(&there)? != "1" {
        ensure!(Instant::now() < deadline, "the grant does not reach the standby");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(replica.value("select pg_is_in_recovery()")?, "t");

    let client = replica.connect_as(&world.alice.login).await?;
    let (claims, issuer, id, token) =
        (world.job().payload(), &world.alice.issuer, Uuid::now_v7(), &world.alice.token);
    let (none, vault, production) = (None::<Uuid>, &world.vault_id, "production");
    let policy = json!({"vaultId": vault, "provider": "github", "subject": "repo:a/b", "allowedBranches": [], "allowedEnvironments": []}).to_string();
    let blob = "AAAA:AAAA";
    let codes = vec!["ABC234".to_owned()];
    let (recipients, wrapped_keys) = (vec![id], vec![blob]);
    let calls: [(&str, Vec<&(dyn ToSql + Sync)>); 48] = [
        ("open", vec![&granted.request]),
        ("decide", vec![&id, &NONE, issuer, &claims, vault, &production, &none]),
        ("exchange", vec![&id, &NONE, issuer, &claims, vault, &production, &none, &hash]),
        ("decide_ci", vec![&id, &NONE, &hash, vault, &production]),
        ("push", vec![&id, &NONE, token, vault, &blob, &blob, &None::<i32>, &true, &NONE, &NONE]),
        ("pull", vec![&id, &NONE, token, vault]),
        ("list_vaults", vec![&id, &NONE, token]),
        ("audit", vec![&id, &NONE, token, vault, &NONE]),
        ("check_account", vec![token, &"all"]),
        ("create_policy", vec![&id, &NONE, token, &policy]),
        ("list_policies", vec![&id, &NONE, token, vault]),
        ("revoke_policy", vec![&id, &NONE, token, vault]),
        ("repin", vec![&id, &NONE, token, vault, &"repo:acme/web"]),
        ("escrow_key", vec![&id, &NONE, token]),
        ("put_escrow", vec![&id, &NONE, token, vault, &"s1.x"]),
        ("disable_escrow", vec![&id, &NONE, token, vault]),
        ("list_versions", vec![&id, &NONE, token, vault]),
        ("restore_version", vec![&id, &NONE, token, vault, &1, &None::<i32>]),
        ("explain", vec![&id, &NONE, token, vault, issuer, &claims, &production]),
        ("begin_login", vec![&id, &NONE, token, &hash, &"device", &NONE]),
        ("exchange_code", vec![&id, &NONE, &hash, &hash, &hash]),
        ("refresh_session", vec![&id, &NONE, &hash, &hash, &hash]),
        ("list_sessions", vec![&id, &NONE, token]),
        ("end_session", vec![&id, &NONE, token, &"x"]),
        ("whoami", vec![&id, &NONE, token]),
        ("rotate_token", vec![&id, &NONE, token, &hash]),
        ("revoke_token", vec![&id, &NONE, token, &hash]),
        ("start_pairing", vec![&id, &NONE, token, &codes, &"key", &NONE]),
        ("show_pairing", vec![&id, &NONE, token, &codes[0]]),
        ("approve_pairing", vec![&id, &NONE, token, &codes[0], &"sealed", &"key"]),
        ("consume_pairing", vec![&id, &NONE, token, &codes[0]]),
        ("revoke_pairings", vec![&id, &NONE, token]),
        ("ready", vec![]),
        ("public_key", vec![&id, &NONE, token]),
        ("put_public_key", vec![&id, &NONE, token, &"key"]),
        ("member_keys", vec![&id, &NONE, token, &"acme"]),
        (
            "share",
            vec![
                &id,
                &NONE,
                token,
                &"acme",
                vault,
                &blob,
                &recipients,
                &wrapped_keys,
                &None::<i32>,
                &true,
                &NONE,
                &NONE,
                &NONE,
                &NONE,
                &NONE,
            ],
        ),
        ("org_pull", vec![&id, &NONE, token, &"acme", vault]),
        ("list_org_vaults", vec![&id, &NONE, token, &"acme"]),
        ("members", vec![&id, &NONE, token, &"acme"]),
        ("set_role", vec![&id, &NONE, token, &"acme", &"alice", &"owner"]),
        ("remove_member", vec![&id, &NONE, token, &"acme", &"alice", &true]),
        ("org_settings", vec![&id, &NONE, token, &"acme", &"owner"]),
        ("invite", vec![&id, &NONE, token, &"acme", &"eve", &"admin"]),
        ("org_invitations", vec![&id, &NONE, token, &"acme"]),
        ("own_invitations", vec![&id, &NONE, token]),
        ("accept_invitation", vec![&id, &NONE, token, &"acme"]),
        ("end_invitation", vec![&id, &NONE, token, &"acme", &"alice"]),
    ];
    let refused = (503, "read_only".to_owned());
    for (function, arguments) in &calls {
        let answered = answer(&client, function, arguments).await?;
        assert_eq!(answered.1.get("vars"), None, "D9 {function}");
        assert_eq!(code(answered), refused, "D9 {function}");
    }
    let listed = world.value("select string_agg(p.proname, ' ' order by p.proname) from pg_proc p where p.pronamespace = 'lpm_api'::regnamespace and p.proname <> 'issuers'")?;
    let mut tried = calls.map(|(function, _)| function);
    tried.sort_unstable();
    assert_eq!(listed, tried.join(" "), "D9: every function is tried");

    // a gateway that was pointed at the wrong server
    let logs = tempfile::tempdir()?;
    let gateway =
        gateway::Options::new(replica.url_as(&world.alice.login)).start(&logs.path().join("gateway.log"))?;
    let path = format!("/api/vaults/{vault}/ci-pull?env=production");
    let ci_token = lpm_core::bearer::token(lpm_core::bearer::Kind::Ci, &[1; 32]);
    for reply in [gateway.get(&path, ci_token.expose_str()).await?, gateway.get("/readyz", None).await?] {
        assert_eq!(
            (reply.status.as_u16(), reply.code().as_str()),
            (503, "read_only"),
            "D9: {}",
            reply.text()
        );
    }

    // the primary opens it, once, and after a failover nobody remembers whether it did
    assert_eq!(answer(&world.client, "open", &[&granted.request]).await?.0, 200);
    primary.stop("immediate")?;
    standby.promote()?;
    let client = replica.connect_as(&world.alice.login).await?;
    assert_eq!(
        code(answer(&client, "open", &[&granted.request]).await?),
        (403, "not_openable".to_owned()),
        "D9: after a failover"
    );
    let fresh = Job::of(issuer).pull(&client, vault).await?;
    assert_eq!(fresh.status, 200, "D9: {}", fresh.body);
    Ok(())
}
