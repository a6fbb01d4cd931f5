//! `oidc allow`: everything that can be refused is refused before anything is made.

use crate::support::Machine;
use crate::support::gateway::{
    BLOB, ME, WRAPPING_KEY, developer, escrow_fingerprint, escrow_key, escrow_keys, pulled, refusal,
};
use crate::support::server::{Reply, Server};
use lpm_core::envelope::escrow::{EscrowKind, open_sealed_escrow};
use lpm_core::envelope::fingerprint;
use lpm_core::envelope::vault::{blob_sha256, open_blob};
use serde_json::json;

/// A gateway for `allow`; `deviates` answers first.
fn gateway(deviates: impl Fn(&str) -> Option<Reply> + Send + 'static) -> Server {
    Server::new(move |request, _| {
        if let Some(reply) = deviates(&request.line) {
            return reply;
        }
        match request.line.as_str() {
            "GET /api/vaults/v%2F1/sync" => pulled(),
            line if line == READS[1] => escrow_key("off"),
            "POST /api/vault/oidc/policies" => {
                let body = json!({"success": true, "id": "p-1", "owner": ME, "warnings": ["broad"], "permits": ["acme/web may pull production"]});
                Reply::new(201, body.to_string())
            }
            "POST /api/vault/oidc/escrow" => {
                Reply::new(200, r#"{"success":true,"escrow":"on","keyId":"k1"}"#)
            }
            other => panic!("unexpected: {other}"),
        }
    })
}

const ALLOW: &str = "env oidc allow --repo=acme/web --branch=main --env=prod";
const READS: [&str; 2] = ["GET /api/vaults/v%2F1/sync", "GET /api/vault/oidc/escrow-key?vaultId=v%2F1"];

#[test]
fn allow_checks_first_then_makes_the_policy_and_seals_the_key() {
    let server = gateway(|_| None);
    let machine = developer(&server);
    let run = machine
        .lpm(ALLOW)
        .prints("Vault v/1 now permits:\n  acme/web may pull production\n")
        .hides(WRAPPING_KEY);
    let shown = escrow_fingerprint();
    assert!(run.stderr.contains(&shown) && run.stderr.contains("lpm: warning: broad"), "{}", run.stderr);
    assert_eq!(
        server.lines(),
        [READS[0], READS[1], "POST /api/vault/oidc/policies", "POST /api/vault/oidc/escrow"]
    );
    let requests = server.requests();
    assert_eq!(
        requests[2].json(),
        json!({"vaultId": "v/1", "provider": "github", "subject": "repo:acme/web", "allowedBranches": ["main"],
               "allowedEnvironments": ["production"], "allowForks": false})
    );
    let sealed = requests[3].json();
    let hash = blob_sha256(BLOB).expect("a blob");
    assert_eq!(
        (&sealed["vaultId"], &sealed["kind"], &sealed["blobSha256"]),
        (&json!("v/1"), &json!("aes"), &json!(hex::encode(hash)))
    );
    assert_eq!(
        (sealed.get("wrappingKeyHex"), sealed.get("legacyClients"), sealed.get("org")),
        (None, None, None)
    );
    let sealed = sealed["sealed"].as_str().expect("it is sealed").to_owned();
    let opened =
        open_sealed_escrow(&escrow_keys(), EscrowKind::Aes, "v/1", Some(hash), &sealed).expect("it opens");
    assert!(open_blob(&opened, BLOB).is_ok(), "the key of this ciphertext");
    assert_ne!(hex::encode(opened.expose()), WRAPPING_KEY, "and not the one of all vaults");
    assert!(requests.iter().all(|request| !request.body.contains(WRAPPING_KEY)));
    assert_eq!(
        (&machine.lpm_json()["vaultOwner"], &machine.lpm_json()["escrowKey"]),
        (&json!(ME), &json!(shown))
    );
    assert_eq!(machine.lpm_json()["ciEscrow"], json!({"personal": true}));
}

/// The escrow that `command` asks for, of a vault that the server says this of.
fn asked(escrow: &'static str, legacy: bool, command: &str) -> (Machine, serde_json::Value) {
    let server = gateway(move |line| {
        let body = json!({"keyId": "k1", "publicKey": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, escrow_keys().public()),
                          "fingerprint": escrow_fingerprint(), "escrow": escrow, "legacyClients": legacy});
        (line == READS[1]).then(|| Reply::new(200, body.to_string()))
    });
    let machine = developer(&server);
    machine.lpm(command).ok().hides(WRAPPING_KEY);
    let body = server.requests().pop().expect("the escrow").json();
    (machine, body)
}

