//! Methods, paths, ids and parameters that the gateway does not have.

use crate::table::{ROUTES, Route, paths, with_bearer};
use crate::world::{World, refused, send};
use anyhow::{Context, Result};
use lpm_tests::gateway::Reply;
use lpm_tests::raw_http::RawHttp;
use reqwest::Method;

/// The answer to exactly this target: a client's URL parser would tidy it up.
async fn raw(world: &World, method: &str, target: &str) -> Result<Reply> {
    let mut connection = RawHttp::connect(&world.gateway).await?;
    let token = world.alice();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    connection.send(head.as_bytes()).await?;
    connection.reply().await?.context("no answer")
}

#[tokio::test]
async fn every_other_method_of_a_path_is_refused_with_those_that_it_has() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for (path, methods) in paths() {
        let path = world.fill(path);
        let allowed: Vec<&str> = methods.iter().copied().collect();
        for method in ["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "G"] {
            if methods.contains(method) {
                continue;
            }
            for body in ["", r#"{"vaultId":"v"}"#] {
                let request =
                    world.gateway.request(Method::try_from(method)?, &path).bearer_auth(world.alice());
                let reply = send(request.body(body)).await?;
                let case = format!("{method} {path}");
                assert_eq!(refused(&case, &reply, 405)?, "method_not_allowed", "{case}");
                assert_eq!(reply.header("allow"), allowed.join(", "), "{case}");
                assert_eq!(reply.member("error"), format!("`{method}` is not allowed here"));
                assert_eq!(reply.member("hint"), format!("this path takes {}", allowed.join(", ")));
            }
        }
        // an answer to HEAD has no body
        let mut connection = RawHttp::connect(&world.gateway).await?;
        connection.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await?;
        let reply = connection.reply_to_head().await?.context("no answer")?;
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, allowed.join(", ")), "HEAD {path}");
        assert!(!reply.header("x-request-id").is_empty());
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_path_that_is_almost_one_of_ours_is_nothing() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for route in &ROUTES {
        let path = world.path(route);
        let (parent, last) = path.rsplit_once('/').context("an absolute path")?;
        let upper = format!("{parent}/{}", last.to_uppercase());
        let encoded = format!("{parent}/%{:02x}{}", last.as_bytes()[0], &last[1..]);
        for target in [
            &format!("{path}//"),
            &format!("//{path}"),
            &format!("{parent}//{last}"),
            &format!("{path}/x"),
            &format!("{path}/.."),
            &format!("{path}/../{last}"),
            &format!("{path}/."),
            &format!("/.{path}"),
            &format!("/x/..{path}"),
            &format!("/%2e{path}"),
            &format!("/%2f{path}"),
            &format!("{parent}%2f{last}"),
            &format!("{path};x=1"),
            &format!("{path}%00"),
            &format!("{path}%2f"),
            &format!("{path}%20"),
            &format!("{path}.json"),
            &upper,
            &encoded,
        ] {
            // of two slashes at the beginning, one is a client's whose registry's address ends with it
            let tidied = target.strip_prefix('/').filter(|rest| rest.starts_with('/')).unwrap_or(target);
            if is_path(tidied) || !target.starts_with('/') {
                continue;
            }
            let reply = raw(&world, route.method(), target).await?;
            assert_eq!(refused(target, &reply, 404)?, "not_found", "{target}");
        }
    }
    for target in ["/", "/api", "/api/", "/favicon.ico", "/.git/config", "/metrics", "/%", "/%00"] {
        let reply = raw(&world, "GET", target).await?;
        assert_eq!(refused(target, &reply, 404)?, "not_found", "{target}");
        assert_eq!(reply.member("error"), format!("there is nothing at `{target}`"));
    }
    world.has_survived(&before).await
}

/// Is there such a path, with something that could be an id in its place?
fn is_path(target: &str) -> bool {
    paths().keys().any(|path| {
        let fits = |(place, segment): (&str, &str)| {
            place == segment || place.starts_with('{') && !segment.is_empty()
        };
        path.split('/').count() == target.split('/').count()
            && path.split('/').zip(target.split('/')).all(fits)
    })
}

#[tokio::test]
async fn a_slash_behind_a_path_changes_nothing() -> Result<()> {
    let world = World::new().await?;
    for route in &ROUTES {
        let allowed: Vec<&str> = paths()[route.path()].iter().copied().collect();
        let reply = raw(&world, "PATCH", &format!("{}/", world.path(route))).await?;
        refused(route.name, &reply, 405)?;
        assert_eq!(reply.header("allow"), allowed.join(", "), "{}", route.name);
    }
    Ok(())
}

