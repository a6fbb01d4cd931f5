//! The sign-in page: what it shows, what it refuses, and where it sends the browser.

use anyhow::Result;
use lpm_tests::gateway::Reply;
use lpm_tests::signin::{SignIn, code_in, with_form};
use lpm_tests::stack::Stack;
use reqwest::Method;

const STATE: &str = "0123456789abcdef0123456789abcdef";

/// What a browser says of where a form comes from.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// A page as every answer of this path has to be.
fn is_a_safe_page(case: &str, reply: &Reply) {
    let policy = reply.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{case}: {policy}");
    assert!(policy.contains("form-action 'self' http://127.0.0.1:*;"), "{case}: {policy}");
    assert!(policy.contains("frame-ancestors 'none'; base-uri 'none'"), "{case}: {policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("script"), "{case}: {policy}");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(reply.header(name), value, "{case}");
    }
    let page = reply.text();
    assert!(page.starts_with("<!DOCTYPE html>"), "{case}: {page}");
    for never in ["<script", "javascript:", "onerror=", "onload=", "src=", "http-equiv", "<a ", "<iframe"] {
        assert!(!page.to_lowercase().contains(never), "{case} holds {never}: {page}");
    }
    assert!(!reply.header("x-request-id").is_empty(), "{case}");
}

