//! Tokens of a session end within the hour: how the next ones are got, and when a login is over.

use crate::support::Machine;
use crate::support::accounts::{Accounts, LATER, PAST, PAT, login_file};
use crate::support::gateway::refusal;
use crate::support::server::{Reply, Server};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Signed in, and the access token has ended by its date.
fn with_ended_token(accounts: &Accounts) -> Machine {
    accounts.kept().expires_at = PAST;
    let machine = accounts.signed_in();
    accounts.kept().expires_at = LATER;
    machine
}

fn kept(machine: &Machine, accounts: &Accounts) -> Value {
    let text = fs::read(login_file(machine, &accounts.server.url)).expect("there is a login");
    serde_json::from_slice(&text).expect("it is JSON")
}

/// The server's own view: nobody asked it for anything but this.
#[track_caller]
fn asked(accounts: &Accounts, before: usize, lines: &[&str]) {
    assert_eq!(accounts.lines_after(before), lines);
}

#[test]
fn a_token_that_has_ended_is_renewed_before_it_is_used() {
    let accounts = Accounts::new();
    let machine = with_ended_token(&accounts);
    let before = accounts.count();
    machine.lpm("whoami").ok().hides("lpm_ref");
    asked(&accounts, before, &["POST /api/cli/refresh", "GET /api/registry/-/whoami"]);
    let request = &accounts.server.requests()[before];
    let fingerprint = hex::encode(openssl::sha::sha256(b"laptop:alice:lpm-cli"));
    assert_eq!(request.json(), json!({"refreshToken": "lpm_ref_1", "deviceFingerprint": fingerprint}));
    assert_eq!(request.header("authorization"), None);
    let kept = kept(&machine, &accounts);
    assert_eq!(kept["tokens"], json!({"access": "lpm_ses_2", "refresh": "lpm_ref_2"}));
    let file = login_file(&machine, &accounts.server.url);
    assert_eq!(fs::metadata(file).expect("it exists").permissions().mode() & 0o777, 0o600);
    let before = accounts.count();
    machine.lpm("whoami").ok();
    asked(&accounts, before, &["GET /api/registry/-/whoami"]);
}

#[test]
fn a_token_about_to_end_is_renewed_and_one_that_is_not_is_kept() {
    for (text, renewed) in [
        ("2020-01-01T00:00:00Z", true),
        ("2020-01-01T00:00:00.123456+00:00", true),
        ("2999-01-01T00:00:00.123456+00:00", false),
        ("2999-01-01T00:00:00Z", false),
        // Nobody knows: the server will say.
        ("soon", false),
        ("", false),
    ] {
        let accounts = Accounts::new();
        let machine = accounts.signed_in();
        let mut login = kept(&machine, &accounts);
        login["expiresAt"] = json!(text);
        fs::write(login_file(&machine, &accounts.server.url), login.to_string()).expect("written");
        machine.lpm("whoami").ok();
        let lines = accounts.server.lines();
        assert_eq!(lines.iter().any(|line| line.ends_with("/refresh")), renewed, "{text}");
    }
}

#[test]
fn several_processes_at_once_renew_once() {
    let accounts = Accounts::new();
    let machine = with_ended_token(&accounts);
    let before = accounts.count();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..6).map(|_| scope.spawn(|| machine.lpm("whoami").ok())).collect();
        runs.into_iter().for_each(|run| drop(run.join().expect("it ends")));
    });
    let lines = accounts.lines_after(before);
    assert_eq!(lines.iter().filter(|line| line.ends_with("/refresh")).count(), 1, "{lines:?}");
    assert_eq!(lines.len(), 7);
}

