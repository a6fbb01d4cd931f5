//! J1 to J6: how a token is signed, and what its header may say. The rows about its contents are in `trust`.

use crate::trust::{j18_audiences, j19_issuers, j22_tokens_of_people, j23_j24_sizes};
use crate::world::{Canary, Locked, PULL, World, job};
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lpm_tests::issuer::{Algorithm, Endpoint, Provider, SignWith};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};

/// Name, token, code.
pub(crate) type Case = (String, String, &'static str);

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<&str> = token.split('.').collect();
    parts.try_into().expect("a token has three parts")
}

fn j1_no_signature(world: &World) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", "", "RS256 "] {
        let token = world.issuer.mint(&job().header("alg", alg))?;
        let [header, payload, signature] = parts(&token);
        cases.push((format!("J1 alg `{alg}` over a good signature"), token.clone(), "token_algorithm"));
        cases.push((
            format!("J1 alg `{alg}`, empty signature"),
            format!("{header}.{payload}."),
            "token_malformed",
        ));
        cases.push((format!("J1 alg `{alg}`, two parts"), format!("{header}.{payload}"), "token_malformed"));
        let junk = format!("{header}.{payload}.{}", &signature[..signature.len() - 4]);
        cases.push((format!("J1 alg `{alg}`, short signature"), junk, "token_algorithm"));
    }
    let token = world.issuer.mint(&job())?;
    let [header, payload, _] = parts(&token);
    for (name, token, code) in [
        ("J1 RS256 without signature", format!("{header}.{payload}."), "token_malformed"),
        ("J1 RS256 with two parts", format!("{header}.{payload}"), "token_malformed"),
        ("J1 one part", header.to_owned(), "token_malformed"),
        ("J1 nothing", String::new(), "token_malformed"),
        ("J1 a signature of nothing", format!("{header}.{payload}.AAAA"), "token_signature"),
    ] {
        cases.push((name.to_owned(), token, code));
    }
    Ok(cases)
}

fn j2_other_algorithms(world: &World) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for algorithm in
        [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::ES256, Algorithm::HS256]
    {
        cases.push((
            format!("J2 {algorithm:?}"),
            world.issuer.mint(&job().algorithm(algorithm))?,
            "token_algorithm",
        ));
        let disguised = world.issuer.mint(&job().algorithm(algorithm).header("alg", "RS256"))?;
        cases.push((format!("J2 {algorithm:?} that says RS256"), disguised, "token_signature"));
    }
    for (name, key) in [("PEM", SignWith::PublicPem), ("DER", SignWith::PublicDer)] {
        cases.push((
            format!("J2 HS256 with the public {name}"),
            world.issuer.mint(&job().key(key))?,
            "token_algorithm",
        ));
        let disguised = world.issuer.mint(&job().key(key).header("alg", "RS256"))?;
        cases.push((format!("J2 HMAC with the public {name} that says RS256"), disguised, "token_signature"));
    }
    // the modulus, as the JWK spells it and as bytes
    let jwk = world.issuer.jwks(Provider::GitHub)["keys"][0].clone();
    let modulus = jwk["n"].as_str().context("n")?;
    for (name, secret) in [
        ("modulus as text", modulus.as_bytes().to_vec()),
        ("modulus", BASE64_URL_SAFE_NO_PAD.decode(modulus)?),
        ("JWK", jwk.to_string().into_bytes()),
    ] {
        let token = world.issuer.mint(&job().header("alg", "HS256"))?;
        let [header, payload, _] = parts(&token);
        let message = format!("{header}.{payload}");
        let secret = PKey::hmac(&secret)?;
        let mac = Signer::new(MessageDigest::sha256(), &secret)?.sign_oneshot_to_vec(message.as_bytes())?;
        cases.push((
            format!("J2 HS256 with the {name}"),
            format!("{message}.{}", encode(&mac)),
            "token_algorithm",
        ));
    }
    Ok(cases)
}

fn j3_j4_key_ids(world: &World) -> Result<Vec<Case>> {
    let kid = world.issuer.jwks(Provider::GitHub)["keys"][0]["kid"].as_str().context("kid")?.to_owned();
    let of_another_issuer = world.issuer.jwks(Provider::GitLab)["keys"][0]["kid"].clone();
    let mut cases = Vec::new();
    for (name, value, code) in [
        ("a path", json!("../../dev/null"), "token_key"),
        ("SQL", json!("' OR 1=1--"), "token_key"),
        ("a URL", json!("http://169.254.169.254/keys"), "token_key"),
        ("a kid of another issuer", of_another_issuer, "token_key"),
        ("a look-alike", json!(kid.replacen(|c: char| c.is_ascii_alphabetic(), "\u{430}", 1)), "token_key"),
        ("another case", json!(kid.to_uppercase()), "token_key"),
        ("white space", json!(format!("{kid} ")), "token_key"),
        ("256 bytes", json!("k".repeat(256)), "token_key"),
        ("257 bytes", json!("k".repeat(257)), "token_header"),
        ("NUL", json!(format!("{kid}\0")), "token_header"),
    ] {
        cases.push((format!("J3 {name}"), world.issuer.mint(&job().header("kid", value))?, code));
    }
    for (name, request) in [
        ("no kid", job().without_header("kid")),
        ("an empty kid", job().header("kid", "")),
        ("a kid of null", job().header("kid", Value::Null)),
        ("a number as kid", job().header("kid", 1)),
        ("a list of kids", job().header("kid", json!([kid]))),
    ] {
        cases.push((format!("J4 {name}"), world.issuer.mint(&request)?, "token_header"));
    }
    Ok(cases)
}

