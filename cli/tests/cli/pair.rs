//! `lpm env pair`: which browser gets the vault key, and which does not.

use crate::support::Machine;
use crate::support::accounts::{Accounts, PAT};
use crate::support::gateway::{WRAPPING_KEY, refusal};
use crate::support::server::Reply;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use lpm_core::envelope::{pairing, share};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::nid::Nid;
use openssl::pkey::Private;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const CODE: &str = "K7MXQ2";
/// Of the key that [`browser`] has, and this code.
const NUMBER: &str = "759891";
const KEY: &str = "BFkat3HrvP1tnLkJTRBlKK3Rpp1EwsH2J/CJ7Fi5xhrfn05qvw0EXAxpOjxorXyXynK+ZN70om/s0mPdmKkngPA=";
const GET: &str = "GET /api/vault/pair/K7MXQ2";
const POST: &str = "POST /api/vault/pair/K7MXQ2";
const PAIR: &str = "env pair K7MXQ2 --check=759891 --yes";

/// The published test vector's browser: its private key is 32 × 0x03.
fn browser() -> EcKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    let secret = BigNum::from_slice(&[3; 32]).expect("a number");
    let mut point = EcPoint::new(&group).expect("a point");
    let mut context = BigNumContext::new().expect("a context");
    point.mul_generator2(&group, &secret, &mut context).expect("a point");
    EcKey::from_private_components(&group, &secret, &point).expect("a key")
}

fn pending() -> Reply {
    Reply::new(
        200,
        json!({"status": "pending", "browserPublicKey": KEY, "deviceLabel": "Fire\u{1b}fox"}).to_string(),
    )
}