#[test]
fn a_token_that_the_server_does_not_know_is_renewed_once_and_the_request_repeated() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    machine.lpm("env set LOCAL=1").ok();
    machine.replace_key(crate::support::gateway::WRAPPING_KEY);
    machine.forget_secrets();
    accounts.kept().access.clear();
    let before = accounts.count();
    // The answer is signed with the new token.
    machine.lpm("env pull").ok();
    let pull = "GET /api/vaults/v%2F1/sync";
    asked(&accounts, before, &[pull, "POST /api/cli/refresh", pull]);
    let requests = accounts.server.requests();
    let bearer = |at: usize| requests[before + at].header("authorization").map(str::to_owned);
    assert_eq!(bearer(0).as_deref(), Some("Bearer lpm_ses_1"));
    assert_eq!(bearer(2).as_deref(), Some("Bearer lpm_ses_2"));
}

#[test]
fn a_new_token_that_is_refused_too_is_not_renewed_again() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    accounts.kept().instead.push(("/-/whoami", || refusal(401, "unauthorized", "no valid token")));
    let before = accounts.count();
    machine.lpm("whoami").refused(3, "no valid token");
    let whoami = "GET /api/registry/-/whoami";
    asked(&accounts, before, &[whoami, "POST /api/cli/refresh", whoami]);
}

#[test]
fn a_session_that_has_ended_is_forgotten_and_the_text_says_what_to_run() {
    for early in [true, false] {
        let accounts = Accounts::new();
        let machine = if early { with_ended_token(&accounts) } else { accounts.signed_in() };
        let mut kept = accounts.kept();
        kept.access.clear();
        kept.refresh.clear();
        drop(kept);
        let run = machine.lpm("whoami").refused(3, "has ended, and was removed from this machine");
        assert!(run.stderr.contains("hint: run `lpm login`"), "{}", run.stderr);
        assert!(!login_file(&machine, &accounts.server.url).exists());
        let before = accounts.count();
        machine.lpm("whoami").refused(3, "you are not signed in at `");
        asked(&accounts, before, &[]);
    }
}

#[test]
fn a_session_that_somebody_else_used_says_so() {
    let accounts = Accounts::new();
    let machine = with_ended_token(&accounts);
    let said = "the login session has been ended, because an old refresh token of it was used again";
    accounts.kept().instead.push(("/refresh", || {
        refusal(
            401,
            "session_reused",
            "the login session has been ended, because an old refresh token of it was used again",
        )
    }));
    machine.lpm("whoami").refused(3, said);
    assert!(!login_file(&machine, &accounts.server.url).exists());
}