#[tokio::test]
async fn a_vault_id_is_any_text_of_1_to_256_bytes_and_never_a_path() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    let (longest, long) = ("x".repeat(256), "x".repeat(257));
    let (longest_encoded, long_encoded) = ("%C3%A9".repeat(128), "%C3%A9".repeat(129));
    for (case, id, expected) in [
        ("another UUID", "00000000-0000-4000-8000-000000000000", None),
        ("a cut UUID", "00000000-0000", None),
        ("a word", "vault-123", None),
        ("dots", "..", None),
        ("encoded dots", "%2e%2e", None),
        ("a way up", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", None),
        ("a way up with backslashes", "..%5c..%5c", None),
        ("a slash", "a%2Fb", None),
        ("a doubly encoded slash", "a%252Fb", None),
        ("a space", "a%20b", None),
        ("a plus", "a+b", None),
        ("a line break", "a%0d%0aX-Injected:%201", None),
        ("an escape sequence", "%1b[2J", None),
        ("a percent sign", "50%", None),
        ("a broken escape", "%zz%", None),
        ("SQL", "'%20or%201=1--", None),
        ("a pattern", "%25_%25", None),
        ("raw UTF-8", "\u{e9}", None),
        ("encoded UTF-8", "%E2%82%AC", None),
        ("the longest", &longest, None),
        ("the longest, encoded", &longest_encoded, None),
        ("U+0000", "%00", Some("the vault id holds U+0000")),
        ("U+0000 at the end", "v%00", Some("the vault id holds U+0000")),
        ("no UTF-8", "%FF", Some("the vault id is not UTF-8")),
        ("an overlong slash", "%c0%af", Some("the vault id is not UTF-8")),
        ("a surrogate", "%ed%a0%80", Some("the vault id is not UTF-8")),
        ("one byte too long", &long, Some("the vault id is longer than 256 bytes")),
        ("one character too long, encoded", &long_encoded, Some("the vault id is longer than 256 bytes")),
    ] {
        for route in with_bearer().filter(|route| route.path().contains("{vault}") && route.body.is_none()) {
            let target = format!("{}{}", world.fill(&route.path().replace("{vault}", id)), route.query);
            let mut connection = RawHttp::connect(&world.gateway).await?;
            let token = world.bearer(route).await?.unwrap_or_default();
            let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
            connection.send(head.as_bytes()).await?;
            let reply = connection.reply().await?.context("no answer")?;
            let case = format!("{} with {case}", route.name);
            match (expected, route.path().rsplit('/').next().unwrap_or_default()) {
                (Some(reason), _) => {
                    assert_eq!(refused(&case, &reply, 400)?, "bad_request", "{case}");
                    assert_eq!(reply.member("error"), reason, "{case}");
                }
                // there are no entries of a vault that nobody has
                (None, "audit") => assert_eq!(reply.status, 200, "{case}: {}", reply.text()),
                (None, "ci-pull") => assert_eq!(refused(&case, &reply, 403)?, "ci_token_scope", "{case}"),
                (None, "{vault}") => {
                    assert_eq!(refused(&case, &reply, 404)?, "org_vault_unknown", "{case}");
                }
                (None, _) => assert_eq!(refused(&case, &reply, 404)?, "vault_unknown", "{case}"),
            }
        }
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn what_is_pushed_under_an_odd_id_is_found_under_the_same_id_only() -> Result<()> {
    let world = World::new().await?;
    for (id, spelled_otherwise, another) in [
        ("%2e%2e", "..", "."),
        ("a%2Fb", "a%2fb", "a/b"),
        ("50%25", "50%", "50%2525"),
        ("a+b", "a%2Bb", "a%20b"),
        ("%C3%A9", "\u{e9}", "e%CC%81"),
        ("'%3Bdrop%20table%20x--", "'%3bdrop%20table%20x--", "'"),
    ] {
        let push = world.fresh_push()?;
        let path = |id: &str| format!("/api/vaults/{id}/sync");
        let mut connection = RawHttp::connect(&world.gateway).await?;
        let (body, token) = (push.to_string(), world.alice());
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            path(id),
            body.len()
        );
        connection.send(head.as_bytes()).await?;
        let pushed = connection.reply().await?.context("no answer")?;
        assert_eq!(pushed.status, 201, "{id}: {}", pushed.text());
        for same in [id, spelled_otherwise] {
            let reply = raw(&world, "GET", &path(same)).await?;
            assert_eq!(reply.member("encryptedBlob"), push["encryptedBlob"], "{same}: {}", reply.text());
        }
        let other = raw(&world, "GET", &path(another)).await?;
        let code = refused(another, &other, 404)?;
        assert!(["vault_unknown", "not_found"].contains(&code.as_str()), "{another}: {code}");
    }
    Ok(())
}

#[tokio::test]
async fn a_policys_id_that_is_none_is_unknown() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    let (braced, compact) = (format!("%7B{}%7D", world.policy), world.policy.replace('-', ""));
    for (case, id, status, code) in [
        ("another UUID", "00000000-0000-4000-8000-000000000000", 404, "policy_unknown"),
        ("a number", "1", 404, "policy_unknown"),
        ("a UUID in braces", &braced, 404, "policy_unknown"),
        ("a UUID without dashes", &compact, 404, "policy_unknown"),
        ("a pattern", "%25", 404, "policy_unknown"),
        ("SQL", "'%20or%201=1--", 404, "policy_unknown"),
        ("a way up", "..%2f..", 404, "policy_unknown"),
        ("U+0000", "%00", 400, "bad_request"),
        ("no UTF-8", "%ff", 400, "bad_request"),
        ("1,000 bytes", &"x".repeat(1000), 400, "bad_request"),
    ] {
        let reply = raw(&world, "DELETE", &format!("/api/vault/oidc/policies/{id}")).await?;
        assert_eq!(refused(case, &reply, status)?, code, "{case}: {}", reply.text());
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_parameter_is_there_once_and_readable_or_refused() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    let named = |name: &str| ROUTES.iter().find(|route| route.name == name).context("a route");
    let long = "x".repeat(257);
    let asked: [(&Route, &str, bool); 10] = [
        (named("GET /api/vault/oidc/policies")?, "vaultId", true),
        (named("DELETE /api/vault/oidc/escrow")?, "vaultId", true),
        (named("GET /api/vaults/{vault}/ci-pull")?, "env", false),
        (named("GET /api/vaults/{vault}/audit")?, "cursor", false),
        (named("GET /api/vaults/{vault}/versions")?, "org", false),
        (named("GET /api/vault/oidc/escrow-key")?, "vaultId", false),
        (named("GET /api/vault/oidc/escrow-key")?, "org", false),
        (named("DELETE /api/vault/oidc/escrow")?, "org", false),
        (named("GET /api/vaults/{vault}/audit")?, "org", false),
        (named("DELETE /api/orgs/{org}/members/{handle}")?, "revokePolicies", false),
    ];
    for (route, name, required) in asked {
        let escaped = format!("%{:02x}{}", name.as_bytes()[0], &name[1..]);
        let mut cases = vec![
            ("twice", format!("?{name}=a&{name}=a"), "comes twice"),
            ("twice, once empty", format!("?{name}=a&{name}"), "comes twice"),
            ("twice, once escaped", format!("?{name}=a&{escaped}=b"), "comes twice"),
            ("no UTF-8", format!("?{name}=%ff"), "is not UTF-8"),
            ("U+0000", format!("?{name}=a%00"), "holds U+0000"),
            ("too long", format!("?{name}={long}"), "is longer than 256 bytes"),
        ];
        if required {
            cases.push(("nothing", String::new(), "is missing"));
            cases.push(("other letters", format!("?{}=v", name.to_uppercase()), "is missing"));
            cases.push(("a name within a value", format!("?x={name}=v"), "is missing"));
            cases.push(("empty", format!("?{name}="), "is empty"));
            cases.push(("a semicolon", format!("?x=1;{name}=v"), "is missing"));
        }
        for (case, query, reason) in cases {
            let mut connection = RawHttp::connect(&world.gateway).await?;
            let (method, token) = (route.method(), world.bearer(route).await?.unwrap_or_default());
            let target = format!("{}{query}", world.path(route));
            let head =
                format!("{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
            connection.send(head.as_bytes()).await?;
            let reply = connection.reply().await?.context("no answer")?;
            let case = format!("{} {name} {case}", route.name);
            assert_eq!(refused(&case, &reply, 400)?, "bad_request", "{case}");
            assert_eq!(reply.member("error"), format!("the parameter `{name}` {reason}"), "{case}");
        }
    }
    for cursor in ["x", "-1", "1.5", "1e3", "%20", "9999999999999999999", "0x10", "1%0a"] {
        let target = format!("/api/vaults/{}/audit?cursor={cursor}", world.vault);
        let reply = raw(&world, "GET", &target).await?;
        assert_eq!(refused(&target, &reply, 400)?, "bad_request", "{target}");
    }
    world.has_survived(&before).await
}
