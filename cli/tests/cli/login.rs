//! `lpm login` as it should go: the page, the browser that comes back, and what is kept.

use crate::support::accounts::{Accounts, CODE, LATER, PAT, login_file};
use crate::support::gateway::{ME, WRAPPING_KEY};
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode()
        & 0o777
}

#[test]
fn the_page_learns_where_to_send_the_browser_and_what_the_machine_is_called() {
    let accounts = Accounts::new();
    let waiting = accounts.machine().with("HOSTNAME", "my laptop").sign_in("login --no-browser");
    assert!(
        waiting.page.starts_with(&format!("{}/cli/login?port=", accounts.server.url)),
        "{}",
        waiting.page
    );
    let state = waiting.parameter("state");
    assert!(state.len() == 32 && state.bytes().all(|b| b.is_ascii_hexdigit()), "{state}");
    let fingerprint = openssl::sha::sha256(b"my laptop:alice:lpm-cli");
    assert_eq!(waiting.parameter("fp"), hex::encode(fingerprint));
    assert_eq!(waiting.parameter("dn"), "my+laptop");
    let other = accounts.machine().sign_in("login --no-browser");
    assert_ne!(other.parameter("state"), state);
    for waiting in [waiting, other] {
        waiting.comes_back("error=x");
        waiting.ends().refused(3, "the sign-in was refused in the browser: x");
    }
}

#[test]
fn who_signed_in_can_do_what_a_token_can() {
    let accounts = Accounts::new();
    let machine = accounts.machine();
    let waiting = machine.sign_in("login --no-browser");
    let answer = waiting.comes_back(&format!("code={CODE}"));
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("You can close this window"),
        "{answer}"
    );
    let run = waiting.ends().ok().hides("lpm_ses_1").hides("lpm_ref_1").hides(CODE);
    assert!(
        run.stderr.contains(&format!("lpm: signed in at {} as alice\n", accounts.server.url)),
        "{}",
        run.stderr
    );
    assert_eq!(
        accounts.server.lines(),
        ["GET /api/registry/-/whoami", "POST /api/cli/exchange", "GET /api/registry/-/whoami"]
    );
    assert_eq!(accounts.server.requests()[1].json(), json!({"code": CODE}));

    let file = login_file(&machine, &accounts.server.url);
    assert_eq!((mode(&file), mode(file.parent().expect("a directory"))), (0o600, 0o700));
    machine.lpm("env set LOCAL=1").ok();
    machine.replace_key(WRAPPING_KEY);
    machine.forget_secrets();
    machine.lpm("env pull").ok();
    machine.lpm("env get API_KEY --env=production").prints("sk-live\n");
    let last = accounts.server.requests().pop().expect("a request");
    assert_eq!(last.header("authorization"), Some("Bearer lpm_ses_1"));
}

#[test]
fn as_json_a_login_is_one_document_without_tokens() {
    let accounts = Accounts::new();
    let waiting = accounts.machine().sign_in("login --no-browser --json");
    waiting.comes_back(&format!("code={CODE}"));
    let document = json!({"success": true, "registry": accounts.server.url, "username": "alice", "session": true,
                          "expiresAt": LATER, "keptIn": "file"});
    assert_eq!(waiting.ends().ok().json(), document);
}

