//! Bearer tokens under attack: what is derived from a token (the stored hash, h, the signature's key) is no token.

use crate::{NONE, World};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lpm_core::bearer::{self, Kind};
use lpm_core::envelope::signature_holds;
use lpm_tests::escrowed::{answer, code};
use lpm_tests::stack::Stack;
use openssl::sha::sha256;
use serde_json::json;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// What an attacker may come to know of a token: from the gateway's traffic, the table, or a signature's key.
fn derived(token: &str) -> [(&'static str, [u8; 32]); 4] {
    let h = bearer::hash(token.as_bytes());
    [
        ("the signature's key", sha256(token.as_bytes())),
        ("h", h),
        ("the stored hash", bearer::stored_hash(&h)),
        ("the hash of the stored hash", sha256(&bearer::stored_hash(&h))),
    ]
}

#[tokio::test]
async fn through_http_nothing_derived_from_a_token_is_accepted_as_one() -> Result<()> {
    let stack = Stack::new().await?;
    let token = stack.seed.alice.clone();
    let alice = stack.escrowed(&token);
    let vault_id = alice.vault(&alice.gateway().await?).await?;
    let stored = stack.database().value("select encode(stored_hash, 'hex') from lpm.access_token")?;
    assert_eq!(stored, hex::encode(derived(&token)[2].1), "the table holds what the attack presents");
    let sync = format!("/api/vaults/{vault_id}/sync");
    let ci_pull = format!("/api/vaults/{vault_id}/ci-pull?env=production");
    let policies = "/api/vault/oidc/policies";
    let trail = "select count(*) from lpm.audit_log";
    let before = stack.database().value(trail)?;
    for (what, bytes) in derived(&token) {
        let made = |kind| bearer::token(kind, &bytes).expose_str().map(str::to_owned).context("ASCII");
        for (form, bearer) in [
            ("hex", hex::encode(bytes)),
            ("HEX", hex::encode_upper(bytes)),
            ("base64", STANDARD.encode(bytes)),
            ("the URL's base64", URL_SAFE_NO_PAD.encode(bytes)),
            ("psql's hex", format!(r"\x{}", hex::encode(bytes))),
            // well-formed, so that the database is asked
            ("a personal token", made(Kind::PersonalAccess)?),
            ("a session", made(Kind::Session)?),
            ("a CI token", made(Kind::Ci)?),
        ] {
            // whose token it is, a well-formed CI token says itself
            let account = if form == "a CI token" { (403, "ci_token_scope") } else { (401, "unauthorized") };
            let policy = json!({"vaultId": vault_id, "provider": "github", "subject": "repo:evil/web"});
            for (route, reply, expected) in [
                ("list", stack.gateway.get("/api/vaults", Some(&bearer)).await?, account),
                ("pull", stack.gateway.get(&sync, Some(&bearer)).await?, account),
                ("allow", stack.gateway.post(policies, Some(&bearer), &policy).await?, account),
                ("ci-pull", stack.gateway.get(&ci_pull, Some(&bearer)).await?, (401, "ci_token_invalid")),
            ] {
                let (status, code) = (reply.status.as_u16(), reply.code());
                assert_eq!((status, code.as_str()), expected, "{what} as {form}: {route}");
                assert_eq!(reply.header("x-lpm-signature"), "", "{what} as {form}: nothing is signed for it");
            }
        }
    }
    assert_eq!(stack.database().value(trail)?, before, "nobody's attempts are nobody's trail");
    let reply = stack.gateway.get(&sync, Some(&token)).await?;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    assert!(signature_holds(token.as_bytes(), &reply.bytes, &reply.header("x-lpm-signature")));
    let h = hex::encode(derived(&token)[1].1);
    assert!(
        !signature_holds(h.as_bytes(), &reply.bytes, &reply.header("x-lpm-signature")),
        "and what SQL sees signs nothing"
    );
    Ok(())
}

/// Every function of `lpm_api` that takes a token's hash, as a call with `$1` for the hash and nulls for the rest.
fn calls(world: &World) -> Result<Vec<(String, String)>> {
    let rows = world.value(
        "select string_agg(format('%s|select (r).status, (r).body from (select lpm_api.%s(%s) r offset 0) s', p.proname, p.proname,
                   (select string_agg(format('%I => %s', n, case n when 'token_hash' then '$1' else 'null::' || t::regtype end), ', ' order by i)
                      from unnest(p.proargnames, p.proargtypes::oid[]) with ordinality a(n, t, i))), E'\\n')
           from pg_proc p where p.pronamespace = 'lpm_api'::regnamespace and 'token_hash' = any (p.proargnames)",
    )?;
    rows.lines()
        .map(|line| {
            line.split_once('|').map(|(name, call)| (name.to_owned(), call.to_owned())).context("a call")
        })
        .collect()
}

#[tokio::test]
async fn in_sql_every_function_that_takes_a_hash_refuses_what_is_derived_from_it() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    let token = world.value("select lpm.create_token('alice')")?;
    // a CI token as well: the same hashes, another table
    let ci = bearer::token(Kind::Ci, &[5; 32]);
    let ci = ci.expose_str().context("ASCII")?;
    let met = world.job().exchange(&world.client, &vault_id, &bearer::hash(ci.as_bytes())).await?;
    assert_eq!(met.status, 200, "{}", met.body);
    let calls = calls(&world)?;
    assert!(calls.len() >= 12 && calls.iter().any(|(name, _)| name == "push"), "{calls:?}");
    let before = world.value("select count(*) from lpm.audit_log")?;
    for (name, sql) in &calls {
        for (of, token) in [("a person's", token.as_str()), ("a job's", ci)] {
            for (what, bytes) in derived(token) {
                let own = (what == "h") && (of == "a job's") == (name == "decide_ci");
                let texts =
                    [bytes.to_vec(), hex::encode(bytes).into_bytes(), token.as_bytes().to_vec(), Vec::new()];
                for hash in texts.iter().skip(usize::from(own)) {
                    let row = world.client.query_one(sql, &[hash]).await.context(name.clone())?;
                    let refusal = if name == "decide_ci" { "ci_token_invalid" } else { "unauthorized" };
                    let body: serde_json::Value = serde_json::from_str(row.get(1))?;
                    let seen = (row.get::<_, i32>(0), body["code"].as_str().unwrap_or_default());
                    assert_eq!(seen, (401, refusal), "{name}: {of} {what}");
                }
            }
        }
    }
    assert_eq!(world.value("select count(*) from lpm.audit_log")?, before);
    let h = bearer::hash(token.as_bytes()).to_vec();
    let pull: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &h, &vault_id];
    assert_eq!(code(answer(&world.client, "pull", &pull).await?), (200, String::new()));
    let h = bearer::hash(ci.as_bytes()).to_vec();
    let pull: [&(dyn ToSql + Sync); 5] = [&Uuid::now_v7(), &NONE, &h, &vault_id, &"production"];
    assert_eq!(code(answer(&world.client, "decide_ci", &pull).await?), (200, String::new()));
    world.serves(world.job(), &vault_id).await
}
