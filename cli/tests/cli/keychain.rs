//! Secrets in a desktop's keychain, a real one, and what happens where there is none.

use crate::support::Machine;
use crate::support::accounts::{Accounts, PAST, PAT, login_file};
use crate::support::desktop::Desktop;
use crate::support::gateway::WRAPPING_KEY;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const VAULT_KEY: &str = "dev.lpm.vault-key";
const SESSION: &str = "dev.lpm.session";

fn key_file(machine: &Machine) -> PathBuf {
    machine.home().join(".lpm/.vault-key")
}

fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

// --- the wrapping key ---

#[test]
fn a_new_vault_key_is_made_in_the_keychain_and_in_no_file() {
    let desktop = Desktop::new();
    let machine = desktop.on(Machine::new());
    machine.lpm("env set API_KEY=sk-live").ok();
    let secrets = desktop.secrets(VAULT_KEY);
    let [(key, attributes)] = secrets.as_slice() else { panic!("one item: {}", secrets.len()) };
    assert!(is_key(key));
    for (name, value) in
        [("username", "wrapping-key"), ("target", "default"), ("application", "rust-keyring")]
    {
        assert_eq!(
            attributes.get(name).map(String::as_str),
            Some(value),
            "as the published client looks for it"
        );
    }
    assert!(!key_file(&machine).exists());
    machine.lpm("env get API_KEY").prints("sk-live\n");
    for entry in fs::read_dir(machine.home().join(".lpm")).expect("it is there") {
        let path = entry.expect("it is there").path();
        let text = fs::read(&path).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains(key.as_str()), "{}", path.display());
    }
}

#[test]
fn the_published_clients_key_is_found() {
    let desktop = Desktop::new();
    desktop.keep(VAULT_KEY, "wrapping-key", "default", WRAPPING_KEY);
    let accounts = Accounts::new();
    let machine = desktop.on(accounts.machine()).with("LPM_TOKEN", PAT);
    machine.lpm("env pull").ok();
    machine.lpm("env get API_KEY --env=production").prints("sk-live\n");
    assert!(!key_file(&machine).exists());
    assert_eq!(desktop.secrets(VAULT_KEY).len(), 1);
}

#[test]
fn a_key_in_a_file_stays_there_and_comes_first() {
    let machine = Machine::new().with_vault();
    let key = fs::read_to_string(key_file(&machine)).expect("it is there");
    let desktop = Desktop::new();
    let machine = desktop.on(machine);
    machine.lpm("env set B=2 --env=production").ok();
    machine.lpm("env get API_KEY --env=production").prints("sk-live\n");
    assert!(desktop.secrets(VAULT_KEY).is_empty(), "nothing is moved without being asked");
    desktop.keep(VAULT_KEY, "wrapping-key", "default", &"ab".repeat(32));
    machine.lpm("env get API_KEY --env=production").prints("sk-live\n");
    assert_eq!(fs::read_to_string(key_file(&machine)).expect("it is there"), key);
}