#[test]
fn the_last_page_has_no_script_and_is_nobodys_to_keep() {
    let accounts = Accounts::new();
    let waiting = accounts.machine().sign_in("login --no-browser");
    let answer = waiting.comes_back(&format!("code={CODE}"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    for line in [
        "Content-Security-Policy: default-src 'none';",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
    ] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!body.contains("<script") && !body.contains(CODE), "{body}");
    waiting.ends().ok();
}

#[test]
fn what_browsers_do_besides_does_not_end_the_wait() {
    let accounts = Accounts::new();
    let waiting = accounts.machine().sign_in("login --no-browser");
    // Connections that are opened early and say nothing, or not all of it.
    let silent: Vec<_> = (0..8).map(|_| waiting.connect().expect("it listens")).collect();
    let mut half = waiting.connect().expect("it listens");
    half.write_all(b"GET /callback?code=").expect("it reads");
    for (method, target, status) in [
        ("GET", "/favicon.ico", "404 "),
        ("GET", "/", "404 "),
        ("GET", "/callback/x", "404 "),
        ("POST", "/callback", "405 "),
        ("OPTIONS", "/callback", "405 "),
        ("GET", "/callback", "400 "),
    ] {
        let answer = waiting.request(method, target);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {target}: {answer}");
    }
    let mut large = waiting.connect().expect("it listens");
    let _ = large.write_all(&[b'a'; 9000]);
    assert_eq!(large.read(&mut [0; 1]).unwrap_or(0), 0, "a head without end is not read");
    waiting.comes_back(&format!("code={CODE}"));
    waiting.ends().ok();
    drop(silent);
}

#[test]
fn another_state_is_a_strangers_and_the_wait_goes_on() {
    let accounts = Accounts::new();
    let waiting = accounts.machine().sign_in("login --no-browser");
    let state = waiting.parameter("state");
    for target in [
        "/callback?code=evil".to_owned(),
        format!("/callback?code=evil&state={}", "0".repeat(32)),
        format!("/callback?code=evil&state={}", &state[..31]),
        format!("/callback?code=evil&state={state}&state={state}"),
        format!("/callback?error=no&state={}", "0".repeat(32)),
        format!("/callback?token=lpm_pat_evil&state={state}"),
        format!("/callback?code=evil&code={CODE}&state={state}"),
    ] {
        let answer = waiting.request("GET", &target);
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("Not this sign-in"),
            "{target}: {answer}"
        );
    }
    waiting.comes_back(&format!("code={CODE}"));
    waiting.ends().ok();
    let sent = accounts.server.requests().into_iter().filter(|request| request.line.ends_with("/exchange"));
    assert_eq!(sent.map(|request| request.json()).collect::<Vec<_>>(), [json!({"code": CODE})]);
}

#[test]
fn the_first_sign_in_counts_and_nobody_listens_any_more() {
    let accounts = Accounts::new();
    let waiting = accounts.machine().sign_in("login --no-browser");
    waiting.comes_back(&format!("code={CODE}"));
    if let Ok(mut stream) = waiting.connect() {
        let second =
            format!("GET /callback?code=second&state={} HTTP/1.1\r\n\r\n", waiting.parameter("state"));
        let _ = stream.write_all(second.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 409 "), "{answer}");
    }
    waiting.ends().ok();
    assert_eq!(accounts.server.lines().iter().filter(|line| line.ends_with("/exchange")).count(), 1);
}

#[test]
fn the_browser_is_opened_with_the_address_and_without_tokens() {
    let accounts = Accounts::new();
    let machine = accounts.machine();
    let programs = machine.home().join("bin");
    fs::create_dir(&programs).expect("it can be made");
    let script = "#!/bin/sh\nenv > \"$HOME/env\"\nprintf '%s' \"$*\" > \"$HOME/opened.new\"; mv \"$HOME/opened.new\" \"$HOME/opened\"\n";
    fs::write(programs.join("xdg-open"), script).expect("it can be written");
    fs::set_permissions(programs.join("xdg-open"), fs::Permissions::from_mode(0o755)).expect("set");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let machine = machine
        .with("PATH", &path)
        .with("DISPLAY", ":0")
        .with("LPM_TOKEN", "hush")
        .with("LPM_OIDC_TOKEN", "hush")
        .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hush");
    let waiting = machine.sign_in("login");
    waiting.comes_back(&format!("code={CODE}"));
    let page = waiting.page.clone();
    let run = waiting.ends().ok();
    assert!(run.stderr.contains("warning: LPM_TOKEN is set and wins over this login"), "{}", run.stderr);
    let opened = machine.home().join("opened");
    let patience = std::time::Instant::now();
    while !opened.exists() && patience.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(fs::read_to_string(&opened).expect("it was opened"), page);
    assert!(!fs::read_to_string(machine.home().join("env")).expect("it ran").contains("hush"));
}

#[test]
fn a_new_login_ends_the_one_before_it() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let before = accounts.count();
    accounts.sign_in(&machine);
    let lines = accounts.lines_after(before);
    assert_eq!(lines.last(), Some(&format!("DELETE /api/cli/sessions/{ME}")));
    let ended = accounts.server.requests().pop().expect("a request");
    assert_eq!(ended.header("authorization"), Some("Bearer lpm_ses_1"));
    machine.lpm("whoami").ok();
    let last = accounts.server.requests().pop().expect("a request");
    assert_eq!(last.header("authorization"), Some("Bearer lpm_ses_2"));
}

