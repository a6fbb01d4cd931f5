//! Who asks: bearer tokens that are missing, mistyped, double, dead, or of somebody else.

use crate::table::{Identity, ROUTES, Route, with_bearer};
use crate::world::{World, refused, send};
use anyhow::{Context, Result};
use lpm_core::bearer::{Kind, token};
use lpm_tests::gateway::Reply;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder};

fn made_up(kind: Kind) -> Result<String> {
    Ok(token(kind, &[7; 32]).expose_str().context("ASCII")?.to_owned())
}

/// A token of `alice` with this scope.
fn scoped(world: &World, scope: &str) -> Result<String> {
    world.database.value(&format!("select lpm.create_token('alice', name => '{scope}', scope => '{scope}')"))
}

/// A token of `alice` of which this has become true.
fn dead(world: &World, name: &str, change: &str) -> Result<String> {
    let database = &world.database;
    let token = database.value(&format!("select lpm.create_token('alice', name => '{name}')"))?;
    database.value(&format!("update lpm.access_token set {change} where name = '{name}' returning 1"))?;
    Ok(token)
}

/// A request to the route with a good body and no identity.
fn nobody(world: &World, route: &Route) -> Result<RequestBuilder> {
    let request = world.gateway.request(Method::try_from(route.method())?, &world.target(route));
    Ok(match &route.body {
        Some(body) => request.body((body.valid)(world)?.to_string()),
        None => request,
    })
}

/// The answer to these headers, which repeats none of them.
async fn answer(world: &World, route: &Route, case: &str, headers: &[&[u8]]) -> Result<Reply> {
    let mut request = nobody(world, route)?;
    for header in headers {
        request = request.header(AUTHORIZATION, HeaderValue::from_bytes(header)?);
    }
    let reply = send(request).await?;
    for header in headers {
        for word in header.split(|byte| *byte == b' ').filter(|word| word.len() > 12) {
            let word = String::from_utf8_lossy(word);
            assert!(!reply.text().contains(&*word), "{} {case} repeats what it was given", route.name);
            assert!(!world.gateway.log().contains(&*word), "{} {case} is logged", route.name);
        }
    }
    Ok(reply)
}

/// The code for a caller without a token that is worth anything.
fn unknown_to(route: &Route) -> &'static str {
    if route.identity == Identity::Job { "ci_token_invalid" } else { "unauthorized" }
}

#[tokio::test]
async fn a_header_that_is_not_one_bearer_token_is_refused_on_every_route() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for route in with_bearer() {
        let good = world.bearer(route).await?.context("the route takes a token")?;
        let bearer = format!("Bearer {good}");
        let cut = &bearer[..bearer.len() - 1];
        let flipped = format!("{cut}{}", if bearer.ends_with('0') { '1' } else { '0' });
        let other_kind = good.replacen(&good[..8], "lpm_xyz_", 1);
        let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
            ("no header", vec![]),
            ("an empty header", vec!["".into()]),
            ("a scheme", vec!["Bearer".into()]),
            ("a scheme and a space", vec!["Bearer ".into()]),
            ("a token without scheme", vec![good.clone().into()]),
            ("Basic", vec![format!("Basic {good}").into()]),
            ("Digest", vec![format!("Digest {good}").into()]),
            ("Token", vec![format!("Token {good}").into()]),
            ("another word before it", vec![format!("Bearer Bearer {good}").into()]),
            ("a colon", vec![format!("Bearer: {good}").into()]),
            ("a tab", vec![format!("Bearer\t{good}").into()]),
            ("quotes", vec![format!("Bearer \"{good}\"").into()]),
            ("a comma behind it", vec![format!("{bearer},").into()]),
            ("two in one header", vec![format!("{bearer}, {bearer}").into()]),
            ("two headers", vec![bearer.clone().into(), bearer.clone().into()]),
            ("two headers, the first of no worth", vec!["Basic eDp5".into(), bearer.clone().into()]),
            ("two headers, the second of no worth", vec![bearer.clone().into(), "Basic eDp5".into()]),
            ("two headers, the second empty", vec![bearer.clone().into(), "".into()]),
            ("the last character missing", vec![cut.into()]),
            ("the last character changed", vec![flipped.into()]),
            ("one character more", vec![format!("{bearer}0").into()]),
            ("other letters", vec![bearer.to_uppercase().into()]),
            ("a kind that does not exist", vec![format!("Bearer {other_kind}").into()]),
            ("a byte beyond ASCII", vec![[bearer.as_bytes(), b"\xe9"].concat()]),
            ("a character beyond ASCII", vec![format!("{bearer}\u{a0}").into()]),
            ("nothing but such bytes", vec![b"Bearer \xff\xfe\xfd".to_vec()]),
            ("a JWT", vec![format!("Bearer {}", world.oidc_token()?).into()]),
            ("a refresh token", vec![format!("Bearer {}", made_up(Kind::Refresh)?).into()]),
            ("60 KiB", vec![format!("Bearer {}", "a".repeat(60 * 1024)).into()]),
        ];
        for (case, headers) in cases {
            let headers: Vec<&[u8]> = headers.iter().map(Vec::as_slice).collect();
            let reply = answer(&world, route, case, &headers).await?;
            let case = format!("{} with {case}", route.name);
            assert_eq!(refused(&case, &reply, 401)?, unknown_to(route), "{case}");
            assert!(!reply.member("hint").is_empty(), "{case} says no next step");
        }
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn spaces_around_a_good_token_do_not_matter() -> Result<()> {
    let world = World::new().await?;
    let route = ROUTES.iter().find(|route| route.name == "GET /api/vaults").context("a route")?;
    for spaced in ["  Bearer TOKEN  ", "\tBearer TOKEN\t", "Bearer   TOKEN", "bEARER TOKEN"] {
        let header = spaced.replace("TOKEN", world.alice());
        let reply = send(nobody(&world, route)?.header(AUTHORIZATION, header)).await?;
        assert!(reply.status.is_success(), "{spaced:?}: {}", reply.text());
    }
    Ok(())
}