#[test]
fn a_server_that_cannot_renew_now_ends_nothing() {
    for (reply, code) in [
        ((|| Reply::new(500, "")) as fn() -> Reply, 4),
        (|| refusal(403, "plan_sync", "no"), 3),
        (|| refusal(429, "busy", "no").with("Retry-After", "100"), 4),
        (|| Reply::new(200, "{}"), 1),
        (|| Reply::new(200, r#"{"token":"","refreshToken":"","expiresAt":""}"#), 1),
        (|| Reply::new(302, "").with("Location", "https://evil.example"), 1),
    ] {
        let accounts = Accounts::new();
        let machine = with_ended_token(&accounts);
        let before = kept(&machine, &accounts);
        accounts.kept().instead.push(("/refresh", reply));
        let run = machine.lpm("whoami");
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        assert_eq!(kept(&machine, &accounts), before);
        accounts.kept().instead.clear();
        machine.lpm("whoami").ok();
    }
}

#[test]
fn without_a_server_a_login_stays() {
    let accounts = Accounts::new();
    let machine = with_ended_token(&accounts);
    let away = "http://127.0.0.1:9";
    let mut login = kept(&machine, &accounts);
    login["registry"] = json!(away);
    let file = login_file(&machine, away);
    fs::write(&file, login.to_string()).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
    machine.lpm(&format!("whoami --registry-url={away}")).refused(4, "cannot reach the server");
    assert!(file.exists());
}

#[test]
fn what_is_no_session_is_not_renewed() {
    let accounts = Accounts::new();
    let machine = accounts.machine();
    machine.input(&["login", "--with-token"], PAT).ok();
    accounts.kept().access.clear();
    let before = accounts.count();
    machine.lpm("whoami").refused(3, "no valid token");
    asked(&accounts, before, &["GET /api/registry/-/whoami"]);
    assert!(login_file(&machine, &accounts.server.url).exists(), "only the user throws a token away");

    // A token of LPM_TOKEN is nobody's login, even where it looks like one.
    let machine = accounts.signed_in().with("LPM_TOKEN", "lpm_ses_9");
    let before = accounts.count();
    machine.lpm("whoami").refused(3, "no valid token");
    asked(&accounts, before, &["GET /api/registry/-/whoami"]);
}

#[test]
fn a_ci_pull_neither_uses_nor_renews_a_login() {
    let accounts = Accounts::new();
    accounts
        .kept()
        .instead
        .push(("/oidc/pull", || refusal(401, "token_signature", "the signature does not hold")));
    let machine = accounts.signed_in().with("LPM_OIDC_TOKEN", "jwt");
    let before = accounts.count();
    machine.lpm("env pull --oidc --env=production").refused(3, "the signature does not hold");
    asked(&accounts, before, &["POST /api/vault/oidc/pull"]);
    assert_eq!(accounts.server.requests()[before].header("authorization"), None);
}

#[test]
fn a_login_that_others_can_read_is_refused() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let file = login_file(&machine, &accounts.server.url);
    for mode in [0o640, 0o604, 0o660, 0o644] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("set");
        let before = accounts.count();
        machine.lpm("whoami").refused(1, "can be read by others").hides("lpm_ses_1");
        asked(&accounts, before, &[]);
    }
    // A new login replaces it.
    accounts.sign_in(&machine);
    machine.lpm("whoami").ok();
    assert_eq!(fs::metadata(&file).expect("it exists").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_no_login_here_is_refused_without_being_shown() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let file = login_file(&machine, &accounts.server.url);
    let mut elsewhere = kept(&machine, &accounts);
    elsewhere["registry"] = json!("https://evil.example");
    for text in
        [String::new(), "hush".into(), r#"{"tokens":{"access":"hush"}}"#.into(), elsewhere.to_string()]
    {
        fs::write(&file, &text).expect("written");
        let before = accounts.count();
        machine.lpm("whoami").refused(1, "is not a login at `").hides("hush").hides("lpm_ses_1");
        asked(&accounts, before, &[]);
    }
    machine.lpm("logout").ok();
    machine.lpm("whoami").refused(3, "you are not signed in at `");
}

#[test]
fn a_login_in_a_keychain_that_is_gone_is_named() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let file = login_file(&machine, &accounts.server.url);
    let mut login = kept(&machine, &accounts);
    login.as_object_mut().expect("an object").remove("tokens");
    fs::write(&file, login.to_string()).expect("written");
    let run = machine.lpm("whoami").refused(1, "is in this machine's keychain, which cannot be asked now");
    assert!(run.stderr.contains("`lpm login` here"), "{}", run.stderr);
    machine.lpm("logout").ok();
    assert!(!file.exists());
}

#[test]
fn what_lpm_keychain_says_is_understood_or_refused() {
    let accounts = Accounts::new();
    for (value, code, said) in [
        ("yes", 2, "LPM_KEYCHAIN must be `auto`, `on` or `off`"),
        ("OFF", 2, "LPM_KEYCHAIN must be `auto`, `on` or `off`"),
        ("on", 1, "LPM_KEYCHAIN is `on`, but no keychain answers"),
    ] {
        let machine = accounts.machine().with("LPM_KEYCHAIN", value);
        machine.input(&["login", "--with-token"], PAT).refused(code, said);
        assert!(!login_file(&machine, &accounts.server.url).exists(), "{value}");
    }
    for value in ["", "auto", "off"] {
        let machine = accounts.machine().with("LPM_KEYCHAIN", value);
        machine.input(&["login", "--with-token"], PAT).ok();
    }
}

#[test]
fn a_token_goes_to_no_server_that_only_looks_like_the_gateway() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let other = Server::always(200, "{}");
    machine.lpm(&format!("whoami --registry-url={}", other.url)).refused(3, "you are not signed in");
    assert!(other.lines().is_empty());
}