#[test]
fn several_processes_at_once_make_one_key() {
    let desktop = Desktop::new();
    let machine = desktop.on(Machine::new());
    machine.write("lpm.json", r#"{"vault":"v"}"#);
    std::thread::scope(|scope| {
        for name in ["A", "B", "C", "D"] {
            let machine = &machine;
            scope.spawn(move || machine.lpm(&format!("env set {name}=1")).ok());
        }
    });
    assert_eq!(desktop.secrets(VAULT_KEY).len(), 1);
    machine.lpm("env list --env=default").prints("A\nB\nC\nD\n");
}

#[test]
fn a_machine_whose_keychain_is_out_of_reach_makes_no_second_key() {
    let desktop = Desktop::new();
    let machine = desktop.on(Machine::new());
    machine.lpm("env set API_KEY=sk-live").ok();
    let off = machine.with("LPM_KEYCHAIN", "off");
    for command in ["env get API_KEY", "env set B=2"] {
        let run = off
            .lpm(command)
            .refused(1, "this machine's vault key is in its keychain, which cannot be asked now");
        assert!(run.stderr.contains("without LPM_KEYCHAIN=off"), "{}", run.stderr);
    }
    let empty = Desktop::new();
    let elsewhere = empty.on(off.with("LPM_KEYCHAIN", "auto"));
    elsewhere.lpm("env set B=2").refused(1, "is in its keychain, which has it no longer");
    assert!(!key_file(&elsewhere).exists() && empty.secrets(VAULT_KEY).is_empty());
    let back = desktop.on(elsewhere);
    back.lpm("env get API_KEY").prints("sk-live\n");
}

#[test]
fn a_key_of_the_wrong_form_is_refused_without_being_shown() {
    for text in ["hush", "", &"zz".repeat(32)] {
        let desktop = Desktop::new();
        desktop.keep(VAULT_KEY, "wrapping-key", "default", text);
        let machine = desktop.on(Machine::new());
        let run = machine.lpm("env set A=1").refused(1, "is not a vault key of 64 hex digits").hides("hush");
        run.hides("zzzz");
        assert!(!key_file(&machine).exists());
    }
}

#[test]
fn two_different_keys_are_nobodys_choice() {
    let desktop = Desktop::new();
    desktop.keep(VAULT_KEY, "wrapping-key", "default", WRAPPING_KEY);
    desktop.keep(VAULT_KEY, "wrapping-key", "other", &"ab".repeat(32));
    let machine = desktop.on(Machine::new());
    machine.lpm("env set A=1").refused(1, "the keychain has 2 different items").hides(WRAPPING_KEY);
    desktop.keep(VAULT_KEY, "wrapping-key", "other", WRAPPING_KEY);
    machine.lpm("env set A=1").ok();
}

#[test]
fn a_locked_keychain_is_no_reason_for_a_second_key() {
    let desktop = Desktop::new();
    let machine = desktop.on(Machine::new());
    machine.lpm("env set API_KEY=sk-live").ok();
    desktop.lock();
    let run = machine.lpm("env get API_KEY");
    let run = run.refused(1, "lpm: the keychain ");
    assert!(run.stderr.contains("LPM_KEYCHAIN=off"), "{}", run.stderr);
    let fresh = desktop.on(Machine::new());
    fresh.lpm("env set A=1").refused(1, "lpm: the keychain ");
    assert!(!key_file(&fresh).exists());
    fresh.with("LPM_KEYCHAIN", "off").lpm("env set A=1").ok();
}

// --- logins ---

#[test]
fn a_login_is_kept_in_the_keychain_renewed_there_and_forgotten() {
    let (desktop, accounts) = (Desktop::new(), Accounts::new());
    accounts.kept().expires_at = PAST;
    let machine = desktop.on(accounts.signed_in());
    let file = login_file(&machine, &accounts.server.url);
    assert!(
        fs::read_to_string(&file).expect("a login").contains("lpm_ses_1"),
        "made before there was a keychain"
    );
    accounts.sign_in(&machine);
    let tokens = |expected: Value| {
        let secrets = desktop.secrets(SESSION);
        let [(secret, attributes)] = secrets.as_slice() else { panic!("one item: {}", secrets.len()) };
        assert_eq!(serde_json::from_str::<Value>(secret).expect("JSON"), expected);
        assert_eq!(attributes.get("username"), Some(&accounts.server.url));
        let text = fs::read_to_string(&file).expect("a login");
        assert!(text.contains("alice") && !text.contains("lpm_ses") && !text.contains("lpm_ref"), "{text}");
    };
    tokens(json!({"access": "lpm_ses_2", "refresh": "lpm_ref_2"}));
    accounts.kept().expires_at = crate::support::accounts::LATER;
    machine.lpm("whoami").ok();
    tokens(json!({"access": "lpm_ses_3", "refresh": "lpm_ref_3"}));
    machine.lpm("token-rotate").ok();
    tokens(json!({"access": "lpm_ses_3r", "refresh": "lpm_ref_3"}));
    machine.lpm("logout").ok();
    assert!(desktop.secrets(SESSION).is_empty() && !file.exists());
    machine.lpm("whoami").refused(3, "you are not signed in at `");
}

#[test]
fn a_session_that_has_ended_is_forgotten_in_the_keychain_too() {
    let (desktop, accounts) = (Desktop::new(), Accounts::new());
    let machine = desktop.on(accounts.machine());
    accounts.sign_in(&machine);
    let mut kept = accounts.kept();
    kept.access.clear();
    kept.refresh.clear();
    drop(kept);
    machine.lpm("whoami").refused(3, "has ended, and was removed from this machine");
    assert!(desktop.secrets(SESSION).is_empty());
}

#[test]
fn a_login_in_a_keychain_out_of_reach_is_named_and_replaced_by_a_new_one() {
    let (desktop, accounts) = (Desktop::new(), Accounts::new());
    let machine = desktop.on(accounts.machine());
    accounts.sign_in(&machine);
    let machine = machine.with("LPM_KEYCHAIN", "off");
    machine.lpm("whoami").refused(1, "is in this machine's keychain, which cannot be asked now");
    accounts.sign_in(&machine);
    machine.lpm("whoami").ok();
    // The file counts now, also where the keychain answers again.
    let machine = machine.with("LPM_KEYCHAIN", "auto");
    machine.lpm("whoami").ok();
    let last = accounts.server.requests().pop().expect("a request");
    assert_eq!(last.header("authorization"), Some("Bearer lpm_ses_2"));
}

#[test]
fn a_logout_that_cannot_ask_the_keychain_still_forgets() {
    let (desktop, accounts) = (Desktop::new(), Accounts::new());
    let machine = desktop.on(accounts.machine());
    accounts.sign_in(&machine);
    desktop.lock();
    let run = machine.lpm("logout").ok();
    assert!(run.stderr.contains("warning: "), "{}", run.stderr);
    machine.lpm("whoami").refused(3, "you are not signed in at `");
}

// --- no keychain ---

#[test]
fn a_bus_without_a_keychain_silently_means_files() {
    let desktop = Desktop::without_keychain();
    let machine = desktop.on(Machine::new());
    let run = machine.lpm("env set A=1").ok();
    assert!(!run.stderr.contains("keychain"), "{}", run.stderr);
    assert!(is_key(&fs::read_to_string(key_file(&machine)).expect("a file")));
    let required = desktop.on(Machine::new()).with("LPM_KEYCHAIN", "on");
    required.lpm("env set A=1").refused(1, "LPM_KEYCHAIN is `on`, but no keychain answers");
    assert!(!key_file(&required).exists());
}

#[test]
fn a_bus_that_does_not_answer_silently_means_files_after_a_second() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("bus");
    let _silent = UnixListener::bind(&path).expect("it can listen");
    for address in
        [format!("unix:path={}", path.display()), "unix:path=/nowhere".to_owned(), "nonsense".to_owned()]
    {
        let machine = Machine::new().with("DBUS_SESSION_BUS_ADDRESS", &address);
        let begun = Instant::now();
        let run = machine.lpm("env set A=1").ok();
        assert!(!run.stderr.contains("keychain"), "{}", run.stderr);
        assert!(begun.elapsed() < Duration::from_secs(15), "{address}: {:?}", begun.elapsed());
        assert!(key_file(&machine).exists(), "{address}");
    }
}

#[test]
fn a_keychain_that_is_off_is_not_asked() {
    let desktop = Desktop::new();
    let machine = desktop.on(Machine::new()).with("LPM_KEYCHAIN", "off");
    machine.lpm("env set A=1").ok();
    assert!(key_file(&machine).exists() && desktop.secrets(VAULT_KEY).is_empty());
}

#[test]
fn a_keychain_that_is_there_and_does_not_answer_is_no_reason_for_a_second_key() {
    let (desktop, _service) = Desktop::with_silent_keychain();
    let machine = desktop.on(Machine::new());
    let run = machine.lpm("env set A=1").refused(1, "the keychain does not answer");
    assert!(run.stderr.contains("LPM_KEYCHAIN=off"), "{}", run.stderr);
    assert!(!key_file(&machine).exists());
    machine.with("LPM_KEYCHAIN", "off").lpm("env set A=1").ok();
}