#[test]
fn the_machines_key_is_sealed_only_for_published_clients() {
    for (legacy, flag, expected) in [
        (false, "--legacy-clients", json!(true)),
        (false, "--legacy-clients=true", json!(true)),
        (true, "", json!(null)),
    ] {
        let (_, body) = asked("wrapping", legacy, &format!("{ALLOW} {flag}"));
        assert_eq!(
            (&body["kind"], &body["legacyClients"], body.get("blobSha256")),
            (&json!("wrapping"), &expected, None)
        );
        let sealed = body["sealed"].as_str().expect("sealed");
        let opened =
            open_sealed_escrow(&escrow_keys(), EscrowKind::Wrapping, "v/1", None, sealed).expect("it opens");
        assert_eq!(hex::encode(opened.expose()), WRAPPING_KEY);
    }
    for (escrow, legacy, flag, expected) in [
        ("wrapping", false, "", json!(null)),
        ("wrapping", true, "--legacy-clients=false", json!(false)),
        ("off", false, "", json!(null)),
    ] {
        let (_, body) = asked(escrow, legacy, &format!("{ALLOW} {flag}"));
        assert_eq!((&body["kind"], &body["legacyClients"]), (&json!("aes"), &expected), "{escrow} {flag}");
    }
}

#[test]
fn an_org_has_no_machines_key_to_seal() {
    let server = gateway(|_| None);
    let machine = developer(&server);
    machine
        .lpm(&format!("{ALLOW} --org=acme --legacy-clients"))
        .refused(2, "an org has no vault key of a machine");
    machine
        .args(&["env", "oidc", "allow", "--repo=a/b", "--env=x", "--org=hush/x"])
        .refused(2, "is no org's name")
        .hides("hush");
    machine.lpm(&format!("{ALLOW} --legacy-clients=maybe")).refused(2, "invalid value");
    assert!(server.lines().is_empty());
}

#[test]
fn a_push_in_between_is_sealed_anew() {
    let escrows = std::sync::atomic::AtomicUsize::new(0);
    let server = gateway(move |line| {
        if line != "POST /api/vault/oidc/escrow" {
            return None;
        }
        let before = escrows.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (before == 0).then(|| refusal(409, "escrow_other_blob", "the escrow belongs to another version"))
    });
    developer(&server).lpm(ALLOW).ok();
    assert_eq!(server.lines()[3..], ["POST /api/vault/oidc/escrow", READS[0], "POST /api/vault/oidc/escrow"]);
    let server = gateway(|line| {
        (line == "POST /api/vault/oidc/escrow")
            .then(|| refusal(409, "escrow_other_blob", "the escrow belongs to another version"))
    });
    developer(&server).lpm(ALLOW).refused(1, "not open to CI yet: run the same command again");
}