#[test]
fn each_gateway_has_a_login_of_its_own() {
    let (first, second) = (Accounts::new(), Accounts::new());
    let machine = first.signed_in();
    let elsewhere = format!("whoami --registry-url={}", second.server.url);
    machine.lpm(&elsewhere).refused(3, "you are not signed in at `");
    assert!(second.server.lines().is_empty(), "no token goes to another gateway");
    // Keyed by the address exactly as it is given.
    machine.lpm(&format!("whoami --registry-url={}/", first.server.url)).refused(3, "you are not signed in");
    machine.lpm("whoami").ok();
}

#[test]
fn whoami_says_who_and_by_what() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let run = machine.lpm("whoami").ok();
    assert!(
        run.stdout.starts_with(&format!("alice at {}\n  plan: org\n", accounts.server.url)),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("signed in with a login session") && run.stdout.contains("admin of acme"));
    assert_eq!(machine.lpm("whoami --json").ok().json()["username"], "alice");
    let run = machine.with("LPM_TOKEN", PAT).lpm("whoami").ok();
    assert!(run.stdout.contains("signed in with the token of LPM_TOKEN"), "{}", run.stdout);
}

#[test]
fn a_personal_access_token_is_kept_where_no_browser_is() {
    let accounts = Accounts::new();
    let machine = accounts.machine();
    let run = machine.input(&["login", "--with-token"], &format!("{PAT}\n")).ok().hides(PAT);
    assert!(run.stderr.contains("as alice"), "{}", run.stderr);
    assert_eq!(accounts.server.lines(), ["GET /api/registry/-/whoami"]);
    assert_eq!(mode(&login_file(&machine, &accounts.server.url)), 0o600);
    let run = machine.lpm("whoami").ok();
    assert!(run.stdout.contains("signed in with a personal access token"), "{}", run.stdout);
}

#[test]
fn lpm_token_wins_over_the_login() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in().with("LPM_TOKEN", PAT);
    machine.lpm("whoami").ok();
    let last = accounts.server.requests().pop().expect("a request");
    assert_eq!(last.header("authorization"), Some(format!("Bearer {PAT}").as_str()));
}

#[test]
fn the_published_clients_credentials_are_left_alone() {
    let accounts = Accounts::new();
    let machine = accounts.machine();
    let directory = machine.home().join(".lpm");
    fs::create_dir(&directory).expect("it can be made");
    let files = [".credentials", ".key", ".salt", ".token-expiry.json", ".x25519_key"];
    for file in files {
        fs::write(directory.join(file), format!("theirs: {file}")).expect("it can be written");
    }
    accounts.sign_in(&machine);
    machine.lpm("token-rotate").ok();
    machine.lpm("logout --revoke").ok();
    for file in files {
        let text = fs::read_to_string(directory.join(file)).expect("it is there");
        assert_eq!(text, format!("theirs: {file}"));
    }
}