#[tokio::test]
async fn the_page_shows_which_device_asks_and_a_form_without_scripts() -> Result<()> {
    let stack = Stack::new().await?;
    let reply = stack.gateway.get(&SignIn::default().path(), None).await?;
    assert_eq!(reply.status, 200);
    is_a_safe_page("the page", &reply);
    let page = reply.text();
    for part in [
        "<strong>build-box</strong> asks to be signed in",
        "waits on port 41234 of this computer",
        "Go on only if you have just started it yourself.",
        r#"<form method="post">"#,
        r#"<label for="token">Personal access token</label>"#,
        r#"autocomplete="off""#,
        " autofocus",
        r#"type="password""#,
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    Ok(())
}

#[tokio::test]
async fn a_link_that_no_command_line_makes_is_refused_in_words() -> Result<()> {
    let stack = Stack::new().await?;
    let good = format!("port=8123&state={STATE}");
    let long = "x".repeat(257);
    for (case, query, reason) in [
        ("nothing", String::new(), "The parameter <code>port</code> is missing."),
        ("no port", format!("state={STATE}"), "The parameter <code>port</code> is missing."),
        ("an empty port", format!("port=&state={STATE}"), "The parameter <code>port</code> is empty."),
        (
            "port 0",
            format!("port=0&state={STATE}"),
            "The parameter <code>port</code> is not a port: 1 to 65535.",
        ),
        (
            "port 65536",
            format!("port=65536&state={STATE}"),
            "The parameter <code>port</code> is not a port: 1 to 65535.",
        ),
        (
            "a negative port",
            format!("port=-1&state={STATE}"),
            "The parameter <code>port</code> is not a port: 1 to 65535.",
        ),
        (
            "a port with a sign",
            format!("port=%2B80&state={STATE}"),
            "The parameter <code>port</code> is not a port: 1 to 65535.",
        ),
        (
            "a host behind the port",
            format!("port=80@evil.example&state={STATE}"),
            "The parameter <code>port</code> is not a port: 1 to 65535.",
        ),
        (
            "a long port",
            format!("port=000080&state={STATE}"),
            "The parameter <code>port</code> is not a port: 1 to 65535.",
        ),
        ("two ports", format!("port=1&port=2&state={STATE}"), "The parameter <code>port</code> comes twice."),
        ("no state", "port=8123".to_owned(), "The parameter <code>state</code> is missing."),
        (
            "a short state",
            format!("port=8123&state={}", &STATE[1..]),
            "The parameter <code>state</code> is not 32 hex digits.",
        ),
        (
            "a long state",
            format!("port=8123&state={STATE}0"),
            "The parameter <code>state</code> is not 32 hex digits.",
        ),
        (
            "a state that is no hex",
            format!("port=8123&state={}g", &STATE[1..]),
            "The parameter <code>state</code> is not 32 hex digits.",
        ),
        (
            "a state with a line break",
            format!("port=8123&state={}%0d%0aX:%201", &STATE[..24]),
            "The parameter <code>state</code> is not 32 hex digits.",
        ),
        ("two states", format!("{good}&state={STATE}"), "The parameter <code>state</code> comes twice."),
        (
            "a fingerprint that is none",
            format!("{good}&fp=abc"),
            "The parameter <code>fp</code> is not 64 hex digits.",
        ),
        (
            "a device that is no UTF-8",
            format!("{good}&dn=%ff"),
            "The parameter <code>dn</code> is not UTF-8.",
        ),
        ("a device with U+0000", format!("{good}&dn=a%00"), "The parameter <code>dn</code> holds U+0000."),
        (
            "a long device",
            format!("{good}&dn={long}"),
            "The parameter <code>dn</code> is longer than 256 bytes.",
        ),
        ("two devices", format!("{good}&dn=a&dn=b"), "The parameter <code>dn</code> comes twice."),
    ] {
        for method in [Method::GET, Method::POST] {
            let request = stack.gateway.request(method.clone(), &format!("/cli/login?{query}"));
            let request = request.header("sec-fetch-site", "same-origin");
            let request =
                if method == Method::POST { with_form(request, &stack.seed.alice) } else { request };
            let reply = Reply::read(request.send().await?).await?;
            assert_eq!(reply.status, 400, "{method} {case}");
            is_a_safe_page(case, &reply);
            let page = reply.text();
            assert!(page.contains(reason), "{method} {case}: {page}");
            assert!(page.contains("lpm login") && !page.contains("<form"), "{method} {case}: {page}");
            assert_eq!(reply.header("location"), "", "{method} {case}");
        }
    }
    assert_eq!(stack.database().value("select count(*) from lpm.login_code")?, "0");
    Ok(())
}

#[tokio::test]
async fn a_device_name_is_text_whatever_it_holds() -> Result<()> {
    let stack = Stack::new().await?;
    for (sent, shown) in [
        ("", "<strong>CLI</strong>"),
        ("%20", "<strong>CLI</strong>"),
        ("alice%27s+laptop", "<strong>alice's laptop</strong>"),
        ("%3Cscript%3Ealert(1)%3C/script%3E", "<strong>&lt;script&gt;alert(1)&lt;/script&gt;</strong>"),
        ("%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E", "<strong>&quot;&gt;&lt;img "),
        ("%3C/strong%3E%3C/main%3E", "<strong>&lt;/strong&gt;&lt;/main&gt;</strong>"),
        ("%26lt%3Bb%26gt%3B", "<strong>&amp;lt;b&amp;gt;</strong>"),
        ("a%E2%80%AEb", "<strong>a\\u{202e}b</strong>"),
        ("a%0d%0ab", "<strong>a\\u{d}\\u{a}b</strong>"),
        ("%E2%82%AC", "<strong>\u{20ac}</strong>"),
    ] {
        let reply = stack.gateway.get(&SignIn::device(sent).path(), None).await?;
        let page = reply.text();
        assert_eq!(reply.status, 200, "{sent}: {page}");
        assert!(page.contains(shown), "{sent}: {page}");
        assert!(!page.contains("<script") && !page.contains("<img"), "{sent}: {page}");
    }
    Ok(())
}

#[tokio::test]
async fn a_good_token_sends_the_browser_to_the_command_line_with_a_code_and_nothing_else() -> Result<()> {
    let stack = Stack::new().await?;
    let reply = SignIn::default().submit(&stack.gateway, &stack.seed.alice).await?;
    assert_eq!(reply.status, 303, "{}", reply.text());
    is_a_safe_page("the way back", &reply);
    let location = reply.header("location");
    let code = code_in(&location).unwrap_or_default();
    assert_eq!(location, format!("http://127.0.0.1:41234/callback?code={code}&state={STATE}"));
    // the listener reads 8 KiB and decodes nothing that it need not
    assert!(
        code.starts_with("lpm_code_") && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
        "{code}"
    );
    let page = reply.text();
    assert!(!page.contains(&code) && !page.contains(&stack.seed.alice), "{page}");
    assert_eq!(stack.database().value("select count(*) from lpm.session")?, "0", "nothing has begun yet");
    Ok(())
}

#[tokio::test]
async fn spaces_that_copying_brings_along_do_not_matter() -> Result<()> {
    let stack = Stack::new().await?;
    let reply = SignIn::default().submit(&stack.gateway, &format!(" \t{}\r\n", stack.seed.alice)).await?;
    assert_eq!(reply.status, 303, "{}", reply.text());
    Ok(())
}

#[tokio::test]
async fn a_token_that_cannot_sign_in_brings_the_form_back_with_the_reason() -> Result<()> {
    let stack = Stack::new().await?;
    let make = |name: &str, scope: &str| {
        stack
            .database()
            .value(&format!("select lpm.create_token('alice', name => '{name}', scope => '{scope}')"))
    };
    let (revoked, expired, none) = (make("revoked", "all")?, make("expired", "all")?, make("none", "none")?);
    stack.database().value("select lpm.revoke_tokens('alice', 'revoked')")?;
    stack.database().value(
        "update lpm.access_token set expires_at = clock_timestamp() where name = 'expired' returning 1",
    )?;
    let session = SignIn::default().session(&stack.gateway, &stack.seed.alice).await?;
    let unknown = lpm_core::bearer::token(lpm_core::bearer::Kind::PersonalAccess, &[7; 32]);
    let unknown = unknown.expose_str().unwrap_or_default().to_owned();
    let none_such = "The server knows no such token, or it has expired or been revoked.";
    let not_one = "That is no personal access token, or not all of it.";
    for (case, token, reason) in [
        ("nothing", String::new(), not_one),
        ("prose", "please".to_owned(), not_one),
        ("markup", "<script>alert(1)</script>".to_owned(), not_one),
        ("a cut token", stack.seed.alice[..40].to_owned(), not_one),
        ("a session's token", session.token, not_one),
        ("a refresh token", session.refresh, not_one),
        ("an unknown token", unknown, none_such),
        ("a revoked token", revoked, none_such),
        ("an expired token", expired, none_such),
        ("a token that may only say who it is", none, "This token may only say who you are."),
    ] {
        let before = stack.database().value("select count(*) from lpm.login_code")?;
        let reply = SignIn::default().submit(&stack.gateway, &token).await?;
        assert_eq!(reply.status, 403, "{case}");
        is_a_safe_page(case, &reply);
        let page = reply.text();
        assert!(page.contains(reason), "{case}: {page}");
        assert!(
            page.contains(r#"role="alert""#) && page.contains(r#"aria-invalid="true""#),
            "{case}: {page}"
        );
        assert!(page.contains(r#"<form method="post">"#), "{case}: {page}");
        assert!(token.is_empty() || !page.contains(&token), "{case}: the page repeats what was typed");
        assert_eq!(reply.header("location"), "", "{case}");
        assert_eq!(stack.database().value("select count(*) from lpm.login_code")?, before, "{case}");
    }
    // whose it was is known of the last one only
    assert_eq!(crate::trail(&stack, "session_begin")?, "done, denied token_scope");
    Ok(())
}

#[tokio::test]
async fn another_site_cannot_send_the_form() -> Result<()> {
    let stack = Stack::new().await?;
    let own = stack.gateway.url().to_owned();
    let host = own.trim_start_matches("http://").to_owned();
    let cases: [(&str, Headers<'_>, bool); 14] = [
        ("a browser on the page", &[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
        ("an old browser on the page", &[("origin", &own)], true),
        ("behind something that ends TLS", &[("origin", &format!("https://{host}"))], true),
        ("nothing", &[], false),
        ("another site", &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")], false),
        ("another site that claims our origin", &[("sec-fetch-site", "cross-site"), ("origin", &own)], false),
        ("a sibling", &[("sec-fetch-site", "same-site"), ("origin", &own)], false),
        ("no page at all", &[("sec-fetch-site", "none")], false),
        ("two answers", &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
        ("a sandbox in an old browser", &[("origin", "null")], false),
        ("another origin in an old browser", &[("origin", "https://evil.example")], false),
        ("another port", &[("origin", "http://127.0.0.1:1")], false),
        ("our name in front of another", &[("origin", &format!("{own}.evil.example"))], false),
        ("two origins", &[("origin", &own), ("origin", "https://evil.example")], false),
    ];
    for (case, headers, accepted) in cases {
        let mut request = stack.gateway.request(Method::POST, &SignIn::default().path());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = Reply::read(with_form(request, &stack.seed.alice).send().await?).await?;
        is_a_safe_page(case, &reply);
        if accepted {
            assert_eq!(reply.status, 303, "{case}: {}", reply.text());
        } else {
            assert_eq!(reply.status, 400, "{case}");
            assert!(
                reply.text().contains("sent from another page than this server"),
                "{case}: {}",
                reply.text()
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_no_form_of_the_page_is_refused() -> Result<()> {
    let stack = Stack::new().await?;
    let token = &stack.seed.alice;
    for (case, kind, body, status) in [
        ("json", "application/json", format!(r#"{{"token":"{token}"}}"#), 400),
        ("text", "text/plain", format!("token={token}"), 400),
        ("several parts", "multipart/form-data; boundary=x", format!("token={token}"), 400),
        ("no field", "application/x-www-form-urlencoded", "a=b".to_owned(), 400),
        ("the field twice", "application/x-www-form-urlencoded", format!("token={token}&token={token}"), 400),
        (
            "too much",
            "application/x-www-form-urlencoded",
            format!("token={token}&x={}", "x".repeat(4096)),
            413,
        ),
    ] {
        let request = stack.gateway.request(Method::POST, &SignIn::default().path());
        let request = request.header("sec-fetch-site", "same-origin").header("content-type", kind).body(body);
        let reply = Reply::read(request.send().await?).await?;
        assert_eq!(reply.status, status, "{case}: {}", reply.text());
        is_a_safe_page(case, &reply);
        assert!(!reply.text().contains(token.as_str()), "{case}");
    }
    Ok(())
}

#[tokio::test]
async fn what_else_is_asked_of_the_page_is_answered_to_a_person() -> Result<()> {
    let stack = Stack::new().await?;
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = stack.gateway.request(Method::try_from(method)?, &SignIn::default().path());
        let reply = Reply::read(request.send().await?).await?;
        assert_eq!((reply.status.as_u16(), reply.header("allow").as_str()), (405, "GET, POST"), "{method}");
        is_a_safe_page(method, &reply);
    }
    Ok(())
}

#[tokio::test]
async fn without_the_database_the_page_says_that_nobody_can_sign_in_right_now() -> Result<()> {
    let stack = Stack::new().await?;
    let login = &stack.seed.gateway_login.user;
    let superuser = lpm_tests::stack::shared().await?.cluster.database("postgres");
    superuser.value(&format!(
        "alter database {name} allow_connections false; select count(pg_terminate_backend(pid)) from pg_stat_activity
          where datname = '{name}' and usename = '{login}'",
        name = stack.database().name()
    ))?;
    let reply = SignIn::default().submit(&stack.gateway, &stack.seed.alice).await?;
    assert!(reply.status.is_server_error(), "{}", reply.status);
    is_a_safe_page("no database", &reply);
    assert!(reply.text().contains("Nobody can sign in right now"), "{}", reply.text());
    Ok(())
}
