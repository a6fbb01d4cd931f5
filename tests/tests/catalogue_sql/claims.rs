//! D10 (and J24, J25 in the extension): bytes that a gateway should never have let through, straight into SQL.

use crate::{NONE, World};
use anyhow::{Context, Result};
use lpm_tests::escrowed::answer;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// Good claims with one member more.
fn with(world: &World, member: &[u8]) -> Vec<u8> {
    let mut claims = world.job().payload();
    claims.pop();
    claims.push(b',');
    claims.extend_from_slice(member);
    claims.push(b'}');
    claims
}

/// A member whose value is what is repeated, closed.
fn nested(open: &str, close: &str, depth: usize) -> Vec<u8> {
    format!(r#""x":{}1{}"#, open.repeat(depth), close.repeat(depth)).into_bytes()
}

impl World {
    /// What `decide` and `exchange` say to these bytes; both must answer, on the same backend.
    async fn decides(&self, claims: &[u8]) -> Result<[(i32, Value); 2]> {
        let (issuer, environment, hash) = (&self.alice.issuer, "production", vec![9_u8; 32]);
        let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
        let decide: [&(dyn ToSql + Sync); 7] =
            [&one, &NONE, issuer, &claims, &self.vault_id, &environment, &None::<Uuid>];
        let exchange: [&(dyn ToSql + Sync); 8] =
            [&two, &NONE, issuer, &claims, &self.vault_id, &environment, &None::<Uuid>, &hash];
        Ok([
            answer(&self.client, "decide", &decide).await?,
            answer(&self.client, "exchange", &exchange).await?,
        ])
    }

    fn traces(&self) -> Result<String> {
        self.value(
            "select concat_ws(' ', (select count(*) from lpm.audit_log where action like 'ci_%'),
                              (select count(*) from lpm.oidc_stranger), (select count(*) from lpm.oidc_token_use))",
        )
    }
}

