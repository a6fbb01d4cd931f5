#![allow(clippy::unwrap_used, reason = "tests")]

//! Everything that is answered before the database is asked: there is none here, so whatever gets as far as
//! SQL is answered 503.

use super::*;
use crate::config::Args;
use crate::db::Db;
use crate::limits::Limits;
use crate::oidc::{Oidc, Proxies};
use crate::openapi::Documented;
use crate::reply::Summary;
use clap::Parser;
use lpm_core::bearer::{Kind, token};
use serde_json::{Value, json};
use warp::test::{RequestBuilder, request};

/// Every method and path of the document, its places filled in.
fn documented() -> Vec<(String, String, &'static Documented)> {
    let mut routes = Vec::new();
    for (pattern, documented) in SERVED.paths.all() {
        for method in documented.methods() {
            routes.push((format!("{method} {pattern}"), filled(&pattern), documented));
        }
    }
    routes
}

fn filled(pattern: &str) -> String {
    let segments = pattern.split('/').map(|segment| if segment.starts_with('{') { "x" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

fn no_database() -> BoxedFilter<(Response,)> {
    let args =
        Args::try_parse_from(["lpm-gateway", "--database-url", "host=/no/such/directory user=gateway"]);
    let settings = args.unwrap().settings().unwrap();
    let oidc = Arc::new(Oidc::new("http://127.0.0.1".to_owned(), settings.keys, Proxies::none()));
    let db = Arc::new(Db::new(&settings).unwrap());
    let limits = Limits::new(settings.budgets);
    routes(&Arc::new(Gateway { db, oidc, lifecycle: Arc::default(), limits }))
}

fn bearer(kind: Kind) -> String {
    format!("Bearer {}", token(kind, &[7; 32]).expose_str().unwrap())
}

fn signed_in(method: &str, path: &str) -> RequestBuilder {
    request().method(method).path(path).header("authorization", bearer(Kind::PersonalAccess))
}

struct Reply {
    status: u16,
    body: Value,
    response: http::Response<hyper::body::Bytes>,
}

impl Reply {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).map(|value| value.to_str().unwrap())
    }
}

async fn send(request: RequestBuilder) -> Reply {
    let response = request.reply(&no_database()).await;
    let body = serde_json::from_slice(response.body()).expect("every reply is JSON");
    Reply { status: response.status().as_u16(), body, response }
}

#[tokio::test]
async fn every_operation_of_the_document_is_answered_by_the_route_of_its_name() {
    for (name, path, _) in documented() {
        let method = name.split(' ').next().unwrap();
        let reply = send(request().method(method).path(&path)).await;
        let route = reply.response.extensions().get::<Summary>().unwrap().route;
        assert_eq!(route, name);
        assert!(![404, 405].contains(&reply.status), "{name}: {}", reply.status);
    }
}

#[tokio::test]
async fn other_methods_of_a_path_are_refused_with_those_that_it_has() {
    for (pattern, documented) in SERVED.paths.all() {
        let path = filled(&pattern);
        let allowed: Vec<&str> = documented.methods().iter().map(Method::as_str).collect();
        for method in ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "BREW", "get"] {
            if !allowed.contains(&method) {
                let response = request().method(method).path(&path).reply(&no_database()).await;
                assert_eq!(response.status(), 405, "{method} {path}");
                assert_eq!(response.headers()["allow"], allowed.join(", "), "{method} {path}");
            }
        }
    }
    let reply = send(request().method("PUT").path("/api/vaults")).await;
    assert_eq!((reply.code(), reply.error()), ("method_not_allowed", "`PUT` is not allowed here"));
}

#[tokio::test]
async fn what_is_spelt_out_goes_before_a_place_for_anything() {
    for (path, expected) in [
        ("/api/vault/oidc/policies", Some("GET, POST")),
        ("/api/vault/oidc/policies/", Some("GET, POST")),
        ("/api/vault/oidc/policies/policies", Some("DELETE")),
        ("/api/vaults/sync/sync", Some("GET, POST")),
        ("/api/vaults/a%2Fb/sync", Some("GET, POST")),
        ("/api/vaults//sync", None),
        ("/api/vaults/v/sync//", None),
        ("/api/vaults/v", None),
        ("//api/vaults", None),
        ("/", None),
        ("", None),
        ("x", None),
    ] {
        let found = SERVED.paths.find(path).map(|documented| documented.allow.as_str());
        assert_eq!(found, expected, "{path}");
    }
}

