//! `share` and `pull --org`: whose keys a vault is shared to, and what happens where a server says something new.

use crate::support::gateway::{escrow_fingerprint, escrow_keys, refusal};
use crate::support::server::Reply;
use crate::support::team::{ALICE, BOB, CAROL, MALLORY, Team, id, token};
use crate::support::{Machine, Run};
use lpm_core::envelope::escrow::{EscrowKind, open_sealed_escrow};
use lpm_core::envelope::share::open_from_member;
use lpm_core::envelope::vault::{blob_sha256, open_blob};
use serde_json::{Value, json};
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

// --- pull --org ---

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

// --- CI ---

fn opened(machine: &Machine, fingerprint: &str) {
    let text = format!(r#"{{"vault":"v1","escrowKey":"{fingerprint}","ciEscrow":{{"orgs":["acme"]}}}}"#);
    machine.write("lpm.json", &text);
}

#[test]
fn a_share_brings_the_key_for_ci_where_the_project_opened_it() {
    let team = Team::new();
    let (alice, _bob) = two(&team);
    team.change(|kept| kept.escrow = "aes".into());
    opened(&alice, &escrow_fingerprint());
    let run = alice.lpm("env share --org=acme --yes --json").ok();
    assert_eq!(run.json()["ci"], json!("included"));
    let body = team.last("POST", "/orgs/acme/vaults/v1");
    let blob = body["encryptedBlob"].as_str().expect("text");
    let hash = blob_sha256(blob).expect("a blob");
    assert_eq!(
        (&body["escrow"]["keyId"], &body["escrow"]["blobSha256"]),
        (&json!("k1"), &json!(hex::encode(hash)))
    );
    let sealed = body["escrow"]["sealed"].as_str().expect("text");
    let key =
        open_sealed_escrow(&escrow_keys(), EscrowKind::Aes, "v1", Some(hash), sealed).expect("it opens");
    assert!(open_blob(&key, blob).is_ok());
    assert!(
        open_sealed_escrow(&escrow_keys(), EscrowKind::Aes, "v2", Some(hash), sealed).is_err(),
        "for this vault only"
    );
    assert!(team.count("GET /api/vault/oidc/escrow-key?vaultId=v1&org=acme") == 1);
}

#[test]
fn a_server_alone_gets_no_key_of_a_vault_that_nobody_opened() {
    for lpm_json in [
        r#"{"vault":"v1"}"#.to_owned(),
        format!(r#"{{"vault":"v1","escrowKey":"{}"}}"#, escrow_fingerprint()),
        format!(
            r#"{{"vault":"v1","escrowKey":"{}","ciEscrow":{{"personal":true,"orgs":["other"]}}}}"#,
            escrow_fingerprint()
        ),
        r#"{"vault":"v1","ciEscrow":{"orgs":["acme"]}}"#.to_owned(),
        r#"{"vault":"v1","ciEscrow":{"orgs":["acme"]},"escrowKey":7}"#.to_owned(),
    ] {
        let team = Team::new();
        let (alice, _bob) = two(&team);
        team.change(|kept| kept.escrow = "aes".into());
        alice.write("lpm.json", &lpm_json);
        let run = alice.lpm("env share --org=acme --yes --json").ok();
        assert_eq!(run.json()["ci"], json!("left_out"), "{lpm_json}");
        says(&run, "warning: this version leaves CI out, and its pulls fail");
        says(&run, &format!("`lpm env share --org=acme --accept-escrow-key={}`", escrow_fingerprint()));
        assert_eq!(team.last("POST", "/orgs/acme/vaults/v1").get("escrow"), None, "{lpm_json}");
    }
    // The own copy is another one than the org's.
    let team = Team::new();
    let (alice, _bob) = two(&team);
    team.change(|kept| kept.escrow = "aes".into());
    opened(&alice, &escrow_fingerprint());
    assert_eq!(alice.lpm("env push --json").ok().json()["ci"], json!("left_out"));
    assert_eq!(team.last("POST", "/vaults/v1/sync").get("escrow"), None);
}

#[test]
fn a_project_alone_sends_no_key_to_a_server_that_says_nothing_of_ci() {
    for escrow in ["off", "wrapping", "anything"] {
        let team = Team::new();
        let (alice, _bob) = two(&team);
        team.change(|kept| kept.escrow = escrow.into());
        opened(&alice, &escrow_fingerprint());
        assert_eq!(alice.lpm("env share --org=acme --yes --json").ok().json()["ci"], json!("unchanged"));
        assert_eq!(team.last("POST", "/orgs/acme/vaults/v1").get("escrow"), None, "{escrow}");
    }
}

#[test]
fn another_escrow_key_is_refused_until_it_is_accepted() {
    let team = Team::new();
    let (alice, _bob) = two(&team);
    team.change(|kept| kept.escrow = "aes".into());
    opened(&alice, "SHA256:old");
    let run = alice.lpm("env share --org=acme --yes").refused(3, "lpm.json has pinned SHA256:old");
    says(&run, &format!("--accept-escrow-key={}", escrow_fingerprint()));
    alice.lpm("env share --org=acme --yes --accept-escrow-key=SHA256:wrong").refused(3, "names another");
    assert_eq!(team.count("POST /api/orgs/acme/vaults"), 0);
    alice.lpm(&format!("env share --org=acme --yes --accept-escrow-key={}", escrow_fingerprint())).ok();
    assert_eq!(alice.lpm_json()["escrowKey"], json!(escrow_fingerprint()));
    assert!(team.last("POST", "/orgs/acme/vaults/v1").get("escrow").is_some());
}

#[test]
fn an_accepted_key_is_pinned_for_the_copy_that_was_pushed() {
    let team = Team::new();
    let (alice, _bob) = two(&team);
    team.change(|kept| kept.escrow = "aes".into());
    alice.lpm(&format!("env push --accept-escrow-key={}", escrow_fingerprint())).ok();
    assert_eq!(alice.lpm_json()["ciEscrow"], json!({"personal": true}));
    assert_eq!(alice.lpm("env push --json").ok().json()["ci"], json!("included"));
    assert_eq!(alice.lpm("env share --org=acme --yes --json").ok().json()["ci"], json!("left_out"));
    // A new id is another vault, which nobody has opened.
    alice.lpm("env new-id").ok();
    assert_eq!(alice.lpm_json().get("ciEscrow"), None);
}

#[test]
fn a_server_without_escrow_key_takes_the_push_and_leaves_ci_out() {
    let team = Team::deviating(|request, _| {
        request
            .line
            .starts_with("GET /api/vault/oidc/escrow-key")
            .then(|| refusal(503, "no_escrow_key", "no key"))
    });
    let (alice, _bob) = two(&team);
    assert_eq!(alice.lpm("env push --json").ok().json()["ci"], json!("unchanged"));
    opened(&alice, &escrow_fingerprint());
    let run = alice.lpm("env share --org=acme --yes --json").ok();
    assert_eq!(run.json()["ci"], json!("left_out"));
    says(&run, "the server has no escrow key loaded right now. Once it has: `lpm env share --org=acme`");
}

#[test]
fn a_share_prints_one_document() {
    let team = Team::new();
    let (alice, _bob) = two(&team);
    let document = alice.lpm("env share --org=acme --yes --json").ok().json();
    assert_eq!(
        (&document["org"], &document["version"], &document["count"]),
        (&json!("acme"), &json!(1), &json!(1))
    );
    let handles: Vec<&Value> =
        document["recipients"].as_array().expect("a list").iter().map(|one| &one["handle"]).collect();
    assert_eq!(handles, [&json!("alice"), &json!("bob")]);
    let refused = team.machine(MALLORY);
    refused.lpm("env set A=1").ok();
    let run = refused.lpm("env share --org=acme --yes --json");
    assert_eq!((run.code, &run.json()["code"]), (Some(1), &json!("org_unknown")));
}

#[test]
fn an_orgs_vault_is_opened_with_the_key_of_its_copy() {
    let team = Team::deviating(|request, _| {
        (request.line == "POST /api/vault/oidc/policies").then(|| {
            Reply::new(
                201,
                json!({"success": true, "id": "p-1", "owner": id("org"), "permits": []}).to_string(),
            )
        })
    });
    let (alice, bob) = two(&team);
    const ALLOW: &str = "env oidc allow --org=acme --repo=acme/web --env=production";
    // Before the first share there is nothing to seal.
    alice.lpm(ALLOW).ok();
    assert_eq!(team.last("POST", "/oidc/escrow"), json!({"vaultId": "v1", "kind": "aes", "org": "acme"}));
    team.change(|kept| kept.escrow = "aes".into());
    assert_eq!(alice.lpm("env share --org=acme --yes --json").ok().json()["ci"], json!("included"));
    alice.lpm(ALLOW).ok();
    let policy = team.last("POST", "/oidc/policies");
    assert_eq!((&policy["scope"], &policy["org"]), (&json!("org"), &json!("acme")));
    let (escrow, share) = (team.last("POST", "/oidc/escrow"), team.last("POST", "/orgs/acme/vaults/v1"));
    let blob = share["encryptedBlob"].as_str().expect("text");
    let hash = blob_sha256(blob).expect("a blob");
    let sealed = escrow["sealed"].as_str().expect("sealed");
    let key =
        open_sealed_escrow(&escrow_keys(), EscrowKind::Aes, "v1", Some(hash), sealed).expect("it opens");
    assert!(open_blob(&key, blob).is_ok());
    assert_eq!(alice.lpm_json()["ciEscrow"], json!({"orgs": ["acme"]}));
    // Another key of the same account opens nothing, so it makes no policy.
    let made = team.count("POST /api/vault/oidc/policies");
    let other = team.machine(BOB);
    other.lpm(ALLOW).refused(3, "was shared with another org key of yours");
    assert_eq!(team.count("POST /api/vault/oidc/policies"), made);
    bob.lpm(ALLOW).ok();
}
