//! Sign-ins that do not come about: nothing is kept, and what was there stays.

use crate::support::accounts::{Accounts, CODE, login_file};
use crate::support::gateway::{ME, refusal};
use crate::support::server::{Reply, Server};
use crate::support::{Machine, Run};
use std::time::{Duration, Instant};

fn nothing_is_kept(machine: &Machine, accounts: &Accounts) {
    assert!(!login_file(machine, &accounts.server.url).exists());
    machine.lpm("whoami").refused(3, "you are not signed in at `");
}

fn comes_back(machine: &Machine, parameters: &str) -> Run {
    let waiting = machine.sign_in("login --no-browser");
    waiting.comes_back(parameters);
    waiting.ends()
}

#[test]
fn the_browser_can_refuse() {
    let accounts = Accounts::new();
    let machine = accounts.machine();
    comes_back(&machine, "error=access_denied").refused(3, "refused in the browser: access_denied");
    let run = comes_back(&machine, "error=%1b%5b2Jgone");
    run.refused(3, "refused in the browser: \\u{1b}[2Jgone");
    nothing_is_kept(&machine, &accounts);
    assert!(!accounts.server.lines().iter().any(|line| line.ends_with("/exchange")));
}

#[test]
fn a_code_that_the_server_does_not_know_signs_nobody_in() {
    let accounts = Accounts::new();
    let machine = accounts.machine();
    let run =
        comes_back(&machine, "code=lpm_code_hush").refused(3, "the login code is unknown, used or expired");
    run.hides("lpm_code_hush");
    nothing_is_kept(&machine, &accounts);
}

#[test]
fn a_code_is_good_once() {
    let accounts = Accounts::new();
    let machine = accounts.machine();
    comes_back(&machine, &format!("code={CODE}")).ok();
    machine.lpm("logout").ok();
    comes_back(&machine, &format!("code={CODE}")).refused(3, "the login code is unknown, used or expired");
    nothing_is_kept(&machine, &accounts);
}

#[test]
fn a_session_that_is_nobodys_is_not_kept_but_ended() {
    for (reply, code) in [
        ((|| refusal(403, "token_scope", "this token may only wait")) as fn() -> Reply, 3),
        (|| Reply::new(200, "{}"), 1),
        (|| Reply::new(500, ""), 4),
    ] {
        let accounts = Accounts::new();
        let machine = accounts.machine();
        let waiting = machine.sign_in("login --no-browser");
        accounts.kept().instead.push(("/-/whoami", reply));
        waiting.comes_back(&format!("code={CODE}"));
        let run = waiting.ends().hides("lpm_ses_1");
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        let last = accounts.server.requests().pop().expect("a request");
        assert_eq!(last.line, format!("DELETE /api/cli/sessions/{ME}"));
        accounts.kept().instead.clear();
        nothing_is_kept(&machine, &accounts);
    }
}

