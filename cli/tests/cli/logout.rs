//! `lpm logout`, `token-rotate` and `sessions`.

use crate::support::accounts::{Accounts, LATER, PAST, PAT, login_file};
use crate::support::gateway::{ME, OTHER, refusal};
use crate::support::server::Reply;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const REVOKE: &str = "POST /api/registry/tokens/revoke";
const LIST: &str = "GET /api/cli/sessions";
const UNPAIR: &str = "POST /api/vault/pair/revoke-all";

fn end_of_own() -> String {
    format!("DELETE /api/cli/sessions/{ME}")
}

#[test]
fn a_logout_ends_the_session_and_forgets_it() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let before = accounts.count();
    let run = machine.lpm("logout").ok();
    assert!(run.stderr.contains(&format!("lpm: signed out at {}", accounts.server.url)), "{}", run.stderr);
    // By its name: revoking its token would unpair browsers, too.
    assert_eq!(accounts.lines_after(before), [LIST.to_owned(), end_of_own()]);
    let request = accounts.server.requests().pop().expect("a request");
    assert_eq!(request.header("authorization"), Some("Bearer lpm_ses_1"));
    assert!(!login_file(&machine, &accounts.server.url).exists());
    machine.lpm("whoami").refused(3, "you are not signed in at `");
    let document =
        json!({"success": true, "registry": accounts.server.url, "removed": false, "ended": false});
    assert_eq!(machine.lpm("logout --json").ok().json(), document);
    assert!(machine.lpm("logout").ok().stderr.contains("nobody was signed in at"));
}

#[test]
fn with_revoke_browsers_are_unpaired_first() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let before = accounts.count();
    machine.lpm("logout --revoke").ok();
    assert_eq!(accounts.lines_after(before), [UNPAIR, REVOKE]);
}

#[test]
fn a_session_whose_token_has_ended_is_ended_by_the_next_one() {
    let accounts = Accounts::new();
    accounts.kept().expires_at = PAST;
    let machine = accounts.signed_in();
    let before = accounts.count();
    machine.lpm("logout").ok();
    assert_eq!(
        accounts.lines_after(before),
        ["POST /api/cli/refresh".to_owned(), LIST.to_owned(), end_of_own()]
    );
    let request = accounts.server.requests().pop().expect("a request");
    assert_eq!(request.header("authorization"), Some("Bearer lpm_ses_2"));
}

#[test]
fn whatever_the_server_says_this_machine_forgets() {
    for (case, reply) in [
        ("broken", (|| Reply::new(500, "")) as fn() -> Reply),
        ("refused", || refusal(403, "token_scope", "no")),
        ("gone", || Reply::none()),
        ("nonsense", || Reply::new(200, "hush")),
    ] {
        for (command, path) in [
            ("logout", "/cli/sessions"),
            ("logout", ME),
            ("logout --revoke", "/revoke-all"),
            ("logout --revoke", REVOKE),
        ] {
            let accounts = Accounts::new();
            let machine = accounts.signed_in();
            accounts.kept().instead.push((path, reply));
            let run = machine.lpm(command).ok().hides("lpm_ses_1").hides("hush");
            let said = "warning: the session could not be ended on the server";
            assert!(run.stderr.contains(said), "{case}, {path}: {}", run.stderr);
            assert!(!login_file(&machine, &accounts.server.url).exists(), "{case}, {path}");
        }
    }
    // One that the server has ended already needs no words.
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let mut kept = accounts.kept();
    kept.access.clear();
    kept.refresh.clear();
    drop(kept);
    let run = machine.lpm("logout").ok();
    assert!(!run.stderr.contains("warning") && run.stderr.contains("signed out at"), "{}", run.stderr);
}

#[test]
fn a_login_that_cannot_be_read_can_be_removed() {
    let accounts = Accounts::new();
    for (text, mode) in [("hush", 0o600), ("", 0o600), ("{}", 0o644)] {
        let machine = accounts.signed_in();
        let file = login_file(&machine, &accounts.server.url);
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("set");
        let run = machine.lpm("logout").ok().hides("hush");
        assert!(run.stderr.contains("was not ended"), "{}", run.stderr);
        assert!(!file.exists());
    }
}

#[test]
fn a_token_that_was_kept_ends_only_when_asked() {
    let accounts = Accounts::new();
    let machine = accounts.machine();
    machine.input(&["login", "--with-token"], PAT).ok();
    let before = accounts.count();
    let run = machine.lpm("logout").ok();
    assert!(run.stderr.contains("goes on: `lpm logout --revoke` ends it"), "{}", run.stderr);
    assert!(accounts.lines_after(before).is_empty());
    machine.input(&["login", "--with-token"], PAT).ok();
    machine.lpm("logout --revoke").ok();
    machine.input(&["login", "--with-token"], PAT).refused(3, "no valid token");
}

