//! J18, J19, J22 to J24: whom a token is for, whose it is, and how large it may be.

use crate::tokens::Case;
use crate::world::{World, job};
use anyhow::Result;
use lpm_tests::issuer::TokenRequest;
use serde_json::{Value, json};

pub(crate) fn j18_audiences(world: &World) -> Result<Vec<Case>> {
    let own = world.gateway.url();
    let mut cases = Vec::new();
    for audience in [
        "https://lpm.dev/",
        "HTTPS://LPM.DEV",
        "https://LPM.dev",
        "http://lpm.dev",
        "https://lpm.dev.evil.com",
        "https://lpm.dev@evil.com",
        "https://lpm.de",
        "lpm.dev",
        " https://lpm.dev",
        "https://lpm.dev/sealed/v1/AAAA.AAAA",
        "https://github.com/acme",
        "*",
        &format!("{own}/"),
        &format!("{own}0"),
    ] {
        cases.push((
            format!("J18 `{audience}`"),
            world.issuer.mint(&job().audience(audience))?,
            "token_audience",
        ));
    }
    for audience in [
        json!(["https://lpm.dev", "https://attacker.example"]),
        json!(["https://attacker.example", "https://lpm.dev"]),
        json!(["https://lpm.dev"]),
        json!([]),
        json!({}),
        json!(""),
        json!(7),
        Value::Null,
    ] {
        cases.push((
            format!("J18 {audience}"),
            world.issuer.mint(&job().claim("aud", audience))?,
            "token_claims",
        ));
    }
    cases.push(("J18 none".to_owned(), world.issuer.mint(&job().without("aud"))?, "token_claims"));
    Ok(cases)
}

/// The built-in issuers are trusted here, so every spelling that is nearly theirs is tried as well.
pub(crate) fn j19_issuers(world: &World) -> Result<Vec<Case>> {
    let url = world.issuer.url();
    let mut cases = Vec::new();
    for issuer in [
        format!("{url}/"),
        format!("{url}/other-enterprise"),
        format!("{url}/gitlab/"),
        format!("{url}/%67itlab"),
        format!("{url}.evil.com"),
        format!("{url}@evil.com"),
        format!("{url}#"),
        format!("{url}?"),
        format!(" {url}"),
        url.replace("http://", "https://"),
        url.replace("http://", "HTTP://"),
        url.replace("http://", "http://x@"),
        url.replace("http://", ""),
        url[..url.len() - 1].to_owned(),
        "https://token.actions.githubusercontent.com/".to_owned(),
        "https://token.actions.githubusercontent.com.evil.com".to_owned(),
        "https://token.actions.githubusercontent.com@evil.com".to_owned(),
        "https://Token.Actions.GitHubUserContent.com".to_owned(),
        "http://token.actions.githubusercontent.com".to_owned(),
        "https://token.actions.githubusercontent.com/acme".to_owned(),
        "https://token.actions.githubusercontent.com:443".to_owned(),
        "https://token.actions.githubusercontent.com.".to_owned(),
        "https://token%2Eactions.githubusercontent.com".to_owned(),
        "https://token.actions.g\u{456}thubusercontent.com".to_owned(),
        "https://gitlab.com/".to_owned(),
        "gitlab.com".to_owned(),
        String::new(),
    ] {
        cases.push((
            format!("J19 `{issuer}`"),
            world.issuer.mint(&job().claim("iss", issuer))?,
            "token_issuer",
        ));
    }
    for issuer in [Value::Null, json!(7), json!([url]), json!({"url": url})] {
        cases.push((
            format!("J19 {issuer}"),
            world.issuer.mint(&job().claim("iss", issuer))?,
            "token_malformed",
        ));
    }
    cases.push(("J19 none".to_owned(), world.issuer.mint(&job().without("iss"))?, "token_malformed"));
    Ok(cases)
}

pub(crate) fn j22_tokens_of_people(world: &World) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for claim in ["project_id", "project_path", "job_id", "pipeline_id"] {
        let token = world.issuer.mint(&TokenRequest::gitlab().without(claim))?;
        cases.push((format!("J22 without {claim}"), token, "token_claims"));
    }
    let mut login = TokenRequest::gitlab();
    for claim in [
        "project_id",
        "project_path",
        "job_id",
        "pipeline_id",
        "pipeline_source",
        "ref",
        "ref_path",
        "runner_id",
    ] {
        login = login.without(claim);
    }
    let login = login
        .claim("sub", "1")
        .claim("auth_time", 1_790_000_000)
        .claim("nonce", "n")
        .claim("email_verified", true);
    cases.push(("J22 a login".to_owned(), world.issuer.mint(&login)?, "token_claims"));
    Ok(cases)
}

pub(crate) fn j23_j24_sizes(world: &World) -> Result<Vec<Case>> {
    let many: serde_json::Map<String, Value> = (0..130).map(|n| (format!("x{n}"), json!(n))).collect();
    let mut crowded = job();
    crowded.claims.extend(many);
    let deep = |depth: usize| {
        format!(r#"{{"iss":"{}","x":{}{}}}"#, world.issuer.url(), "[".repeat(depth), "]".repeat(depth))
    };
    let groups = |count: usize| vec!["g"; count];
    let mut cases = Vec::new();
    for (name, request, code) in [
        ("J23 a token above 16 KiB", job().claim("x", groups(4096)), "token_too_large"),
        ("J23 a header above 2 KiB", job().header("x5t", "x".repeat(2048)), "token_header"),
        (
            "J23 nine header members",
            job()
                .header_text(r#"{"a":"","b":"","c":"","d":"","e":"","f":"","g":"","alg":"RS256","kid":"k"}"#),
            "token_header",
        ),
        ("J23 129 claims and more", crowded, "token_malformed"),
        ("J23 a list of 257", TokenRequest::gitlab().claim("groups_direct", groups(257)), "token_malformed"),
        ("J23 a string above 4 KiB", job().claim("actor", "x".repeat(4097)), "token_malformed"),
        ("J23 a jti above 256 bytes", job().claim("jti", "x".repeat(257)), "token_claims"),
        ("J24 depth 9", job().payload(deep(8)), "token_malformed"),
        ("J24 depth 200", job().payload(deep(199)), "token_malformed"),
        ("J24 depth 5,000", job().payload(deep(4999)), "token_malformed"),
        ("J24 a payload of 11,000 brackets", job().payload("[".repeat(11_000)), "token_malformed"),
        ("J24 a header of 1,000 brackets", job().header_text("[".repeat(1_000)), "token_header"),
    ] {
        cases.push((name.to_owned(), world.issuer.mint(&request)?, code));
    }
    Ok(cases)
}
