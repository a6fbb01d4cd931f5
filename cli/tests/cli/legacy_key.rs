//! A vault sealed under the old key, SHA-256 of something and the token: whoever has the token can make one.

use crate::support::Machine;
use crate::support::gateway::{ME, TOKEN, WRAPPING_KEY, developer, refusal};
use crate::support::server::{Reply, Request, Server};
use lpm_core::envelope::share::legacy_wrapping_key;
use lpm_core::secret::Secret;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

/// A gateway that keeps what is pushed, by the rules of versions.
fn gateway() -> Server {
    let kept = Mutex::new((0, Value::Null));
    Server::closed_to_ci(move |request: &Request, _| {
        let mut kept = kept.lock().expect("nobody panics with it");
        let (version, copy) = &mut *kept;
        match request.line.as_str() {
            "GET /api/vaults/v%2F1/sync" => Reply::new(200, copy.to_string()).signed(TOKEN),
            "POST /api/vaults/v%2F1/sync" => {
                let body = request.json();
                if *version > 0 && body["force"] != json!(true) && body["expectedVersion"] != json!(*version)
                {
                    return refusal(409, "version_conflict", "the server has another version");
                }
                *version += 1;
                *copy = json!({"vaultId": "v/1", "encryptedBlob": body["encryptedBlob"],
                               "wrappedKey": body["wrappedKey"], "version": *version, "owner": ME});
                let reply = json!({"version": *version, "status": "updated", "owner": ME});
                Reply::new(200, reply.to_string()).signed(TOKEN)
            }
            other => panic!("unexpected: {other}"),
        }
    })
}

/// Somebody with nothing but the token: the old key is all that it takes to push.
fn thief(server: &Server) -> Machine {
    let machine = developer(server);
    machine.replace_key(&hex::encode(legacy_wrapping_key(&Secret::from(TOKEN.to_owned())).expose()));
    machine.lpm("env set API_KEY=ATTACKER WEBHOOK=https://evil --env=production").ok();
    machine
}

/// The developer's vault as the thief left it on the server.
fn forged() -> (Server, Machine) {
    let server = gateway();
    let machine = developer(&server);
    machine.lpm("env set API_KEY=sk-live --env=production").ok();
    machine.lpm("env push").ok();
    thief(&server).lpm("env push --force").ok();
    (server, machine)
}

/// Every file below a directory.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.display().to_string(), fs::read(&path).expect("it can be read"));
        }
    }
    found
}

fn everything(machine: &Machine) -> BTreeMap<String, Vec<u8>> {
    let mut all = files(&machine.home());
    all.extend(files(&machine.project()));
    all
}

#[test]
fn a_copy_that_is_forged_with_the_token_is_refused_and_changes_nothing() {
    let (_server, machine) = forged();
    let with_key = everything(&machine);
    for command in [
        "env pull",
        "env pull --force",
        "env pull --env=production --output=.env",
        "env pull --env=production --output=-",
        "env pull --env=production --format=json",
        "env oidc allow --repo=acme/web --env=production",
    ] {
        let run = machine
            .lpm(command)
            .refused(3, "is sealed under the old key, which anybody with the token can make")
            .hides("ATTACKER");
        assert!(run.stderr.contains("`lpm env pull --accept-legacy-key`"), "{command}: {}", run.stderr);
        assert!(run.stderr.contains("have it revoked"), "{command}: {}", run.stderr);
        assert_eq!(everything(&machine), with_key, "{command}");
    }
    let run = machine.lpm("env pull --json").hides("ATTACKER");
    assert_eq!((run.code, &run.json()["code"]), (Some(3), &json!("legacy_key")));
    machine.lpm("env get API_KEY --env=production").prints("sk-live\n");
}

#[test]
fn a_forged_copy_is_refused_by_a_machine_without_a_key_too() {
    let (server, _) = forged();
    let machine = developer(&server);
    machine.remove_key();
    let before = everything(&machine);
    for command in ["env pull", "env pull --force", "env oidc allow --repo=acme/web --env=production"] {
        machine.lpm(command).refused(3, "anybody with the token can make").hides("ATTACKER");
        assert_eq!(everything(&machine), before, "{command}: no key is made, no variable kept");
    }
}

