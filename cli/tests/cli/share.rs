//! `share`: whose keys a vault is shared to, and what happens where a server says something new.

mod ci;
mod pull;

use crate::support::server::Reply;
use crate::support::team::{ALICE, BOB, CAROL, MALLORY, Team, id};
use crate::support::{Machine, Run};
use lpm_core::envelope::share::open_from_member;
use lpm_core::envelope::vault::open_blob;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

/// `alice`'s machine with a vault, and `bob`'s with a registered key.
fn two(team: &Team) -> (Machine, Machine) {
    let (alice, bob) = (team.machine(ALICE), team.machine(BOB));
    alice.lpm("env set API_KEY=hush-1 --env=production").ok();
    bob.lpm("env pull --org=acme").refused(1, "no vault `v1` of yours");
    (alice, bob)
}

fn key_file(machine: &Machine) -> [u8; 32] {
    std::fs::read(machine.home().join(".lpm/.x25519_key")).expect("read").try_into().expect("32 bytes")
}

fn says(run: &Run, text: &str) {
    assert!(run.stderr.contains(text), "{}\ndoes not say: {text}", run.stderr);
}

// --- the share itself ---

#[test]
fn a_share_is_ciphertext_with_one_key_for_each_member() {
    let team = Team::new();
    let (alice, bob) = two(&team);
    let run = alice.lpm("env share --org=acme --yes").ok();
    says(&run, "registered this machine's org key SHA256:");
    says(&run, "new: bob (developer), key SHA256:");
    says(&run, "shared 1 variable with 2 members of `acme` as version 1 of vault v1");
    assert!(
        !team
            .server
            .requests()
            .iter()
            .any(|request| request.body.contains("hush-1") || request.body.contains("API_KEY"))
    );

    let body = team.last("POST", "/orgs/acme/vaults/v1");
    assert_eq!((body.get("expectedVersion"), body.get("force"), body.get("escrow")), (None, None, None));
    assert_eq!((&body["name"], &body["schema"]["version"]), (&json!("shop"), &json!(2)));
    for (machine, member) in [(&alice, ALICE), (&bob, BOB)] {
        let keys = body["wrappedKeys"].as_array().expect("keys");
        let own = keys.iter().find(|key| key["userId"] == json!(id(member.0))).expect("a copy");
        let wrapped = own["wrappedKey"].as_str().expect("text");
        assert_eq!(wrapped.len(), 126);
        let key = open_from_member(&key_file(machine), wrapped).expect("it opens");
        let payload = open_blob(&key, body["encryptedBlob"].as_str().expect("text")).expect("it opens");
        assert!(payload.expose_str().expect("text").contains("hush-1"));
    }
    assert_eq!(alice.lpm_json()["vaultSync"], json!({"orgVersions": {"acme": 1}}));
    let mode = std::fs::metadata(alice.home().join(".lpm/.x25519_key")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn every_share_has_a_key_of_its_own_and_replaces_only_what_was_seen() {
    let team = Team::new();
    let (alice, _bob) = two(&team);
    alice.lpm("env share --org=acme --yes").ok();
    let first = team.last("POST", "/orgs/acme/vaults/v1");
    alice.lpm("env share --org=acme").ok();
    let second = team.last("POST", "/orgs/acme/vaults/v1");
    assert_eq!(second["expectedVersion"], json!(1));
    assert_ne!(first["encryptedBlob"], second["encryptedBlob"]);
    assert_ne!(first["wrappedKeys"], second["wrappedKeys"]);
    // A checkout that has only read lpm.json has seen nothing.
    let other = team.machine(ALICE);
    other.write("lpm.json", r#"{"vault":"v1","vaultSync":{"orgVersions":{"acme":2}}}"#);
    other.lpm("env set A=1").ok();
    other.lpm("env share --org=acme --yes").refused(1, "already has another version");
    assert_eq!(other.lpm_json()["vaultSync"]["orgVersions"]["acme"], json!(2));
    other.lpm("env share --org=acme --yes --force").ok();
    assert_eq!(team.last("POST", "/orgs/acme/vaults/v1")["force"], json!(true));
}

#[test]
fn an_empty_vault_is_not_shared() {
    let team = Team::new();
    team.machine(ALICE)
        .lpm("env share --org=acme --yes")
        .refused(1, "the vault is empty on this machine, nothing to share");
    assert!(team.server.lines().is_empty());
}

#[test]
fn an_org_of_others_and_one_that_does_not_exist_are_refused_alike() {
    let team = Team::new();
    let mallory = team.machine(MALLORY);
    mallory.lpm("env set A=1").ok();
    mallory.lpm("env share --org=acme --yes").refused(1, "no org `acme` of yours");
    mallory.lpm("env share --org=none --yes").refused(1, "no org `none` of yours");
    mallory.lpm("env pull --org=acme").refused(1, "no org `acme` of yours");
    mallory.lpm("env list-remote --org=acme").refused(1, "no org `acme` of yours");
    assert!(team.kept.lock().expect("free").org.is_none());
}

#[test]
fn what_is_no_orgs_name_is_not_repeated() {
    let machine = Machine::new().with_vault();
    for command in ["share", "pull", "list-remote", "log", "diff", "restore"] {
        machine.args(&["env", command, "--org=hush/../x"]).refused(2, "that is no org's name").hides("hush");
    }
    machine.lpm("env share").refused(2, "--org <ORG>");
    machine.lpm("env pull --replace").refused(2, "--org <ORG>");
    machine.with("LPM_OIDC", "1").lpm("env pull --org=acme").refused(2, "");
}

// --- whose keys ---

#[test]
fn new_keys_are_asked_about_and_without_an_answer_nothing_is_shared() {
    let team = Team::new();
    let (alice, _bob) = two(&team);
    let run = alice.lpm("env share --org=acme").refused(2, "`--yes` agrees beforehand");
    says(&run, "new: bob (developer), key SHA256:");
    assert_eq!(team.count("POST /api/orgs/acme/vaults"), 0);
    alice.lpm("env share --org=acme").refused(2, "is asked about first");
    alice.lpm("env share --org=acme --yes").ok();
    let run = alice.lpm("env share --org=acme").ok();
    assert!(!run.stderr.contains("bob"), "known since the last share: {}", run.stderr);
}

#[test]
fn a_changed_key_is_named_with_both_fingerprints() {
    let team = Team::new();
    let (alice, bob) = two(&team);
    alice.lpm("env share --org=acme --yes").ok();
    // Bob's account gets another key: another machine of his, or somebody else's.
    let other = team.machine(BOB);
    let run = other
        .lpm("env pull --org=acme")
        .refused(3, "was shared with another org key of yours than this machine's");
    says(&run, "in place of another machine's (SHA256:");
    let run = alice.lpm("env share --org=acme").refused(2, "is asked about first");
    says(&run, "warning: the key of bob (developer) has changed: it was SHA256:");
    assert_eq!(team.count("POST /api/orgs/acme/vaults"), 1);
    let run = alice.lpm("env share --org=acme --yes --json").ok();
    assert_eq!(run.json()["recipients"][1]["key"], json!("changed"));
    other.lpm("env pull --org=acme").ok();
    bob.lpm("env diff --org=acme").refused(3, "another org key of yours");
}

#[test]
fn a_member_that_comes_back_is_shown_again() {
    let team = Team::new();
    let (alice, _bob) = two(&team);
    alice.lpm("env share --org=acme --yes").ok();
    team.change(|kept| kept.members.retain(|member| *member != BOB));
    alice.lpm("env share --org=acme").ok();
    team.change(|kept| kept.members.push(BOB));
    let run = alice.lpm("env share --org=acme").refused(2, "is asked about first");
    says(&run, "new: bob (developer)");
}

#[test]
fn another_account_under_a_known_name_is_pointed_out() {
    let team = Team::new();
    let (alice, _bob) = two(&team);
    alice.lpm("env share --org=acme --yes").ok();
    team.change(|kept| {
        kept.members = vec![ALICE, (CAROL.0, BOB.1, BOB.2)];
        let key = kept.keys[BOB.0].clone();
        kept.keys.insert(CAROL.0.to_owned(), key);
    });
    let run = alice.lpm("env share --org=acme").refused(2, "is asked about first");
    says(&run, "warning: another account than the one of the last share is now called bob");
}

#[test]
fn members_without_a_key_are_named_with_what_they_must_run() {
    let team = Team::new();
    team.change(|kept| kept.members.push(CAROL));
    let (alice, _bob) = two(&team);
    let run = alice.lpm("env share --org=acme --yes --json").ok();
    says(
        &run,
        "carol (developer) has no org key yet, so this share is not for them: they run `lpm env pull --org=acme`",
    );
    assert_eq!(run.json()["withoutKey"], json!(["carol"]));
    assert_eq!(team.last("POST", "/orgs/acme/vaults/v1")["wrappedKeys"].as_array().expect("keys").len(), 2);
    let carol = team.machine(CAROL);
    let run = carol.lpm("env pull --org=acme").refused(3, "version 1 of the vault was not shared with you");
    says(
        &run,
        "alice (owner) or bob (developer) must share it again, now that your key is registered: `lpm env share --org=acme`",
    );
    alice.lpm("env share --org=acme --yes").ok();
    carol.lpm("env pull --org=acme").ok();
    carol.lpm("env get API_KEY --env=production").prints("hush-1\n");
}

#[test]
fn a_list_without_this_machines_key_is_refused_before_anything_is_shared() {
    let team = Team::deviating(|request, kept| {
        if request.line == "GET /api/orgs/acme/members/public-keys" {
            let theirs = kept.keys.get(BOB.0).cloned();
            let body = json!([{"userId": id(ALICE.0), "handle": "alice", "role": "owner", "publicKey": theirs, "hasPublicKey": true}]);
            return Some(Reply::new(200, body.to_string()));
        }
        None
    });
    let (alice, _bob) = two(&team);
    alice
        .lpm("env share --org=acme --yes")
        .refused(1, "does not have this machine's org key, so the share would lock you out");
    assert_eq!(team.count("POST /api/orgs/acme/vaults"), 0);
}

#[test]
fn what_is_no_key_is_shared_to_nobody() {
    for (bad, said) in [
        ("AAEC", "the server's key of bob is not an X25519 key, so nothing was shared"),
        ("", "the server's key of bob is not an X25519 key"),
        (
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "the key of bob yields no secret, so nothing was shared",
        ),
    ] {
        let team = Team::new();
        let (alice, _bob) = two(&team);
        team.change(|kept| drop(kept.keys.insert(BOB.0.to_owned(), bad.to_owned())));
        alice.lpm("env share --org=acme --yes").refused(1, said);
        assert_eq!(team.count("POST /api/orgs/acme/vaults"), 0, "{bad}");
    }
}

#[test]
fn a_file_of_accepted_keys_that_cannot_be_read_accepts_nobody() {
    let team = Team::new();
    let (alice, _bob) = two(&team);
    alice.lpm("env share --org=acme --yes").ok();
    std::fs::write(alice.home().join(".lpm/recipients.json"), "{").expect("written");
    alice.lpm("env share --org=acme --yes").refused(1, "is not what lpm wrote there");
    assert_eq!(team.count("POST /api/orgs/acme/vaults"), 1);
}