/// Signed by the attacker's key and, in case the header is believed afterwards, by the issuer's own.
fn j5_j6_headers(world: &World, canary: &str) -> Result<Vec<Case>> {
    let own = &world.issuer.jwks(Provider::GitHub)["keys"][0];
    let mut cases = Vec::new();
    for (row, name, value) in [
        ("J5", "jku", json!(format!("{canary}/jwks"))),
        ("J5", "x5u", json!(format!("{canary}/chain.pem"))),
        ("J5", "jwk", own.clone()),
        ("J5", "x5c", json!(["MIIB"])),
        ("J5", "x5t#S256", json!("AAAA")),
        ("J6", "crit", json!(["exp"])),
        ("J6", "b64", json!(false)),
        ("J6", "zip", json!("DEF")),
        ("J6", "cty", json!("JWT")),
        ("J6", "enc", json!("A256GCM")),
        ("J6", "iss", json!("x")),
        ("J6", "typ", json!("at+jwt")),
    ] {
        for key in [SignWith::Stranger, SignWith::Current] {
            let token = world.issuer.mint(&job().key(key).header(name, value.clone()))?;
            cases.push((format!("{row} {name}, signed by {key:?}"), token, "token_header"));
        }
    }
    let token = world.issuer.mint(&job())?;
    let [header, payload, signature] = parts(&token);
    let serialised =
        json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]});
    let flattened = json!({"payload": payload, "protected": header, "signature": signature});
    for (name, token) in [
        ("an encrypted token", format!("{header}.{payload}.{signature}.{payload}.{signature}")),
        ("two signatures", format!("{token}.{signature}")),
        ("JSON serialisation", serialised.to_string()),
        ("flattened JSON serialisation", flattened.to_string()),
        ("a token in a token", encode(token.as_bytes())),
    ] {
        cases.push((format!("J6 {name}"), token, "token_malformed"));
    }
    Ok(cases)
}

#[tokio::test]
async fn j1_to_j6_j18_j19_j22_to_j24_are_refused_before_anything_is_read_or_written() -> Result<()> {
    let (world, canary) = (World::new().await?, Canary::new()?);
    let cases = [
        j1_no_signature(&world)?,
        j2_other_algorithms(&world)?,
        j3_j4_key_ids(&world)?,
        j5_j6_headers(&world, &canary.url()?)?,
        j18_audiences(&world)?,
        j19_issuers(&world)?,
        j22_tokens_of_people(&world)?,
        j23_j24_sizes(&world)?,
    ];
    let locked = Locked::new(world.stack.database()).await?;
    for (name, token, code) in cases.iter().flatten() {
        world.refuses(name, token, 401, code).await?;
    }
    // beyond what a token may ever be, the body is not read to its end
    for (name, size) in
        [("J23 1 MB", 1 << 20), ("J24 100,000 brackets", 100_000), ("J3 a kid of 1 MB", 1 << 20)]
    {
        let token = match name {
            "J3 a kid of 1 MB" => world.issuer.mint(&job().header("kid", "k".repeat(size)))?,
            _ => world.issuer.mint(&job().payload("[".repeat(size)))?,
        };
        world.refuses(name, &token, 413, "body_too_large").await?;
    }
    // JSON where the token should be: the published form of a token is one string
    let token = world.issuer.mint(&job())?;
    let [header, payload, signature] = parts(&token);
    let serialised = world.ask(json!({"payload": payload, "protected": header, "signature": signature}));
    let reply = world.gateway.post(PULL, None, &serialised).await?;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "bad_request"), "J6: {}", reply.text());

    // the tables were locked: a token that holds waits for them, and is granted when they are free
    let body = world.ask(token);
    let (reply, released) = tokio::join!(world.gateway.post(PULL, None, &body), async {
        locked.is_met().await?;
        locked.release().await
    });
    released?;
    assert_eq!(reply?.status.as_u16(), 200);
    assert_eq!(world.traces()?, "1 0 1", "nothing is audited or counted but the one good token");
    assert_eq!(
        world.issuer.requests(Endpoint::Jwks),
        1,
        "J3: unknown key ids cost no fetch within the cool-down"
    );
    canary.heard_nothing()
}