#[test]
fn a_push_after_the_refusal_does_not_spread_the_forged_copy() {
    let (server, machine) = forged();
    machine.lpm("env pull").refused(3, "anybody with the token can make");
    machine.lpm("env push").refused(1, "the server has another version");
    machine.lpm("env push --force").ok();
    let colleague = developer(&server);
    colleague.lpm("env pull").ok().hides("old key");
    colleague.lpm("env get API_KEY --env=production").prints("sk-live\n");
    colleague.lpm("env list --env=production").prints("API_KEY\n");
}

#[test]
fn no_variable_accepts_the_old_key() {
    let (_server, machine) = forged();
    let machine = machine.with("LPM_ACCEPT_LEGACY_KEY", "1").with("LPM_FORCE", "1");
    machine.lpm("env pull").refused(3, "anybody with the token can make");
    machine.lpm("env oidc allow --accept-legacy-key --repo=a/b --env=x").refused(2, "unexpected argument");
    machine.lpm("env push --accept-legacy-key").refused(2, "unexpected argument");
    machine
        .with("LPM_OIDC_TOKEN", "jwt")
        .lpm("env pull --oidc --accept-legacy-key")
        .refused(2, "`--accept-legacy-key` is for `lpm env pull` without `--oidc`");
}

#[test]
fn the_old_key_is_accepted_by_its_flag_and_replaced_at_once() {
    for without_key in [false, true] {
        let server = gateway();
        let old = thief(&server);
        old.lpm("env push").ok();
        let machine = developer(&server);
        if without_key {
            machine.remove_key();
        }
        let run = machine.lpm("env pull --accept-legacy-key").ok();
        assert!(run.stderr.contains("version 2 is under this machine's"), "{}", run.stderr);
        let pushed = server.requests().pop().expect("there are some").json();
        assert_eq!(
            (&pushed["expectedVersion"], pushed.get("name")),
            (&json!(1), None),
            "nobody's push is replaced"
        );
        machine.lpm("env get API_KEY --env=production").prints("ATTACKER\n");
        assert_eq!(machine.lpm_json()["vaultSync"]["personalVersion"], json!(2));
        machine.lpm("env push").ok();
        let run = machine.lpm("env pull").ok();
        assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    }
}

#[test]
fn what_was_accepted_stays_where_it_cannot_be_replaced() {
    let (server, _) = forged();
    let kept = server.requests();
    let copy = kept.iter().rfind(|request| request.line.starts_with("POST")).expect("it was pushed").json();
    let server = Server::closed_to_ci(move |request, _| {
        if request.line.starts_with("POST") {
            return refusal(409, "version_conflict", "the server has another version");
        }
        let body = json!({"vaultId": "v/1", "encryptedBlob": copy["encryptedBlob"], "wrappedKey": copy["wrappedKey"],
                          "version": 4, "owner": ME});
        Reply::new(200, body.to_string()).signed(TOKEN)
    });
    let machine = developer(&server);
    let run = machine.lpm("env pull --accept-legacy-key").ok();
    assert!(
        run.stderr.contains("lpm: warning: the vault is still encrypted under the old key")
            && run.stderr.contains("the server has another version"),
        "{}",
        run.stderr
    );
    machine.lpm("env get API_KEY --env=production").prints("ATTACKER\n");
    assert_eq!(machine.lpm_json()["vaultSync"]["personalVersion"], json!(4));
}

#[test]
fn the_flag_accepts_no_other_key_and_warns_of_no_own_one() {
    let (server, machine) = forged();
    let stranger = developer(&server);
    stranger.replace_key(&"ab".repeat(32));
    stranger.lpm("env set API_KEY=other").ok();
    stranger.lpm("env push --force").ok();
    machine
        .lpm("env pull --accept-legacy-key")
        .refused(1, "this machine's vault key does not open the server's copy");
    machine.lpm("env push --force").ok();
    let run = machine.lpm("env pull --accept-legacy-key").ok().hides(WRAPPING_KEY);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
}