#[test]
fn lpm_token_is_not_signed_out() {
    let accounts = Accounts::new();
    let machine = accounts.machine().with("LPM_TOKEN", PAT);
    let run = machine.lpm("logout --revoke").ok();
    assert!(run.stderr.contains("LPM_TOKEN is still set, and is no login"), "{}", run.stderr);
    assert!(accounts.server.lines().is_empty());
}

// --- token-rotate ---

#[test]
fn a_rotated_token_goes_where_the_old_one_was() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    machine.lpm("token-rotate").prints("");
    machine.lpm("whoami").ok();
    let last = accounts.server.requests().pop().expect("a request");
    assert_eq!(last.header("authorization"), Some("Bearer lpm_ses_1r"));
    let text = fs::read_to_string(login_file(&machine, &accounts.server.url)).expect("there is a login");
    assert!(text.contains("lpm_ref_1"), "the session goes on");
    let document = json!({"success": true, "registry": accounts.server.url, "expiresAt": LATER});
    assert_eq!(machine.lpm("token-rotate --json").ok().json(), document);

    let machine = accounts.machine();
    machine.input(&["login", "--with-token"], PAT).ok();
    machine.lpm("token-rotate").ok().hides(PAT);
    let run = machine.lpm("whoami").ok();
    assert!(run.stdout.contains("a personal access token"), "{}", run.stdout);
}

#[test]
fn the_successor_of_lpm_token_is_printed() {
    let accounts = Accounts::new();
    let machine = accounts.machine().with("LPM_TOKEN", PAT);
    let run = machine.lpm("token-rotate").prints("lpm_pat_goodr\n");
    assert!(run.code == Some(0));
    machine.lpm("token-rotate").refused(3, "no valid token");
    let machine = accounts.machine().with("LPM_TOKEN", "lpm_pat_goodr");
    let document = json!({"success": true, "token": "lpm_pat_goodrr", "expiresAt": LATER});
    assert_eq!(machine.lpm("token-rotate --json").ok().json(), document);
    assert!(!machine.home().join(".lpm").exists(), "nothing is kept");
}

#[test]
fn a_rotation_that_fails_keeps_the_old_token() {
    for (reply, code) in [
        ((|| Reply::new(500, "")) as fn() -> Reply, 4),
        (|| refusal(403, "token_scope", "no"), 3),
        (|| Reply::new(200, "{}"), 1),
        (|| Reply::new(200, r#"{"token":"","expiresAt":"x"}"#), 1),
    ] {
        let accounts = Accounts::new();
        let machine = accounts.signed_in();
        accounts.kept().instead.push(("/token/rotate", reply));
        assert_eq!(machine.lpm("token-rotate").code, Some(code));
        machine.lpm("whoami").ok();
        let last = accounts.server.requests().pop().expect("a request");
        assert_eq!(last.header("authorization"), Some("Bearer lpm_ses_1"));
    }
    Accounts::new().machine().lpm("token-rotate").refused(3, "you are not signed in at `");
}

// --- sessions ---

#[test]
fn sessions_are_listed_and_ended_by_their_id() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let run = machine.lpm("sessions").ok();
    assert!(run.stdout.starts_with(&format!("{ME}  laptop  (this one)\n")), "{}", run.stdout);
    assert!(run.stdout.contains(&format!("{OTHER}  old\\u{{1b}}box\n")), "{}", run.stdout);
    assert_eq!(machine.lpm("sessions --json").ok().json()["sessions"][1]["id"], OTHER);
    let before = accounts.count();
    machine.lpm(&format!("sessions end {OTHER}")).ok();
    assert_eq!(
        accounts.lines_after(before),
        ["GET /api/cli/sessions".to_owned(), format!("DELETE /api/cli/sessions/{OTHER}")]
    );
    machine.lpm("whoami").ok();
    let run = machine.lpm(&format!("sessions end {ME}")).ok();
    assert!(run.stderr.contains("which was this machine's"), "{}", run.stderr);
    machine.lpm("whoami").refused(3, "you are not signed in at `");
}

#[test]
fn what_is_no_sessions_id_is_not_repeated_or_sent() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    let before = accounts.count();
    for id in ["hush", "lpm_ses_hush", "..", "0192f0c4-0000-4000-8000-00000000hush"] {
        machine.args(&["sessions", "end", id]).refused(2, "that is no session's id").hides("hush");
    }
    machine.lpm("sessions hush").refused(2, "unrecognized subcommand").hides("hush");
    assert!(accounts.lines_after(before).is_empty());
}

#[test]
fn a_session_that_the_server_does_not_end_stays() {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    accounts.kept().instead.push((ME, || refusal(404, "session_unknown", "no session of yours")));
    machine.lpm(&format!("sessions end {ME}")).refused(1, "no session of yours");
    machine.lpm("whoami").ok();
}
