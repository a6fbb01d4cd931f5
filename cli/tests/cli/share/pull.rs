//! `pull --org`, and what is listed of an org: what the answer must be for anything to change.

use super::{key_file, says, two};
use crate::support::gateway::refusal;
use crate::support::server::Reply;
use crate::support::team::{ALICE, BOB, Team, id, token};
use lpm_core::envelope::share::open_from_member;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_pull_adds_the_orgs_variables_and_with_replace_only_those_stay() {
    let team = Team::new();
    let (alice, bob) = two(&team);
    alice.lpm("env set SHARED=theirs").ok();
    alice.lpm("env share --org=acme --yes").ok();
    bob.lpm("env set SHARED=mine LOCAL=1").ok();
    let run = bob.lpm("env pull --org=acme").ok();
    says(
        &run,
        "merged version 1 of vault v1 of `acme` into this machine's, 3 variables: 1 added, 1 changed, 0 removed",
    );
    bob.lpm("env list").prints("default\n  LOCAL\n  SHARED\nproduction\n  API_KEY\n");
    bob.lpm("env get SHARED").prints("theirs\n");
    assert_eq!(
        bob.lpm_json()["vaultSync"],
        json!({"orgVersions": {"acme": 1}}),
        "the own version is another count"
    );
    let run = bob.lpm("env pull --org=acme --replace --json").ok();
    assert_eq!((&run.json()["org"], &run.json()["removed"]), (&json!("acme"), &json!(1)));
    bob.lpm("env list").prints("default\n  SHARED\nproduction\n  API_KEY\n");
    // What was pulled may be shared again.
    bob.lpm("env share --org=acme --yes").ok();
    assert_eq!(team.last("POST", "/orgs/acme/vaults/v1")["expectedVersion"], json!(1));
}

#[test]
fn an_answer_that_is_not_signed_or_damaged_changes_nothing() {
    for deviation in ["unsigned", "foreign", "damaged"] {
        let team = Team::deviating(move |request, kept| {
            if request.line != "GET /api/orgs/acme/vaults/v1" {
                return None;
            }
            let org = kept.org.as_ref()?;
            let keys = org["wrappedKeys"].as_array().expect("keys");
            let own = keys.iter().find(|key| key["userId"] == json!(id(&token(request))))?;
            let mut blob = org["encryptedBlob"].as_str().expect("text").to_owned();
            if deviation == "damaged" {
                let at = blob.len() - 8;
                let other = if &blob[at..=at] == "A" { "B" } else { "A" };
                blob.replace_range(at..=at, other);
            }
            let body = json!({"vaultId": "v1", "encryptedBlob": blob, "wrappedKey": own["wrappedKey"], "version": 1, "owner": id("org")});
            let reply = Reply::new(200, body.to_string());
            Some(match deviation {
                "unsigned" => reply,
                "foreign" => reply.signed("another token"),
                _ => reply.signed(&token(request)),
            })
        });
        let (alice, bob) = two(&team);
        alice.lpm("env share --org=acme --yes").ok();
        bob.lpm("env set LOCAL=1").ok();
        let said = if deviation == "damaged" { "is damaged" } else { "X-LPM-Signature" };
        bob.lpm("env pull --org=acme").refused(1, said);
        bob.lpm("env pull --org=acme --force --replace").refused(1, said);
        bob.lpm("env list").prints("default\n  LOCAL\n");
        assert_eq!(bob.lpm_json().get("vaultSync"), None);
    }
}

#[test]
fn an_empty_org_vault_does_not_wipe_this_machine() {
    let team = Team::new();
    let (alice, bob) = two(&team);
    alice.lpm("env share --org=acme --yes").ok();
    let body = team.last("POST", "/orgs/acme/vaults/v1");
    let wrapped =
        body["wrappedKeys"].as_array().expect("keys").iter().find(|key| key["userId"] == json!(id(BOB.0)));
    let key =
        open_from_member(&key_file(&bob), wrapped.expect("a copy")["wrappedKey"].as_str().expect("text"))
            .expect("opens");
    let empty = lpm_core::envelope::vault::seal_blob(&key, &[1; 12], b"{}").expect("sealed");
    team.change(|kept| kept.org.as_mut().expect("shared")["encryptedBlob"] = json!(empty));
    bob.lpm("env set LOCAL=1").ok();
    bob.lpm("env pull --org=acme --replace")
        .refused(1, "the server's vault is empty and this machine has 1 variable");
    bob.lpm("env pull --org=acme").ok();
    bob.lpm("env list").prints("default\n  LOCAL\n");
}

#[test]
fn an_org_key_that_others_can_read_or_that_is_none_is_refused() {
    let team = Team::new();
    let (alice, _bob) = two(&team);
    alice.lpm("env share --org=acme --yes").ok();
    let path = alice.home().join(".lpm/.x25519_key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
    alice.lpm("env share --org=acme").refused(1, "can be read by others (mode 640)");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    std::fs::write(&path, "short").expect("written");
    alice.lpm("env pull --org=acme").refused(1, "is not an org key of 32 bytes");
    assert_eq!(team.count("POST /api/users/me/public-key"), 2, "no key was replaced");
}

#[test]
fn the_old_derived_key_is_no_way_into_an_orgs_vault() {
    let team = Team::new();
    team.machine(BOB).lpm("env pull --org=acme --accept-legacy-key").refused(2, "an org's has no such key");
    assert!(team.server.lines().is_empty());
}

#[test]
fn the_orgs_vaults_are_listed() {
    let team = Team::new();
    let (alice, _bob) = two(&team);
    alice
        .lpm("env list-remote --org=acme")
        .prints("v1  version 4  2026-01-01T00:00:00Z  shop  (this project)\n");
    let run = alice.lpm("env list-remote").prints("");
    says(&run, "the server has no vault of yours");
    alice.lpm("env push").ok();
    assert_eq!(alice.lpm("env list-remote --json").json()["vaults"][0]["vaultId"], json!("v1"));
}

#[test]
fn the_orgs_log_is_asked_for_by_its_name_on_every_page() {
    let team = Team::deviating(|request, _| {
        let entry =
            |id: &str| json!({"id": id, "action": "share", "createdAt": "t", "metadata": {"version": 1}});
        let page = |id: &str, next: Value| {
            Some(Reply::new(200, json!({"entries": [entry(id)], "nextCursor": next}).to_string()))
        };
        match request.line.as_str() {
            "GET /api/vaults/v1/audit?org=acme" => page("2", json!("c")),
            "GET /api/vaults/v1/audit?cursor=c&org=acme" => page("1", Value::Null),
            line if line.contains("/audit") => {
                Some(refusal(403, "org_role", "as developer of `acme` you cannot read its audit trail"))
            }
            _ => None,
        }
    });
    let alice = team.machine(ALICE);
    alice.lpm("env log --org=acme --all").prints("t  share  version=1\nt  share  version=1\n");
    let run = alice.lpm("env log --org=acme").prints("t  share  version=1\n");
    says(&run, "`--all` shows the others");
    alice.lpm("env log").refused(3, "as developer of `acme` you cannot");
}
