//! What a share brings along for CI.

use super::{says, two};
use crate::support::Machine;
use crate::support::gateway::{escrow_fingerprint, escrow_keys, refusal};
use crate::support::server::Reply;
use crate::support::team::{BOB, MALLORY, Team, id};
use lpm_core::envelope::escrow::{EscrowKind, open_sealed_escrow};
use lpm_core::envelope::vault::{blob_sha256, open_blob};
use serde_json::{Value, json};

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