#[tokio::test]
async fn a_token_elsewhere_than_in_its_header_is_none() -> Result<()> {
    let world = World::new().await?;
    for route in with_bearer() {
        let good = world.bearer(route).await?.context("the route takes a token")?;
        let sign = if route.query.is_empty() { '?' } else { '&' };
        for name in ["token", "access_token", "authorization", "Authorization"] {
            let target = format!("{}{sign}{name}={good}", world.target(route));
            let reply = send(world.gateway.request(Method::try_from(route.method())?, &target)).await?;
            assert_eq!(refused(&target, &reply, 401)?, unknown_to(route));
            assert!(!reply.text().contains(&good), "{target} repeats it");
        }
        for header in ["cookie", "x-api-key", "proxy-authorization", "npm-session"] {
            let reply = send(nobody(&world, route)?.header(header, format!("Bearer {good}"))).await?;
            assert_eq!(refused(header, &reply, 401)?, unknown_to(route), "{} {header}", route.name);
        }
        assert!(!world.gateway.log().contains(&good), "{} logs it", route.name);
    }
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_not_good_any_more_or_for_this_is_refused_on_every_route() -> Result<()> {
    let world = World::new().await?;
    let expired = dead(&world, "expired", "expires_at = clock_timestamp()")?;
    let revoked = dead(&world, "revoked", "revoked_at = clock_timestamp()")?;
    let (read, none) = (scoped(&world, "read")?, scoped(&world, "none")?);
    let alice = world.alice().to_owned();
    let (ci, unknown_ci) = (world.ci_token().await?, made_up(Kind::Ci)?);
    let (unknown, unknown_session) = (made_up(Kind::PersonalAccess)?, made_up(Kind::Session)?);
    let before = world.rows().await?;
    for route in with_bearer() {
        let mut cases = vec![
            ("an expired token", &expired, 401, unknown_to(route)),
            ("a revoked token", &revoked, 401, unknown_to(route)),
            ("an unknown token", &unknown, 401, unknown_to(route)),
            ("an unknown session", &unknown_session, 401, unknown_to(route)),
        ];
        match route.identity {
            Identity::Job => {
                cases.push(("a developer's token", &alice, 401, "ci_token_invalid"));
                cases.push(("a reader's token", &read, 401, "ci_token_invalid"));
                cases.push(("an unknown CI token", &unknown_ci, 401, "ci_token_invalid"));
            }
            identity => {
                cases.push(("a CI token", &ci, 403, "ci_token_scope"));
                cases.push(("an unknown CI token", &unknown_ci, 403, "ci_token_scope"));
                if identity != Identity::Holder {
                    cases.push(("a token of scope `none`", &none, 403, "token_scope"));
                }
                if identity == Identity::Session {
                    cases.push(("a token that is no session's", &alice, 403, "session_needed"));
                }
                if identity == Identity::Writer {
                    cases.push(("a token of scope `read`", &read, 403, "token_scope"));
                }
            }
        }
        for (case, token, status, code) in cases {
            let reply = answer(&world, route, case, &[format!("Bearer {token}").as_bytes()]).await?;
            let case = format!("{} with {case}", route.name);
            assert_eq!(refused(&case, &reply, status)?, code, "{case}: {}", reply.text());
            assert!(!reply.member("hint").is_empty(), "{case} says no next step");
        }
        if route.identity == Identity::Reader {
            let reply = answer(&world, route, "scope `read`", &[format!("Bearer {read}").as_bytes()]).await?;
            assert!(reply.status.is_success(), "{} with scope `read`: {}", route.name, reply.text());
        }
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_ci_token_is_good_for_its_vault_its_environment_and_a_few_times() -> Result<()> {
    let world = World::new().await?;
    let pull = async |token: &str, vault: &str, env: &str| {
        world.gateway.get(&format!("/api/vaults/{vault}/ci-pull{env}"), Some(token)).await
    };
    let vault = world.vault.as_str();
    for (case, other, env) in [
        ("another vault", "other", "?env=production"),
        ("another environment", vault, "?env=staging"),
        ("an environment in other letters", vault, "?env=Production"),
        ("the default environment", vault, ""),
        ("an empty environment", vault, "?env="),
    ] {
        let reply = pull(&world.ci_token().await?, other, env).await?;
        assert_eq!(refused(case, &reply, 403)?, "ci_token_scope", "{case}");
    }
    let token = world.ci_token().await?;
    for use_of_it in 1..=3 {
        let reply = pull(&token, vault, "?env=production").await?;
        assert_eq!(reply.status, 200, "use {use_of_it}: {}", reply.text());
    }
    assert_eq!(
        refused("a fourth use", &pull(&token, vault, "?env=production").await?, 401)?,
        "ci_token_invalid"
    );
    let (expired, orphan) = (world.ci_token().await?, world.ci_token().await?);
    world
        .database
        .value("update lpm.ci_token set expires_at = clock_timestamp() where uses = 0 returning 1")?;
    assert_eq!(
        refused("expired", &pull(&expired, vault, "?env=production").await?, 401)?,
        "ci_token_invalid"
    );
    assert_eq!(refused("expired", &pull(&orphan, vault, "?env=production").await?, 401)?, "ci_token_invalid");
    Ok(())
}