fn done() -> Reply {
    Reply::new(200, r#"{"success":true}"#)
}

/// A gateway where a browser waits, and a machine that is signed in and has a vault key.
fn waiting() -> (Accounts, Machine) {
    let accounts = Accounts::new();
    let machine = accounts.signed_in();
    machine.lpm("env set A=1").ok();
    machine.replace_key(WRAPPING_KEY);
    accounts.kept().instead.extend([(GET, pending as fn() -> Reply), (POST, done)]);
    (accounts, machine)
}

/// Nobody was given anything.
#[track_caller]
fn nothing_was_sealed(accounts: &Accounts) {
    assert!(!accounts.server.lines().iter().any(|line| line.starts_with("POST /api/vault/pair")));
}

#[test]
fn the_browser_that_waits_gets_the_vault_key_and_the_server_cannot_read_it() {
    let (accounts, machine) = waiting();
    let before = accounts.count();
    let run = machine.lpm(PAIR).ok().hides(WRAPPING_KEY);
    assert!(
        run.stderr.contains("Fire\\u{1b}fox asks for this machine's vault key; its number is 759 891"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("paired: Fire\\u{1b}fox has this machine's vault key"), "{}", run.stderr);
    assert_eq!(accounts.lines_after(before), [GET, POST]);
    let request = accounts.server.requests().pop().expect("a request");
    assert_eq!(request.header("authorization"), Some("Bearer lpm_ses_1"));
    assert!(!request.body.contains(WRAPPING_KEY));
    let body = request.json();
    let sealed = body["encryptedWrappingKey"].as_str().expect("a text");
    let ephemeral = body["ephemeralPublicKey"].as_str().expect("a text");
    assert_eq!((sealed.len(), ephemeral.len()), (81, 88));
    let ephemeral = pairing::public_key(ephemeral, "ephemeralPublicKey").expect("a point");
    let opened = share::open_in_browser(&ephemeral, &browser(), sealed).expect("it opens");
    assert_eq!(hex::encode(opened.expose()), WRAPPING_KEY);
    let key = pairing::public_key(KEY, "browserPublicKey").expect("a point");
    assert_eq!(pairing::check_number(&key, CODE), NUMBER);
}

#[test]
fn codes_and_numbers_may_be_typed_as_people_do() {
    let (accounts, machine) = waiting();
    machine.lpm("env pair k7mxq2 --check 759-891 --yes").ok();
    machine.args(&["env", "pair", " K7MXQ2 ", "--check=759 891", "--yes"]).ok();
    let document = json!({"success": true, "device": "Fire\u{1b}fox", "check": NUMBER});
    assert_eq!(machine.lpm(&format!("{PAIR} --json")).ok().json(), document);
    assert_eq!(accounts.lines_after(accounts.count() - 2), [GET, POST]);
}

#[test]
fn a_browser_that_shows_another_number_gets_nothing() {
    let (accounts, machine) = waiting();
    for number in ["759890", "000000", "198957"] {
        let run = machine.lpm(&format!("env pair K7MXQ2 --check={number} --yes"));
        run.refused(3, "the browser shows another number, so it was not given the key").hides(NUMBER);
        machine
            .lpm(&format!("env pair K7MXQ2 --check={number}"))
            .refused(3, "the browser shows another number");
    }
    nothing_was_sealed(&accounts);
}

#[test]
fn nobody_to_ask_means_no() {
    let (accounts, machine) = waiting();
    for command in ["env pair K7MXQ2", "env pair K7MXQ2 --check=759891"] {
        for answer in ["", "y\n", "yes\n"] {
            let words: Vec<&str> = command.split(' ').collect();
            let run = machine.input(&words, answer).refused(2, "there is nobody to ask");
            assert!(run.stderr.contains("--check=NUMBER --yes"), "{}", run.stderr);
        }
    }
    machine.lpm("env pair K7MXQ2 --yes").refused(2, "--check <NUMBER>");
    nothing_was_sealed(&accounts);
}

#[test]
fn what_is_no_code_or_number_is_neither_repeated_nor_sent() {
    let (accounts, machine) = waiting();
    let before = accounts.count();
    for code in ["hush", "hush234", "K7M-Q2", "K7MXQ\u{e9}", "../../x", ""] {
        machine
            .args(&["env", "pair", code])
            .refused(2, "a pairing code has six letters and digits")
            .hides("hush");
    }
    for number in ["hush", "75989", "7598910", "0x1234"] {
        let run = machine.args(&["env", "pair", CODE, "--yes", &format!("--check={number}")]);
        run.refused(2, "`--check` takes the six digits that the browser shows").hides("hush");
    }
    assert!(accounts.lines_after(before).is_empty());
}

#[test]
fn a_code_that_has_ended_is_said_to_have() {
    for reply in [
        (|| Reply::new(200, r#"{"status":"expired"}"#)) as fn() -> Reply,
        || Reply::new(200, r#"{"status":"approved"}"#),
        || Reply::new(200, r#"{"status":"consumed"}"#),
        || Reply::new(200, r#"{"status":"pending"}"#),
        || Reply::new(200, format!(r#"{{"status":"approved","browserPublicKey":"{KEY}"}}"#)),
        || refusal(410, "pairing_ended", "the pairing code has expired or was used"),
    ] {
        let (accounts, machine) = waiting();
        accounts.kept().instead.insert(0, (GET, reply));
        machine.lpm(PAIR).refused(1, "the pairing code has expired or was used");
        nothing_was_sealed(&accounts);
    }
    let (accounts, machine) = waiting();
    accounts
        .kept()
        .instead
        .insert(0, (GET, || refusal(429, "pairing_limited", "too many wrong pairing codes")));
    machine.lpm(PAIR).refused(4, "too many wrong pairing codes");
}

#[test]
fn a_key_that_is_no_key_is_given_nothing() {
    fn with(key: String) -> Reply {
        Reply::new(200, json!({"status": "pending", "browserPublicKey": key}).to_string())
    }
    fn changed(change: impl Fn(&mut Vec<u8>)) -> String {
        let mut bytes = STANDARD.decode(KEY).expect("base64");
        change(&mut bytes);
        STANDARD.encode(bytes)
    }
    for (case, reply) in [
        ("not on the curve", (|| with(changed(|key| key[64] ^= 1))) as fn() -> Reply),
        ("zeros", || with(changed(|key| key.fill(0)))),
        ("at infinity", || with("AA==".into())),
        ("short", || with(changed(|key| key.truncate(64)))),
        ("hybrid", || with(changed(|key| key[0] = 6 | (key[64] & 1)))),
        ("the URL's alphabet", || with(URL_SAFE.encode(STANDARD.decode(KEY).expect("base64")))),
        ("not canonical", || with(format!("{KEY}\n"))),
        ("empty", || with(String::new())),
    ] {
        let (accounts, machine) = waiting();
        accounts.kept().instead.insert(0, (GET, reply));
        let run = machine.lpm(PAIR);
        assert_eq!(run.code, Some(1), "{case}: {}", run.stderr);
        assert!(run.stderr.contains("the browser's key is not acceptable"), "{case}: {}", run.stderr);
        nothing_was_sealed(&accounts);
    }
}

#[test]
fn only_a_login_session_gives_the_key_away() {
    let (accounts, machine) = waiting();
    let before = accounts.count();
    let machine = machine.with("LPM_TOKEN", PAT);
    for command in [PAIR, "env unpair"] {
        let run = machine.lpm(command).refused(3, "this needs a login session, and the token is none");
        assert!(run.stderr.contains("unset LPM_TOKEN"), "{}", run.stderr);
    }
    let machine = accounts.machine();
    for command in [PAIR, "env unpair"] {
        machine.lpm(command).refused(3, "you are not signed in at `");
    }
    assert!(accounts.lines_after(before).is_empty());
    machine.input(&["login", "--with-token"], PAT).ok();
    let before = accounts.count();
    for command in [PAIR, "env unpair"] {
        machine.lpm(command).refused(3, "this needs a login session");
    }
    assert!(accounts.lines_after(before).is_empty());
}

#[test]
fn a_machine_without_a_key_has_none_to_give_and_makes_none() {
    let (accounts, machine) = waiting();
    machine.remove_key();
    let before = accounts.count();
    machine.lpm(PAIR).refused(1, "this machine has no vault key to give");
    assert!(accounts.lines_after(before).is_empty() && !machine.home().join(".lpm/.vault-key").exists());
}

#[test]
fn a_key_that_is_being_replaced_is_not_given_away() {
    let (accounts, machine) = waiting();
    let next = machine.home().join(".lpm/.vault-key.next");
    fs::write(&next, "ab".repeat(32)).expect("it can be written");
    fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).expect("set");
    let before = accounts.count();
    let run = machine.lpm(PAIR).refused(1, "is being replaced, and that is not finished");
    assert!(run.stderr.contains("`lpm env rotate-key` goes on with it"), "{}", run.stderr);
    assert!(accounts.lines_after(before).is_empty());
}

#[test]
fn an_approval_that_fails_is_sent_once() {
    for (reply, code, said) in [
        (
            (|| refusal(410, "pairing_ended", "the pairing code has expired or was used")) as fn() -> Reply,
            1,
            "has expired",
        ),
        (|| Reply::new(503, ""), 4, "the server answered 503"),
        (Reply::none, 4, "the connection to the server failed"),
        (|| Reply::new(200, "{}"), 1, "not what this lpm expects"),
    ] {
        let (accounts, machine) = waiting();
        accounts.kept().instead.insert(0, (POST, reply));
        machine.lpm(PAIR).refused(code, said);
        assert_eq!(accounts.server.lines().iter().filter(|line| *line == POST).count(), 1, "{said}");
    }
}

#[test]
fn unpair_takes_the_key_back_from_browsers_that_wait() {
    let (accounts, machine) = waiting();
    let before = accounts.count();
    let run = machine.lpm("env unpair").ok();
    assert!(run.stderr.contains("no browser can fetch the vault key any more"), "{}", run.stderr);
    assert_eq!(accounts.lines_after(before), ["POST /api/vault/pair/revoke-all"]);
    assert_eq!(machine.lpm("env unpair --json").ok().json(), json!({"success": true}));
    accounts
        .kept()
        .instead
        .push(("/revoke-all", || refusal(403, "session_needed", "this needs a login session")));
    machine.lpm("env unpair").refused(3, "this needs a login session");
}
