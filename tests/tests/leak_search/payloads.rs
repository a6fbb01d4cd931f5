//! Decrypted vaults of every wrong form, with secrets in their names and values, and the largest that is right.

use crate::client::{Vault, job};
use crate::world::World;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lpm_core::envelope::aead::{IV, TAG};
use lpm_core::envelope::vault::MAX_BLOB;
use lpm_tests::escrowed::{answer, call};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// Payloads and the answer to a pull of `production`; `NAME` and `VALUE` stand for secrets.
const PAYLOADS: [(&str, &[u8], u16); 32] = [
    ("a good one", br#"{"environments":{"production":{"NAME":"VALUE"}}}"#, 200),
    ("with escapes", br#"{"environments":{"production":{"\u0041NAME":"\u0000VALUE\n\ud83d\ude00"}}}"#, 200),
    ("a list as a value", br#"{"environments":{"production":{"NAME":["VALUE"]}}}"#, 422),
    ("an object as a value", br#"{"environments":{"production":{"NAME":{"VALUE":"VALUE"}}}}"#, 422),
    ("a number beside a value", br#"{"environments":{"production":{"A":"VALUE","NAME":1}}}"#, 422),
    ("null beside a value", br#"{"environments":{"production":{"A":"VALUE","NAME":null}}}"#, 422),
    ("an escaped name of a number", br#"{"environments":{"production":{"A":"VALUE","\u0041NAME":1}}}"#, 422),
    ("a list as an environment", br#"{"environments":{"production":["VALUE","NAME"]}}"#, 422),
    ("a text as an environment", br#"{"environments":{"production":"VALUE NAME"}}"#, 422),
    ("a list of environments", br#"{"environments":["VALUE",{"NAME":1}]}"#, 422),
    ("a variable called environments", br#"{"environments":"VALUE","NAME":"VALUE"}"#, 404),
    ("an older client's", br#"{"NAME":"VALUE"}"#, 404),
    ("both shapes", br#"{"NAME":"VALUE","environments":{"production":{"NAME":"VALUE"}}}"#, 422),
    (
        "a wrong environment that was not asked for",
        br#"{"environments":{"NAME":["VALUE"],"production":{"A":"VALUE"}}}"#,
        200,
    ),
    ("an environment of a secret name", br#"{"environments":{"NAME":{"A":"VALUE"}}}"#, 404),
    ("a name twice", br#"{"environments":{"production":{"NAME":"VALUE","NAME":"VALUE"}}}"#, 422),
    ("an environment twice", br#"{"environments":{"NAME":{},"production":{"A":"VALUE"},"NAME":{}}}"#, 422),
    ("environments twice", br#"{"environments":{"production":{"NAME":"VALUE"}},"environments":{}}"#, 422),
    ("half a surrogate pair", br#"{"environments":{"production":{"NAME":"VALUE\ud800"}}}"#, 422),
    ("an escape that is none", br#"{"environments":{"production":{"NAME":"VALUE\x"}}}"#, 422),
    ("a line break", b"{\"environments\":{\"production\":{\"NAME\":\"VALUE\n\"}}}", 422),
    ("no UTF-8", b"{\"environments\":{\"production\":{\"NAME\":\"VALUE\xFF\"}}}", 422),
    ("a byte order mark", b"\xEF\xBB\xBF{\"environments\":{\"production\":{\"NAME\":\"VALUE\"}}}", 422),
    ("cut in a value", br#"{"environments":{"production":{"NAME":"VALUE"#, 422),
    ("cut in a name", br#"{"environments":{"production":{"A":"VALUE","NAME"#, 422),
    ("cut before the end", br#"{"environments":{"production":{"NAME":"VALUE"}}"#, 422),
    ("more behind the end", br#"{"environments":{"production":{"A":"VALUE"}}} NAME"#, 422),
    ("a text alone", br#""VALUE NAME""#, 422),
    ("a list alone", br#"["VALUE","NAME"]"#, 422),
    ("no JSON", b"NAME=VALUE", 422),
    ("single quotes", br#"{'environments':{'production':{'NAME':'VALUE'}}}"#, 422),
    ("a comma too many", br#"{"environments":{"production":{"NAME":"VALUE",}}}"#, 422),
];

/// Deeper than the parser goes.
const DEPTH: usize = 300;

/// Pushes every payload, pulls it, and pulls it in two steps.
pub(crate) async fn play(world: &mut World, round: usize) -> Result<()> {
    let vault = Vault::opened(world, &format!("payloads-{round}"), "paula", b"{}").await?;
    let deep =
        [b"{\"environments\":{\"production\":{\"NAME\":".to_vec(), b"[".repeat(DEPTH), b"\"VALUE\"".to_vec()];
    let deep = [deep.concat(), b"]".repeat(DEPTH), b"}}}".to_vec()].concat();
    for (case, template, status) in PAYLOADS.into_iter().chain([("too deep", &deep[..], 422)]) {
        let name = world.markers.secret(format!("name in {case}"));
        let value = world.markers.secret(format!("value in {case}"));
        let payload = replaced(&replaced(template, b"NAME", name.as_bytes()), b"VALUE", value.as_bytes());
        vault.push(world, &payload).await?;

        let jwt = world.mint(case, &job())?;
        let pulled = vault.one_step(world, &jwt, "production").await?;
        let jwt = world.mint(case, &job())?;
        let exchanged = vault.exchange(world, &jwt, "production").await?;
        let again = vault.ci_pull(world, &exchanged.member("token"), "production").await?;
        for reply in [pulled, again] {
            ensure!(reply.status.as_u16() == status, "{case}: {}", reply.text());
            let shown = reply.text().contains(&value);
            ensure!(
                shown == (status == 200),
                "{case}: a refusal names a path, never a value: {}",
                reply.text()
            );
        }
    }
    Ok(())
}

/// Pushes the largest vault that there can be.
pub(crate) async fn push_the_largest(world: &mut World, vault: &Vault) -> Result<()> {
    let (head, foot) = (r#"{"environments":{"production":{"LARGE":""#, r#""}}}"#);
    let value = world.markers.secret("value of 10 MiB");
    let room = MAX_BLOB - IV - TAG - head.len() - foot.len();
    let mut values = format!("{value} ").repeat(room / value.len());
    values.truncate(room);
    vault.push(world, format!("{head}{values}{foot}").as_bytes()).await?;
    pull_the_largest(world, vault).await
}

/// Pulls it: whatever spills to disk, does so with this.
pub(crate) async fn pull_the_largest(world: &mut World, vault: &Vault) -> Result<()> {
    let jwt = world.mint("for 10 MiB", &job())?;
    let pulled = vault.one_step(world, &jwt, "production").await?;
    let length = pulled.bytes.len();
    ensure!(
        pulled.status.as_u16() == 200 && length > MAX_BLOB - 100,
        "{} with {length} bytes",
        pulled.status
    );
    cancelled(world, vault).await
}

/// An answer of 10 MiB that is cancelled while it is made: an error with everything in memory.
async fn cancelled(world: &mut World, vault: &Vault) -> Result<()> {
    let client = world.seed.database.connect_as(&world.seed.gateway_login).await?;
    let open = client.prepare(&call("open", 1)).await?;
    for milliseconds in (0..12).map(|n| 1 << n) {
        let request = decided(world, vault, &client).await?;
        client.batch_execute(&format!("set statement_timeout = {milliseconds}")).await?;
        let opened = client.query_one(&open, &[&request]).await;
        client.batch_execute("set statement_timeout = 0").await?;
        let code = opened.err().and_then(|error| error.code().cloned());
        ensure!(code == Some(SqlState::QUERY_CANCELED), "not cancelled within {milliseconds} ms: {code:?}");
        // one that was cancelled before it began can still be opened
        if answer(&client, "open", &[&request]).await?.0 == 403 {
            return Ok(());
        }
    }
    bail!("every statement was cancelled before it began")
}

/// A granted request that has not been opened.
async fn decided(world: &mut World, vault: &Vault, client: &Client) -> Result<Uuid> {
    let jwt = world.mint("for an answer that is cancelled", &job())?;
    let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).context("a token has three parts")?)?;
    let (request, none, owner) = (Uuid::now_v7(), None::<&str>, None::<Uuid>);
    let arguments: [&(dyn ToSql + Sync); 7] =
        [&request, &none, &world.issuer.url(), &claims, &vault.id, &"production", &owner];
    let (status, body) = answer(client, "decide", &arguments).await?;
    ensure!(status == 200, "decide: {status} {body}");
    Ok(request)
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}