#[test]
fn closing_a_vault_takes_the_consent_out_of_lpm_json() {
    let server = Server::new(|_, _| Reply::new(200, r#"{"success":true,"escrow":"off"}"#));
    let machine = developer(&server);
    machine.write(
        "lpm.json",
        r#"{"vault":"v/1","escrowKey":"SHA256:x","ciEscrow":{"personal":true,"orgs":["acme","b"]}}"#,
    );
    machine.lpm("env oidc disable --org=acme").ok();
    assert_eq!(machine.lpm_json()["ciEscrow"], json!({"personal": true, "orgs": ["b"]}));
    machine.lpm("env oidc disable").ok();
    assert_eq!(machine.lpm_json()["ciEscrow"], json!({"personal": false, "orgs": ["b"]}));
    assert_eq!(machine.lpm_json()["escrowKey"], json!("SHA256:x"), "another key is still refused");
    assert_eq!(
        server.lines(),
        [
            "DELETE /api/vault/oidc/escrow?vaultId=v%2F1&org=acme",
            "DELETE /api/vault/oidc/escrow?vaultId=v%2F1"
        ]
    );
}

#[test]
fn every_flag_of_allow_reaches_the_policy() {
    let server = gateway(|_| None);
    let machine = developer(&server);
    machine
        .args(&[
            "env",
            "oidc",
            "allow",
            "--repo",
            "acme/web",
            "--env",
            "prod, staging",
            "--env",
            "x",
            "--tag=v*",
            "--event=push,release",
            "--allow-forks",
            "--ci-environment=live",
            "--workflow=.github/workflows/deploy.yml",
            "--reusable-workflow=acme/ci/.github/workflows/x.yml@refs/tags/v3",
            "--protected-only",
            "--runner=hosted",
            "--audience=https://a",
            "--issuer=https://i",
            "--repository-id=7",
            "--owner-id=8",
            "--json",
        ])
        .ok();
    let body = server.requests()[2].json();
    assert_eq!(
        body,
        json!({"vaultId": "v/1", "provider": "github", "subject": "repo:acme/web", "allowedBranches": [], "allowedTags": ["v*"],
               "allowedEnvironments": ["production", "staging", "x"], "allowedEvents": ["push", "release"], "allowForks": true,
               "ciEnvironment": "live", "workflow": ".github/workflows/deploy.yml", "reusableWorkflow": "acme/ci/.github/workflows/x.yml@refs/tags/v3",
               "protectedRefOnly": true, "runner": "hosted", "audience": "https://a", "issuer": "https://i", "repositoryId": "7", "ownerId": "8"})
    );
    machine
        .lpm(
            "env oidc allow --provider=gitlab --project=g/p --all-environments --all-branches --project-id=4",
        )
        .ok();
    let body = server.requests()[6].json();
    assert_eq!(
        body,
        json!({"vaultId": "v/1", "provider": "gitlab", "subject": "project:g/p", "allowedBranches": [], "allowedEnvironments": [],
               "allowForks": false, "projectId": "4"})
    );
    machine.lpm("env oidc allow --provider=gitlab --repo=g/p --env=x").ok();
    assert_eq!(server.requests()[10].json()["subject"], json!("repo:g/p"));
}

#[test]
fn a_key_that_does_not_open_the_vault_makes_no_policy() {
    let server = gateway(|_| None);
    let machine = developer(&server);
    machine.replace_key(&"ab".repeat(32));
    machine.lpm(ALLOW).refused(1, "this machine's vault key does not open the server's copy");
    machine.remove_key();
    machine.lpm(ALLOW).refused(1, "this machine has no vault key");
    assert!(server.lines().iter().all(|line| line.starts_with("GET")), "{:?}", server.lines());
}

#[test]
fn a_vault_that_was_never_pushed_can_be_opened() {
    let server = gateway(|line| (line == READS[0]).then(|| refusal(404, "vault_unknown", "no vault")));
    let machine = developer(&server);
    machine.lpm(ALLOW).ok();
    assert_eq!(server.lines().len(), 4);
}

#[test]
fn another_escrow_key_makes_no_policy_unless_it_is_accepted() {
    let server = gateway(|_| None);
    let machine = developer(&server);
    machine.write("lpm.json", r#"{"vault":"v/1","escrowKey":"SHA256:old"}"#);
    let shown = escrow_fingerprint();
    let run = machine.lpm(ALLOW).refused(3, "lpm.json has pinned SHA256:old");
    assert!(run.stderr.contains(&format!("--accept-escrow-key={shown}")), "{}", run.stderr);
    machine
        .lpm(&format!("{ALLOW} --accept-escrow-key=SHA256:wrong"))
        .refused(3, "`--accept-escrow-key` names another");
    assert!(server.lines().iter().all(|line| line.starts_with("GET")), "{:?}", server.lines());
    assert_eq!(machine.lpm_json()["escrowKey"], json!("SHA256:old"));
    machine.lpm(&format!("{ALLOW} --accept-escrow-key={shown}")).ok();
    assert_eq!(machine.lpm_json()["escrowKey"], json!(shown));
}

#[test]
fn a_server_that_lies_about_its_fingerprint_is_refused() {
    let server = gateway(|line| {
        let body = json!({"keyId": "k1", "publicKey": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "fingerprint": escrow_fingerprint()});
        (line == READS[1]).then(|| Reply::new(200, body.to_string()))
    });
    developer(&server).lpm(ALLOW).refused(1, "the server's escrow key is not an X25519 key");
    assert_eq!(server.lines(), READS);
}

#[test]
fn an_escrow_key_that_yields_no_secret_is_refused() {
    let server = gateway(|line| {
        let body = json!({"keyId": "k1", "publicKey": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "fingerprint": fingerprint(&[0; 32])});
        (line == READS[1]).then(|| Reply::new(200, body.to_string()))
    });
    developer(&server).lpm(ALLOW).refused(1, "the public key is not acceptable");
    assert_eq!(server.lines(), READS);
}

#[test]
fn a_server_without_escrow_key_makes_no_policy() {
    let server = gateway(|line| (line == READS[1]).then(|| refusal(404, "x", "no escrow key")));
    developer(&server).lpm(ALLOW).refused(1, "no escrow key");
    assert_eq!(server.lines(), READS);
}

#[test]
fn a_free_account_reads_the_promised_text() {
    let server = gateway(|line| {
        (line == READS[0]).then(|| refusal(403, "plan_sync", "Vault sync requires a Pro or Org plan"))
    });
    let run = developer(&server).lpm(ALLOW).refused(3, "lpm: CI escrow requires a Pro or Org plan\n");
    assert!(run.stderr.contains("request id: r-1"), "{}", run.stderr);
}

#[test]
fn an_escrow_that_fails_after_the_policy_is_said() {
    let server = gateway(|line| {
        (line == "POST /api/vault/oidc/escrow").then(|| refusal(409, "escrow_wrong_key", "no"))
    });
    let machine = developer(&server);
    machine.lpm(ALLOW).refused(1, "not open to CI yet: run the same command again");
    assert_eq!(machine.lpm_json().get("escrowKey"), None);
}