#[tokio::test]
async fn d10_claims_that_two_parsers_could_read_differently_are_refused_and_nothing_is_written() -> Result<()>
{
    let world = World::new().await?;
    let pid: i32 = world.client.query_one("select pg_backend_pid()", &[]).await?.get(0);
    let digits = |count: usize| "9".repeat(count);
    let member = |text: String| with(&world, text.as_bytes());
    let mut truncated = world.job().payload();
    truncated.pop();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        (
            "repository twice, ours last",
            [br#"{"repository":"evil/x","#, &world.job().repository("acme/web", "42").payload()[1..]]
                .concat(),
        ),
        ("repository twice, ours first", with(&world, br#""repository":"evil/x""#)),
        ("the same value twice", with(&world, br#""repository":"acme/web""#)),
        ("twice by an escape", with(&world, br#""\u0072epository":"evil/x""#)),
        ("iss twice", with(&world, br#""iss":"https://evil.example""#)),
        ("twice, deep inside", with(&world, br#""x":{"y":[{"a":1,"a":1}]}"#)),
        ("in another case", with(&world, br#""Repository":"evil/x""#)),
        ("131,072 digits", member(format!(r#""x":{}"#, digits(131_072)))),
        ("1e400", with(&world, br#""x":1e400"#)),
        ("1e100000", with(&world, br#""x":1e100000"#)),
        ("1e1000000000", with(&world, br#""x":1e1000000000"#)),
        ("exp of 1e100000", with_exp(&world, "1e100000")?),
        ("exp of 131,072 digits", with_exp(&world, &digits(131_072))?),
        ("exp of -0", with_exp(&world, "-0")?),
        ("exp of 1.5", with_exp(&world, "1.5")?),
        ("exp of 2^53 + 1", with_exp(&world, "9007199254740993")?),
        ("exp of 1e9", with_exp(&world, "1e9")?),
        ("exp as text", with_exp(&world, r#""1790000000""#)?),
        ("NaN", with(&world, br#""x":NaN"#)),
        ("Infinity", with(&world, br#""x":-Infinity"#)),
        ("a leading zero", with(&world, br#""x":007"#)),
        ("a hexadecimal number", with(&world, br#""x":0x1F"#)),
        ("depth 9", with(&world, &nested("[", "]", 8))),
        ("depth 100,000 of lists", with(&world, &nested("[", "]", 100_000))),
        ("depth 100,000 of objects", with(&world, &nested(r#"{"a":"#, "}", 100_000))),
        ("4 MB of brackets", vec![b'['; 4 << 20]),
        ("4 MB of braces", br#"{"a":"#.repeat(800_000)),
        ("129 members more", member((0..129).map(|n| format!(r#""x{n}":1"#)).collect::<Vec<_>>().join(","))),
        ("a list of 100,000", member(format!(r#""x":[{}1]"#, "1,".repeat(100_000)))),
        ("a string of 1 MB", member(format!(r#""x":"{}""#, "x".repeat(1 << 20)))),
        ("invalid UTF-8", with(&world, b"\"x\":\"\xff\"")),
        ("a surrogate", with(&world, br#""x":"\ud800""#)),
        ("U+0000", with(&world, br#""x":"\u0000""#)),
        ("a comment", with(&world, br#""x":1/**/"#)),
        ("a comma too many", with(&world, br#""x":1,"#)),
        ("something behind the end", [world.job().payload(), b"{}".to_vec()].concat()),
        ("the end missing", truncated),
        ("a list", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("nothing", Vec::new()),
    ];
    let traces = world.traces()?;
    for (name, claims) in &cases {
        for (status, body) in world.decides(claims).await.with_context(|| format!("D10 {name}"))? {
            assert_eq!(status, 401, "D10 {name}: {body}");
            let code = body["code"].as_str().unwrap_or_default();
            assert!(["token_malformed", "token_claims"].contains(&code), "D10 {name}: {body}");
            assert!(body.to_string().len() < 2048, "D10 {name}: the answer repeats what came");
        }
    }
    assert_eq!(world.traces()?, traces, "D10: nothing is audited, counted or used up");
    let same: i32 = world.client.query_one("select pg_backend_pid()", &[]).await?.get(0);
    assert_eq!(same, pid, "D10: no backend has died");
    // what is not read may be anything that is strict JSON
    let harmless =
        format!(r#""x":[1e308,-0,0.{},12345678901234567890123,null,{{"":[]}}]"#, "9".repeat(131_072));
    let [decided, _] = world.decides(&with(&world, harmless.as_bytes())).await?;
    assert_eq!(decided.0, 200, "D10: and the claims are good, {}", decided.1);
    Ok(())
}

/// Good claims whose `exp` is written like this.
fn with_exp(world: &World, exp: &str) -> Result<Vec<u8>> {
    let claims = String::from_utf8(world.job().payload())?;
    let from = claims.find(r#""exp":"#).context("exp")? + 6;
    let to = from + claims[from..].find([',', '}']).context("its end")?;
    Ok(format!("{}{exp}{}", &claims[..from], &claims[to..]).into_bytes())
}

#[tokio::test]
async fn d10_nulls_where_claims_should_be_are_refused() -> Result<()> {
    let world = World::new().await?;
    let (request, claims) = (Uuid::now_v7(), world.job().payload());
    let issuer = Some(world.alice.issuer.as_str());
    for (name, issuer, claims) in
        [("no claims", issuer, None), ("no issuer", NONE, Some(&claims)), ("neither", NONE, None)]
    {
        let arguments: [&(dyn ToSql + Sync); 7] =
            [&request, &NONE, &issuer, &claims, &world.vault_id, &"production", &None::<Uuid>];
        let (status, body) = answer(&world.client, "decide", &arguments).await?;
        assert_eq!(status, 401, "D10 {name}: {body}");
    }
    assert_eq!(world.traces()?, "0 0 0", "D10");
    Ok(())
}

#[tokio::test]
async fn d10_an_owners_and_a_dbas_documents_are_parsed_as_strictly() -> Result<()> {
    let world = World::new().await?;
    let policy = format!(
        r#"{{"vaultId":"{}","provider":"github","subject":"repo:acme/api","allowedBranches":["main"],"allowedEnvironments":[],"allowForks":false"#,
        world.vault_id
    );
    let count = || world.value("select count(*) from lpm.oidc_policy");
    let deep =
        |open: &str, close: &str| format!(r#""runner":{}{}"#, open.repeat(100_000), close.repeat(100_000));
    for (name, member) in [
        ("a name twice", r#""subject":"repo:evil/x""#.to_owned()),
        ("forks twice", r#""allowForks":true"#.to_owned()),
        ("by an escape", r#""\u0061llowForks":true"#.to_owned()),
        ("in another case", r#""AllowForks":true"#.to_owned()),
        ("depth 100,000", deep("[", "]")),
        ("depth 100,000 of objects", deep(r#"{"a":"#, "}")),
        ("a huge number", format!(r#""runner":{}"#, "9".repeat(131_072))),
        ("1e400", r#""runner":1e400"#.to_owned()),
        ("U+0000", r#""runner":"\u0000""#.to_owned()),
        ("an unknown key", r#""allowedbranches":[]"#.to_owned()),
    ] {
        let body = format!("{policy},{member}}}");
        let arguments: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &world.alice.token, &body];
        let (status, answer) = answer(&world.client, "create_policy", &arguments)
            .await
            .with_context(|| format!("D10 {name}"))?;
        assert_eq!((status, count()?.as_str()), (400, "1"), "D10 {name}: {answer}");
    }
    let explain = async |claims: &[u8]| {
        let arguments: [&(dyn ToSql + Sync); 7] =
            [&Uuid::now_v7(), &NONE, &world.alice.token, &world.vault_id, &NONE, &claims, &"production"];
        answer(&world.client, "explain", &arguments).await
    };
    for (name, claims) in [
        ("a name twice", br#"{"repository":"acme/web","repository":"acme/web"}"#.to_vec()),
        ("depth 100,000", [&br#"{"repository":"acme/web","#[..], &nested("[", "]", 100_000), b"}"].concat()),
        (
            "a huge number",
            format!(r#"{{"repository":"acme/web","exp":{}}}"#, "9".repeat(131_072)).into_bytes(),
        ),
        ("invalid UTF-8", b"{\"repository\":\"\xff\"}".to_vec()),
    ] {
        let (status, body) = explain(&claims).await.with_context(|| format!("D10 {name}"))?;
        assert!((400..500).contains(&status), "D10 explain, {name}: {status} {body}");
    }
    assert_eq!(
        explain(br#"{"repository":"acme/web","event_name":"push","ref":"refs/heads/main"}"#).await?.0,
        200
    );
    let output = world.alice.database.psql(&format!(
        "select count(*) from lpm.explain('{}', repeat('[', 100000), 'production')",
        world.vault_id
    ))?;
    assert!(output.status.success(), "D10 lpm.explain: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