#[tokio::test]
async fn platforms_are_refused_alike_whoever_asks_and_whatever_is_sent() {
    for path in ["connect", "push", "pull", "status"] {
        let path = format!("/api/vault/platforms/{path}");
        let anonymous = send(request().method("POST").path(&path)).await;
        assert_eq!((anonymous.status, anonymous.code()), (501, "not_implemented"), "{path}");
        assert!(anonymous.error().contains("would send plaintext"), "{}", anonymous.error());
        for request in [
            signed_in("POST", &path).body(r#"{"vaultId":"v","vars":{"A":"hunter2"}}"#),
            signed_in("POST", &path).body("no JSON"),
            request().method("POST").path(&path).header("content-encoding", "gzip").body("x"),
            request().method("POST").path(&path).body("x".repeat(70_000)),
        ] {
            assert_eq!(send(request).await.body, anonymous.body, "{path}");
        }
    }
}

#[tokio::test]
async fn paths_that_are_not_ours_are_named() {
    for path in [
        "/",
        "/api",
        "//api/vaults",
        "/api/vaults/v",
        "/api/vaults/v/sync/x",
        "/api/vaults//sync",
        "/healthz/x",
    ] {
        let reply = send(signed_in("GET", path)).await;
        assert_eq!((reply.status, reply.code()), (404, "not_found"), "{path}");
        assert_eq!(reply.error(), format!("there is nothing at `{path}`"));
    }
}

#[tokio::test]
async fn a_bad_bearer_token_is_refused_without_the_database() {
    let good = bearer(Kind::PersonalAccess);
    let mistyped = format!("{}x", &good[..good.len() - 1]);
    let refresh = bearer(Kind::Refresh);
    for authorization in
        ["", "Bearer", "Bearer ", "Bearer x", "Basic eDp5", &good["Bearer ".len()..], &mistyped, &refresh]
    {
        let reply = send(request().path("/api/vaults").header("authorization", authorization)).await;
        assert_eq!((reply.status, reply.code()), (401, "unauthorized"), "{authorization}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(send(request().path("/api/vaults")).await.status, 401);
}

#[tokio::test]
async fn tokens_of_ci_jobs_and_of_people_are_not_exchanged() {
    let as_person = send(request().path("/api/vaults").header("authorization", bearer(Kind::Ci))).await;
    assert_eq!((as_person.status, as_person.code()), (403, "ci_token_scope"));
    let as_job = send(signed_in("GET", "/api/vaults/v/ci-pull")).await;
    assert_eq!((as_job.status, as_job.code()), (401, "ci_token_invalid"));
    assert_eq!(send(request().path("/api/vaults/v/ci-pull")).await.status, 401);
}

#[tokio::test]
async fn without_a_database_the_caller_is_asked_to_come_back() {
    for (method, path, kind) in [
        ("GET", "/api/vaults", Kind::PersonalAccess),
        ("GET", "/api/vaults/v/sync", Kind::Session),
        ("GET", "/api/vaults/v/ci-pull?env=production", Kind::Ci),
        ("DELETE", "/api/vault/oidc/policies/p", Kind::PersonalAccess),
        ("GET", "/readyz", Kind::PersonalAccess),
        ("GET", "/api/registry/health", Kind::PersonalAccess),
    ] {
        let reply = send(request().method(method).path(path).header("authorization", bearer(kind))).await;
        assert_eq!((reply.status, reply.code()), (503, "unavailable"), "{path}");
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert_eq!(reply.header("x-lpm-signature"), None);
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    assert_eq!(send(request().path("/healthz")).await.status, 200);
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case() {
    let lower = bearer(Kind::PersonalAccess).replace("Bearer", "bEARER");
    assert_eq!(send(request().path("/api/vaults").header("authorization", lower)).await.status, 503);
}

#[tokio::test]
async fn too_large_a_body_is_refused_before_the_token_is_looked_at() {
    // a large push is read for an account that the database knows only, and here is none
    for (path, size, limit, no_json) in [
        ("/api/vault/oidc/policies", 64 * 1024, "64 KiB", 400),
        ("/api/vault/oidc", 64 * 1024, "64 KiB", 400),
        ("/api/vaults/v/sync", 15 * 1024 * 1024, "15 MiB", 503),
    ] {
        let body = "x".repeat(size + 1);
        let announced = request().method("POST").path(path).header("content-length", body.len()).body(&body);
        let reply = send(announced).await;
        assert_eq!((reply.status, reply.code()), (413, "body_too_large"), "{path}");
        assert_eq!(reply.error(), format!("the request's body is larger than {limit}"));
        let unannounced = send(signed_in("POST", path).body(&body)).await;
        assert_eq!(unannounced.status, 413, "{path}");
        let fits = send(signed_in("POST", path).body(&body[1..])).await;
        assert_eq!(fits.status, no_json, "{path}: as large as allowed, but no JSON");
    }
}

#[tokio::test]
async fn bodies_that_postgresql_or_another_parser_would_read_differently_are_refused() {
    let deep = format!(r#"{{"vaultId":"v","x":{}1{}}}"#, "[".repeat(64), "]".repeat(64));
    for body in [
        "",
        "{",
        "nonsense",
        r#"{"vaultId":"v"}x"#,
        r#"{"vaultId":"v","vaultId":"w"}"#,
        r#"{"vaultId":"v","x":{"a":1,"a":2}}"#,
        r#"{"vaultId":"v\u0000"}"#,
        r#"{"vaultId":"\ud800"}"#,
        r#"{"vaultId":"v","x":1e400}"#,
        r#"["v","s","t"]"#,
        r#""v""#,
        "null",
        &deep,
    ] {
        for path in [
            "/api/vault/oidc/policies",
            "/api/vault/oidc/repin",
            "/api/vault/oidc/escrow",
            "/api/vault/oidc/explain",
        ] {
            let reply = send(signed_in("POST", path).body(body)).await;
            assert_eq!((reply.status, reply.code()), (400, "bad_request"), "{path} {body}");
        }
        for path in ["/api/vault/oidc", "/api/vault/oidc/pull"] {
            assert_eq!(
                send(request().method("POST").path(path).body(body)).await.code(),
                "bad_request",
                "{path} {body}"
            );
        }
    }
    let not_utf8 = send(signed_in("POST", "/api/vault/oidc/policies").body(b"{\"vaultId\":\"\xff\"}")).await;
    assert_eq!(not_utf8.code(), "bad_request");
}

#[tokio::test]
async fn an_encoded_body_is_refused_before_the_token_is_looked_at() {
    for path in ["/api/vault/oidc", "/api/vault/oidc/policies", "/api/vaults/v/sync"] {
        let reply =
            send(request().method("POST").path(path).header("content-encoding", "gzip").body("{}")).await;
        assert_eq!((reply.status, reply.code()), (415, "body_encoded"), "{path}");
        assert_eq!(reply.error(), "the request's body is encoded as `gzip`");
    }
}

#[tokio::test]
async fn a_refused_body_is_never_repeated() {
    let body = json!({"vaultId": "v", "wrappingKeyHex": ["hunter2"]}).to_string();
    let reply = send(signed_in("POST", "/api/vault/oidc/escrow").body(body)).await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.error().contains("wrong type") && !reply.body.to_string().contains("hunter2"),
        "{}",
        reply.body
    );

    let body = json!({"vaultId": "v", "wrappingKeyHex": "hunter2"}).to_string();
    let reply = send(signed_in("POST", "/api/vault/oidc/escrow").body(body)).await;
    assert_eq!(reply.error(), "`wrappingKeyHex` is not 64 hex digits");

    let reply = send(signed_in("POST", "/api/vault/oidc/repin").body(r#"{"vaultId":"v"}"#)).await;
    assert_eq!(reply.error(), "the request's body is incomplete: missing field `subject`");
}

#[tokio::test]
async fn requests_that_contradict_themselves_are_refused() {
    for (path, body, reason) in [
        ("escrow", json!({"vaultId": "v"}), "`sealed` or `wrappingKeyHex` is missing"),
        (
            "escrow",
            json!({"vaultId": "v", "sealed": "s", "wrappingKeyHex": "k"}),
            "`wrappingKeyHex` and `sealed` exclude each other",
        ),
        (
            "escrow",
            json!({"vaultId": "v", "kind": "aes", "wrappingKeyHex": "00".repeat(32)}),
            "`wrappingKeyHex` is of the kind `wrapping`",
        ),
        ("escrow", json!({"vaultId": "v", "kind": "aes", "org": ""}), "the org's name is empty"),
        ("escrow", json!({"vaultId": "", "sealed": "s"}), "the vault id is empty"),
        ("explain", json!({"vaultId": "v"}), "one of `oidcToken` and `claims` is needed"),
        (
            "explain",
            json!({"vaultId": "v", "claims": {}, "oidcToken": "t"}),
            "one of `oidcToken` and `claims` is needed",
        ),
        (
            "repin",
            json!({"vaultId": "v".repeat(257), "subject": "s"}),
            "the vault id is longer than 256 bytes",
        ),
    ] {
        let reply = send(signed_in("POST", &format!("/api/vault/oidc/{path}")).body(body.to_string())).await;
        assert_eq!((reply.status, reply.error()), (400, reason), "{path} {body}");
    }
}

#[tokio::test]
async fn vault_ids_are_any_decoded_text_of_up_to_256_bytes() {
    for id in ["vault-123", "a%2Fb", "%E2%82%AC", "a%20b", "..%2F..", &"x".repeat(256)] {
        assert_eq!(send(signed_in("GET", &format!("/api/vaults/{id}/sync"))).await.status, 503, "{id}");
    }
    for (id, reason) in [
        ("%00", "the vault id holds U+0000"),
        ("%FF", "the vault id is not UTF-8"),
        (&*"x".repeat(257), "the vault id is longer than 256 bytes"),
    ] {
        let reply = send(signed_in("GET", &format!("/api/vaults/{id}/sync"))).await;
        assert_eq!((reply.status, reply.error()), (400, reason), "{id}");
    }
}

#[tokio::test]
async fn parameters_are_there_once_or_not_at_all() {
    for (query, reason) in [
        ("", "the parameter `vaultId` is missing"),
        ("?vaultId", "the parameter `vaultId` is empty"),
        ("?vaultId=", "the parameter `vaultId` is empty"),
        ("?vaultid=v", "the parameter `vaultId` is missing"),
        ("?vaultId=v&vaultId=w", "the parameter `vaultId` comes twice"),
        ("?vaultId=v&vault%49d=w", "the parameter `vaultId` comes twice"),
        ("?vaultId=%ff", "the parameter `vaultId` is not UTF-8"),
        ("?vaultId=a%00", "the parameter `vaultId` holds U+0000"),
    ] {
        let reply = send(signed_in("GET", &format!("/api/vault/oidc/policies{query}"))).await;
        assert_eq!((reply.status, reply.error()), (400, reason), "{query}");
    }
    for query in ["?vaultId=v", "?x=1&vaultId=a+b%2B", "?&vaultId=v&", "?vaultId=a=b"] {
        assert_eq!(
            send(signed_in("DELETE", &format!("/api/vault/oidc/escrow{query}"))).await.status,
            503,
            "{query}"
        );
    }
}

#[tokio::test]
async fn an_oidc_token_is_refused_before_the_database_is_asked() {
    let large = "x".repeat(16 * 1024 + 1);
    for (token, status, code) in [
        ("", 401, "token_malformed"),
        ("a.b.c", 401, "token_malformed"),
        ("a.b", 401, "token_malformed"),
        (&*large, 401, "token_too_large"),
    ] {
        for path in ["/api/vault/oidc", "/api/vault/oidc/pull"] {
            let body = json!({"oidcToken": token, "vaultId": "v", "env": null}).to_string();
            let reply = send(request().method("POST").path(path).body(body)).await;
            assert_eq!((reply.status, reply.code()), (status, code), "{path}");
        }
    }
}