#[test]
fn an_answer_without_tokens_is_no_session() {
    for reply in [
        (|| Reply::new(200, "{}")) as fn() -> Reply,
        || Reply::new(200, r#"{"token":"hush"}"#),
        || Reply::new(200, r#"{"token":"","refreshToken":"hush","expiresAt":"x"}"#),
        || Reply::new(200, r#"{"token":"hush","refreshToken":"","expiresAt":"x"}"#),
        || Reply::new(200, "hush"),
    ] {
        let accounts = Accounts::new();
        let machine = accounts.machine();
        accounts.kept().instead.push(("/exchange", reply));
        comes_back(&machine, &format!("code={CODE}"))
            .refused(1, "the server's answer is not what this lpm expects")
            .hides("hush");
        nothing_is_kept(&machine, &accounts);
    }
}

#[test]
fn nobody_waits_longer_than_asked() {
    let accounts = Accounts::new();
    let machine = accounts.machine();
    let begun = Instant::now();
    let waiting = machine.sign_in("login --no-browser --wait=1");
    let silent = waiting.connect().expect("it listens");
    let run = waiting.ends().refused(1, "nobody signed in within 1 seconds");
    assert!(run.stderr.contains("--with-token"), "{}", run.stderr);
    assert!(begun.elapsed() < Duration::from_secs(30));
    drop(silent);
    nothing_is_kept(&machine, &accounts);
}

#[test]
fn nobody_is_sent_to_a_server_that_is_not_there() {
    let begun = Instant::now();
    let machine = Machine::new().with("LPM_REGISTRY_URL", "http://127.0.0.1:9");
    for command in ["login", "login --no-browser"] {
        machine.lpm(command).refused(4, "cannot reach the server").hides("/cli/login");
    }
    machine
        .input(&["login", "--with-token"], "lpm_pat_hush")
        .refused(4, "cannot reach the server")
        .hides("hush");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn nobody_is_sent_to_a_server_that_is_no_gateway() {
    for (reply, code, said) in [
        ((|| Reply::new(404, "<html>")) as fn() -> Reply, 1, "no gateway that one can sign in at"),
        (
            || Reply::new(302, "").with("Location", "https://evil.example/x"),
            1,
            "redirects to `https://evil.example`",
        ),
        (|| Reply::new(503, ""), 4, "the server answered 503"),
    ] {
        let server = Server::new(move |_, _| reply());
        let machine = Machine::new().with("LPM_REGISTRY_URL", &server.url);
        machine.lpm("login --no-browser").refused(code, said).hides("/cli/login");
        machine.input(&["login", "--with-token"], "lpm_pat_hush").hides("hush");
    }
}

#[test]
fn a_code_does_not_follow_a_redirect() {
    let evil = Server::always(200, r#"{"token":"t","refreshToken":"r","expiresAt":"x"}"#);
    let to = evil.url.clone();
    let server = Server::new(move |request, _| match request.line.as_str() {
        "POST /api/cli/exchange" => Reply::new(307, "").with("Location", format!("{to}/api/cli/exchange")),
        _ => refusal(401, "unauthorized", "no valid token"),
    });
    let machine = Machine::new().with("LPM_REGISTRY_URL", &server.url);
    comes_back(&machine, &format!("code={CODE}")).refused(1, "which is not followed");
    assert!(evil.lines().is_empty());
}

#[test]
fn plain_http_is_refused_before_anything_else() {
    for command in ["login", "login --no-browser", "login --with-token", "whoami", "token-rotate", "sessions"]
    {
        let run = Machine::new()
            .with("LPM_TOKEN", "hush")
            .lpm(&format!("{command} --registry-url=http://lpm.example.com"));
        run.refused(2, "plain http://").hides("hush");
    }
}

#[test]
fn a_token_that_is_none_is_not_kept() {
    let accounts = Accounts::new();
    let machine = accounts.machine();
    for (input, code, said) in [
        ("lpm_pat_hush\n", 3, "no valid token"),
        ("", 2, "holds no token, or more than one"),
        (" \n\n", 2, "holds no token, or more than one"),
        ("lpm_pat_hush lpm_pat_hush", 2, "holds no token, or more than one"),
        ("lpm_pat_hush\nlpm_pat_hush\n", 2, "holds no token, or more than one"),
        ("lpm_pat_h\u{1}ush", 2, "characters that no token has"),
    ] {
        machine.input(&["login", "--with-token"], input).refused(code, said).hides("lpm_pat_h");
    }
    machine.args(&["login", "--with-token=hush"]).refused(2, "unexpected value '…'").hides("hush");
    machine.args(&["login", "hush"]).refused(2, "unexpected argument 'word 2 after `lpm`'").hides("hush");
    machine.args(&["login", "--with-token", "--no-browser"]).refused(2, "cannot be used with");
    nothing_is_kept(&machine, &accounts);
}

#[test]
fn a_sessions_token_is_no_personal_access_token() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let other = accounts.machine();
    let run = other.input(&["login", "--with-token"], "lpm_ses_1");
    run.refused(2, "that is the token of a login session").hides("lpm_ses_1");
    nothing_is_kept(&other, &accounts);
    machine.lpm("whoami").ok();
}

#[test]
fn a_sign_in_that_fails_leaves_the_one_before() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    comes_back(&machine, "code=lpm_code_hush").refused(3, "the login code is unknown");
    machine.input(&["login", "--with-token"], "lpm_pat_hush").refused(3, "no valid token");
    machine.lpm("whoami").ok();
    assert!(!accounts.server.lines().iter().any(|line| line.starts_with("DELETE")));
}
