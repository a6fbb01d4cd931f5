//! Bodies that are objects, and whose members are wrong, missing, double or unknown.

use crate::table::{Identity, with_body};
use crate::world::{World, refused};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// One value of each type of JSON.
fn one_of_each() -> [(&'static str, Value); 6] {
    [
        ("null", Value::Null),
        ("true", json!(true)),
        ("a number", json!(17)),
        ("a string", json!("\u{1f511} surely not this")),
        ("a list", json!([])),
        ("an object", json!({})),
    ]
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// The object with members of these names and values, as text: a map would keep one of two.
fn text_of(members: &[(&str, &Value)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

#[tokio::test]
async fn a_member_of_another_type_is_refused_on_every_route() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for (route, body) in with_body() {
        let valid = (body.valid)(&world)?;
        for (name, good) in valid.as_object().context("an object")? {
            for (kind, other) in one_of_each() {
                if same_type(good, &other) || (other.is_null() && body.optional.contains(&name.as_str())) {
                    continue;
                }
                let mut spoiled = valid.clone();
                spoiled[name] = other;
                let case = format!("{} with {kind} as `{name}`", route.name);
                let code = refused(&case, &world.post(route, spoiled.to_string()).await?, 400)?;
                assert!(["bad_request", "policy_invalid"].contains(&code.as_str()), "{case}: {code}");
            }
            if let Some(items) = good.as_array() {
                for (kind, other) in
                    one_of_each().into_iter().filter(|(_, other)| !same_type(&items[0], other))
                {
                    let mut spoiled = valid.clone();
                    spoiled[name] = json!([items[0], other]);
                    let case = format!("{} with {kind} in `{name}`", route.name);
                    let reply = world.post(route, spoiled.to_string()).await?;
                    let code = refused(&case, &reply, 400)?;
                    assert!(["bad_request", "policy_invalid"].contains(&code.as_str()), "{case}: {code}");
                }
            }
        }
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_missing_member_is_named_on_every_route() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for (route, body) in with_body() {
        if !body.required.is_empty() {
            refused(route.name, &world.post(route, "{}").await?, 400)?;
        }
        for name in body.required {
            let mut spoiled = (body.valid)(&world)?;
            spoiled
                .as_object_mut()
                .context("an object")?
                .remove(*name)
                .context("a member of the good body")?;
            let case = format!("{} without `{name}`", route.name);
            let reply = world.post(route, spoiled.to_string()).await?;
            refused(&case, &reply, 400)?;
            assert!(reply.member("error").contains(&format!("`{name}`")), "{case}: {}", reply.text());
        }
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn an_optional_member_may_be_missing_and_null_says_the_same() -> Result<()> {
    let world = World::new().await?;
    for (route, body) in with_body() {
        for name in body.optional {
            for null in [true, false] {
                let mut other = (body.valid)(&world)?;
                if null {
                    other[*name] = Value::Null;
                } else {
                    other.as_object_mut().context("an object")?.remove(*name);
                }
                if *name == "env" {
                    // without it the job asks for `default`, which the policy does not allow
                    let status = world.post(route, other.to_string()).await?.status;
                    let explained = route.name.ends_with("/explain");
                    assert_eq!(status.as_u16(), if explained { 200 } else { 403 }, "{}", route.name);
                    continue;
                }
                let reply = world.post(route, other.to_string()).await?;
                assert!(reply.status.is_success(), "{} `{name}`: {}", route.name, reply.text());
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_comes_twice_is_refused_on_every_route() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for (route, body) in with_body() {
        let valid = (body.valid)(&world)?;
        let members: Vec<(&str, &Value)> = valid
            .as_object()
            .context("an object")?
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        for (name, value) in &members {
            let escaped = format!("\\u{:04x}{}", u32::from(name.as_bytes()[0]), &name[1..]);
            let null = Value::Null;
            for (how, again) in [
                ("with the same value", (*name, *value)),
                ("with null", (*name, &null)),
                ("escaped", (escaped.as_str(), *value)),
            ] {
                for first in [true, false] {
                    let mut twice = members.clone();
                    twice.insert(if first { 0 } else { members.len() }, again);
                    let case = format!("{} `{name}` twice, {how}", route.name);
                    let reply = world.post(route, text_of(&twice)).await?;
                    assert_eq!(refused(&case, &reply, 400)?, "bad_request", "{case}");
                    assert!(reply.member("error").contains("twice"), "{case}: {}", reply.text());
                }
            }
        }
        for inner in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#] {
            let mut text = valid.to_string();
            text.pop();
            let reply = world.post(route, format!("{text},\"x\":{inner}}}")).await?;
            let case = format!("{} with {inner}", route.name);
            assert_eq!(refused(&case, &reply, 400)?, "bad_request", "{case}");
        }
    }
    world.has_survived(&before).await
}

/// Published clients may send more than this version knows. A policy may not: what it narrows would be lost.
#[tokio::test]
async fn an_unknown_member_is_ignored_everywhere_but_in_a_policy() -> Result<()> {
    let world = World::new().await?;
    for (route, body) in with_body() {
        let mut more = (body.valid)(&world)?;
        more["\u{e9}tat"] = json!({"vaultId": "other", "list": [1, 2, {"x": null}]});
        let reply = world.post(route, more.to_string()).await?;
        if route.name.ends_with("/policies") {
            assert_eq!(refused(route.name, &reply, 400)?, "policy_invalid");
            assert!(reply.member("error").contains("is not known"), "{}", reply.text());
        } else {
            assert!(reply.status.is_success(), "{}: {}", route.name, reply.text());
        }
    }
    Ok(())
}

#[tokio::test]
async fn values_that_no_table_can_hold_are_refused() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    let long = "x".repeat(257);
    let push = world.fresh_push()?;
    let with = |body: &Value, name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body
    };
    let (policy, escrow) = (world.policy(), world.escrow());
    let repin = json!({"vaultId": world.vault, "subject": "repo:acme/web"});
    let explain = json!({"vaultId": world.vault, "env": "production", "claims": {}});
    let asked = json!({"vaultId": world.vault, "env": "production", "oidcToken": world.oidc_token()?});
    let sync = format!("/api/vaults/{}/sync", world.vault);
    let oidc = |path: &str| format!("/api/vault/oidc{path}");
    for (case, path, body, status, code) in [
        (
            "a version beyond 2^31",
            &sync,
            with(&push, "expectedVersion", json!(2_147_483_648_u64)),
            400,
            "bad_request",
        ),
        ("a version with a fraction", &sync, with(&push, "expectedVersion", json!(1.0)), 400, "bad_request"),
        (
            "a schema of 65 KiB",
            &sync,
            with(&push, "schema", json!({"x": "y".repeat(65 * 1024)})),
            400,
            "bad_request",
        ),
        ("a blob that is no base64", &sync, with(&push, "encryptedBlob", json!("x:y")), 400, "blob_invalid"),
        (
            "a blob without its middle",
            &sync,
            with(&push, "encryptedBlob", json!("AAAA")),
            400,
            "blob_invalid",
        ),
        ("an empty blob", &sync, with(&push, "encryptedBlob", json!("")), 400, "blob_invalid"),
        ("a key that is no key", &sync, with(&push, "wrappedKey", json!("AAAA:AAAA")), 400, "blob_invalid"),
        ("an empty vault id", &oidc("/policies"), with(&policy, "vaultId", json!("")), 400, "policy_invalid"),
        ("a long vault id", &oidc("/policies"), with(&policy, "vaultId", json!(long)), 400, "policy_invalid"),
        (
            "an empty branch",
            &oidc("/policies"),
            with(&policy, "allowedBranches", json!([""])),
            400,
            "policy_invalid",
        ),
        ("an empty vault id", &oidc("/escrow"), with(&escrow, "vaultId", json!("")), 400, "bad_request"),
        ("a long vault id", &oidc("/escrow"), with(&escrow, "vaultId", json!(long)), 400, "bad_request"),
        ("a short key", &oidc("/escrow"), with(&escrow, "wrappingKeyHex", json!("00")), 400, "blob_invalid"),
        ("a key and its seal", &oidc("/escrow"), with(&escrow, "sealed", json!("s1.x")), 400, "bad_request"),
        ("no seal", &oidc("/escrow"), json!({"vaultId": world.vault, "sealed": "x"}), 400, "escrow_invalid"),
        (
            "a list as seal",
            &oidc("/escrow"),
            json!({"vaultId": world.vault, "sealed": ["x"]}),
            400,
            "bad_request",
        ),
        ("a long vault id", &oidc("/repin"), with(&repin, "vaultId", json!(long)), 400, "bad_request"),
        (
            "an unknown subject",
            &oidc("/repin"),
            with(&repin, "subject", json!("\u{0}x".replace('\0', ""))),
            404,
            "subject_unknown",
        ),
        (
            "a subject of 60 KiB",
            &oidc("/repin"),
            with(&repin, "subject", json!("s".repeat(60_000))),
            404,
            "subject_unknown",
        ),
        ("a list of claims", &oidc("/explain"), with(&explain, "claims", json!([])), 400, "bad_request"),
        ("claims as a string", &oidc("/explain"), with(&explain, "claims", json!("{}")), 400, "bad_request"),
        ("a number of claims", &oidc("/explain"), with(&explain, "claims", json!(1)), 400, "bad_request"),
        ("a long environment", &oidc("/explain"), with(&explain, "env", json!(long)), 400, "bad_request"),
        ("a long environment", &oidc(""), with(&asked, "env", json!(long)), 400, "bad_request"),
        ("a long environment", &oidc("/pull"), with(&asked, "env", json!(long)), 400, "bad_request"),
        ("an empty vault id", &oidc("/pull"), with(&asked, "vaultId", json!("")), 400, "bad_request"),
        (
            "an owner that is no UUID",
            &oidc("/pull"),
            with(&asked, "owner", json!("alice")),
            400,
            "bad_request",
        ),
        ("an empty token", &oidc("/pull"), with(&asked, "oidcToken", json!("")), 401, "token_malformed"),
        (
            "a token of 20 KiB",
            &oidc("/pull"),
            with(&asked, "oidcToken", json!("x".repeat(20_000))),
            401,
            "token_too_large",
        ),
    ] {
        let reply = world.gateway.post(path, Some(world.alice()), &body).await?;
        let case = format!("{path} {case}");
        assert_eq!(refused(&case, &reply, status)?, code, "{case}: {}", reply.text());
        assert!(reply.bytes.len() < 2048, "{case} is repeated at length");
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_refused_body_uses_up_no_token() -> Result<()> {
    let world = World::new().await?;
    for (route, body) in with_body().filter(|(route, _)| route.identity == Identity::Oidc) {
        let good = (body.valid)(&world)?;
        for (name, other) in
            [("env", json!(7)), ("vaultId", json!("")), ("owner", json!("x")), ("vaultId", json!([]))]
        {
            let mut spoiled = good.clone();
            spoiled[name] = other;
            refused(route.name, &world.post(route, spoiled.to_string()).await?, 400)?;
        }
        let reply = world.post(route, good.to_string()).await?;
        assert!(reply.status.is_success(), "{}: {}", route.name, reply.text());
        assert_eq!(refused(route.name, &world.post(route, good.to_string()).await?, 403)?, "replayed");
    }
    Ok(())
}
