//! `rotate-key`: everything that the old key opens is under the new one, and at no moment under none.

use crate::support::Machine;
use crate::support::gateway::{escrow_fingerprint, escrow_keys, refusal};
use crate::support::server::Reply;
use crate::support::team::{ALICE, Kept, Team};
use lpm_core::envelope::escrow::{EscrowKind, open_sealed_escrow};
use lpm_core::envelope::vault::{blob_sha256, open_blob, open_wrapped_key};
use lpm_core::secret::Secret;
use serde_json::{Value, json};
use std::sync::Mutex;

fn key(machine: &Machine, file: &str) -> Option<Secret> {
    let text = std::fs::read_to_string(machine.home().join(".lpm").join(file)).ok()?;
    Some(Secret::new(hex::decode(text.trim()).expect("hex")))
}

/// A machine with three vaults, all pushed but the last.
fn three(team: &Team) -> Machine {
    let machine = team.machine(ALICE);
    for vault in ["v1", "v/2"] {
        machine.args(&["env", "set", &format!("NAME={vault}"), "OTHER=1", "--vault", vault]).ok();
        machine.args(&["env", "set", "NAME=live", "--env=production", "--vault", vault]).ok();
        // The second one's path has a slash, as ids may.
        machine.args(&["env", "push", "--vault", vault]).ok();
    }
    machine.args(&["env", "set", "NAME=local", "--vault=v3"]).ok();
    machine
}

fn copy(team: &Team, vault: &str) -> Value {
    let kept = team.kept.lock().expect("free");
    kept.own[&(ALICE.0.to_owned(), vault.to_owned())].clone()
}

fn opens(copy: &Value, key: &Secret) -> Option<String> {
    let aes = open_wrapped_key(key, copy["wrappedKey"].as_str().expect("text")).ok()?;
    let payload = open_blob(&aes, copy["encryptedBlob"].as_str().expect("text")).expect("it opens");
    Some(payload.expose_str().expect("text").to_owned())
}

/// The server's id in a path is encoded, the one in its list is not.
fn team() -> Team {
    Team::deviating(decoded)
}

fn decoded(request: &crate::support::server::Request, kept: &mut Kept) -> Option<Reply> {
    if !request.line.contains("v%2F2") {
        return None;
    }
    // As if the vault were called `v2` on the way, and `v/2` in what is kept.
    let mut inner = request.clone();
    inner.line = inner.line.replace("v%2F2", "v2");
    let token = crate::support::team::token(request);
    let (there, here) = ((token.clone(), "v2".to_owned()), (token, "v/2".to_owned()));
    if let Some(copy) = kept.own.remove(&here) {
        kept.own.insert(there.clone(), copy);
    }
    let reply = kept.answer(&inner);
    if let Some(mut copy) = kept.own.remove(&there) {
        copy["vaultId"] = json!("v/2");
        kept.own.insert(here, copy);
    }
    Some(reply)
}

#[test]
fn every_vault_and_environment_is_kept_under_the_new_key_and_nothing_under_the_old() {
    let team = team();
    let machine = three(&team);
    let old = key(&machine, ".vault-key").expect("there");
    let before = [copy(&team, "v1"), copy(&team, "v/2")];
    let run = machine.lpm("env rotate-key --yes").ok();
    assert!(run.stderr.contains("2 on the server and 3 here are encrypted under it"), "{}", run.stderr);
    for part in ["copy ~/.lpm/.vault-key", "Paired browsers have the old one", "do not open any more"] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    let new = key(&machine, ".vault-key").expect("there");
    assert_ne!(old.expose(), new.expose());
    assert!(key(&machine, ".vault-key.next").is_none(), "nothing is left over");
    for (vault, before) in [("v1", &before[0]), ("v/2", &before[1])] {
        let after = copy(&team, vault);
        assert!(opens(&after, &old).is_none(), "{vault}");
        assert_eq!(opens(&after, &new), opens(before, &old), "{vault}: the same payload");
        assert_ne!(after["encryptedBlob"], before["encryptedBlob"], "{vault}: under another key");
        machine.args(&["env", "get", "NAME", "--env=production", "--vault", vault]).prints("live\n");
        // What was pushed for the rotation is no conflict for the next push.
        machine.args(&["env", "push", "--vault", vault]).ok();
        machine.args(&["env", "pull", "--vault", vault]).ok();
    }
    machine.lpm("env get NAME --vault=v3").prints("local\n");
    let pushed: Vec<Value> = team
        .server
        .requests()
        .iter()
        .filter(|one| one.line.contains("/sync") && one.line.starts_with("POST"))
        .map(|one| one.json())
        .collect();
    assert!(
        pushed[2..4].iter().all(|body| body["expectedVersion"] == json!(1) && body.get("name").is_none()),
        "nobody's push is replaced"
    );
    assert_eq!(machine.lpm_json()["vaultSync"]["personalVersion"], json!(3));
}

#[test]
fn it_asks_first_and_needs_a_key() {
    let team = team();
    let machine = three(&team);
    machine.lpm("env rotate-key").refused(2, "`--yes` agrees beforehand");
    assert!(key(&machine, ".vault-key.next").is_none());
    team.machine(ALICE)
        .lpm("env rotate-key --yes")
        .refused(1, "this machine has no vault key, so there is nothing to replace");
}

/// A team whose server breaks at the n-th push, once; without a `reply` it does what was asked and does not say so.
fn breaking(at: usize, reply: Option<fn() -> Reply>) -> Team {
    let pushes = Mutex::new(0);
    Team::deviating(move |request, kept| {
        if request.line.starts_with("POST") && request.line.ends_with("/sync") {
            let mut pushes = pushes.lock().expect("free");
            *pushes += 1;
            if *pushes == at {
                let Some(reply) = reply else {
                    drop(decoded(request, kept).unwrap_or_else(|| kept.answer(request)));
                    return Some(Reply::none());
                };
                return Some(reply());
            }
        }
        decoded(request, kept)
    })
}

#[test]
fn interrupted_anywhere_both_keys_open_everything_and_it_goes_on() {
    for (at, reply, said) in [
        (3, Some((|| refusal(503, "unavailable", "not now")) as fn() -> Reply), "not now"),
        (4, Some(|| refusal(500, "internal", "broken")), "broken"),
        (3, None, "the connection to the server failed"),
        (4, None, "the connection to the server failed"),
    ] {
        let team = breaking(at, reply);
        let machine = three(&team);
        let old = key(&machine, ".vault-key").expect("there");
        let run = machine.lpm("env rotate-key --yes").refused(4, said);
        assert!(
            run.stderr.contains("both keys are kept, and `lpm env rotate-key` goes on"),
            "{}",
            run.stderr
        );
        let next = key(&machine, ".vault-key.next").expect("kept");
        assert_eq!(key(&machine, ".vault-key").expect("kept").expose(), old.expose());
        for vault in ["v1", "v/2"] {
            let copy = copy(&team, vault);
            assert!(opens(&copy, &old).or_else(|| opens(&copy, &next)).is_some(), "{vault}");
            machine.args(&["env", "pull", "--vault", vault]).ok();
            machine.args(&["env", "get", "NAME", "--env=production", "--vault", vault]).prints("live\n");
            machine.args(&["env", "diff", "--exit-code", "--vault", vault]).ok();
        }
        // It goes on without asking, with the same key.
        let run = machine.lpm("env rotate-key").ok();
        assert!(run.stderr.contains("going on with a rotation that was not finished"), "{}", run.stderr);
        assert_eq!(key(&machine, ".vault-key").expect("there").expose(), next.expose());
        for vault in ["v1", "v/2"] {
            assert!(opens(&copy(&team, vault), &next).is_some(), "{vault}");
            machine.args(&["env", "pull", "--vault", vault]).ok();
        }
        machine.lpm("env get NAME --vault=v3").prints("local\n");
    }
}

#[test]
fn a_push_that_comes_in_between_is_kept() {
    let once = Mutex::new(true);
    let team = Team::deviating(move |request, kept| {
        if request.line == "POST /api/vaults/v1/sync"
            && request.json().get("name").is_none()
            && std::mem::take(&mut *once.lock().expect("free"))
        {
            // Another machine with the same key pushed a moment ago.
            let copy = kept.own.get_mut(&(ALICE.0.to_owned(), "v1".to_owned())).expect("pushed");
            copy["version"] = json!(copy["version"].as_i64().expect("a version") + 1);
        }
        None
    });
    let machine = team.machine(ALICE);
    machine.lpm("env set NAME=1").ok();
    machine.lpm("env push").ok();
    machine.lpm("env rotate-key --yes").ok();
    let new = key(&machine, ".vault-key").expect("there");
    assert!(opens(&copy(&team, "v1"), &new).is_some());
    machine.lpm("env push").refused(1, "the server has another version");
}

#[test]
fn vaults_under_other_machines_keys_are_named_and_left_alone() {
    let team = team();
    let other = team.machine(ALICE);
    other.lpm("env set NAME=other --vault=v9").ok();
    other.lpm("env push --vault=v9").ok();
    let before = copy(&team, "v9");
    let machine = three(&team);
    let run = machine.lpm("env rotate-key --yes --json").ok();
    assert!(
        run.stderr.contains("vault v9 was left as it is: it is under another machine's key"),
        "{}",
        run.stderr
    );
    assert_eq!(run.json()["rotated"], json!(["v/2", "v1"]));
    assert_eq!(run.json()["leftAlone"][0]["vaultId"], json!("v9"));
    assert_eq!(copy(&team, "v9"), before);
}

#[test]
fn the_old_key_is_not_given_up_while_it_opens_something_elsewhere() {
    let (here, there) = (team(), team());
    let machine = three(&here).with("LPM_REGISTRY_URL", &there.server.url);
    machine.args(&["env", "set", "NAME=x", "--vault=v4"]).ok();
    machine.args(&["env", "push", "--vault=v4"]).ok();
    let old = key(&machine, ".vault-key").expect("there");
    let machine = machine.with("LPM_REGISTRY_URL", &here.server.url);
    let run = machine
        .lpm("env rotate-key --yes")
        .refused(1, "this machine has pushed or pulled v4, which this account does not have on this server");
    assert!(run.stderr.contains("--forget-unreachable"), "{}", run.stderr);
    assert_eq!(key(&machine, ".vault-key").expect("kept").expose(), old.expose());
    // There, too: now nothing is left behind.
    let machine = machine.with("LPM_REGISTRY_URL", &there.server.url);
    machine.lpm("env rotate-key").ok();
    assert!(opens(&copy(&there, "v4"), &key(&machine, ".vault-key").expect("there")).is_some());
    let machine = machine.with("LPM_REGISTRY_URL", &here.server.url);
    machine.lpm("env pull").ok();
}

#[test]
fn what_is_gone_for_good_can_be_forgotten() {
    let team = team();
    let machine = three(&team);
    team.change(|kept| drop(kept.own.remove(&(ALICE.0.to_owned(), "v/2".to_owned()))));
    machine.lpm("env rotate-key --yes").refused(1, "has pushed or pulled v/2");
    machine.lpm("env rotate-key --forget-unreachable").ok();
    machine.args(&["env", "get", "NAME", "--vault=v/2"]).prints("v/2\n");
}

#[test]
fn a_vault_that_cannot_be_named_keeps_the_key() {
    let team = team();
    let machine = three(&team);
    let secrets = machine.home().join(".lpm/secrets");
    for entry in std::fs::read_dir(&secrets).expect("there") {
        let path = entry.expect("read").path();
        if path.extension().is_some_and(|extension| extension == "id") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    // The server's list names two of them.
    machine
        .lpm("env rotate-key --yes")
        .refused(1, "1 of the vaults on this machine do not say which they are");
    assert!(key(&machine, ".vault-key.next").is_none());
    machine.lpm("env list --vault=v3").ok();
    machine.lpm("env rotate-key --yes").ok();
}

#[test]
fn escrows_are_renewed_where_their_key_was_accepted_and_named_where_not() {
    let team = team();
    let machine = three(&team);
    team.change(|kept| kept.escrow = "aes".into());
    machine.lpm(&format!("env push --accept-escrow-key={}", escrow_fingerprint())).ok();
    let run = machine.lpm("env rotate-key --yes --json").ok();
    assert_eq!(run.json()["ci"], json!({"renewed": ["v1"], "leftOut": ["v/2"]}));
    assert!(run.stderr.contains("CI pulls of vault v/2 fail until `lpm env oidc allow`"), "{}", run.stderr);
    let body = team.last("POST", "/vaults/v1/sync");
    let hash = blob_sha256(body["encryptedBlob"].as_str().expect("text")).expect("a blob");
    let sealed = body["escrow"]["sealed"].as_str().expect("sealed");
    assert!(open_sealed_escrow(&escrow_keys(), EscrowKind::Aes, "v1", Some(hash), sealed).is_ok());
    assert!(team.last("POST", "/v%2F2/sync").get("escrow").is_none());
}

#[test]
fn an_escrow_of_the_wrapping_key_gets_the_new_one() {
    let team = team();
    let machine = three(&team);
    team.change(|kept| kept.escrow = "wrapping".into());
    let run = machine.lpm("env rotate-key --yes --json").ok();
    assert_eq!(run.json()["ci"], json!({"renewed": [], "leftOut": ["v/2", "v1"]}));
    assert_eq!(team.count("POST /api/vault/oidc/escrow"), 0, "a server alone gets no key");
    let run = machine
        .lpm(&format!("env rotate-key --yes --json --accept-escrow-key={}", escrow_fingerprint()))
        .ok();
    assert_eq!(run.json()["ci"], json!({"renewed": ["v/2", "v1"], "leftOut": []}));
    let body = team.last("POST", "/oidc/escrow");
    let (vault, sealed) = (body["vaultId"].as_str().expect("text"), body["sealed"].as_str().expect("text"));
    let opened =
        open_sealed_escrow(&escrow_keys(), EscrowKind::Wrapping, vault, None, sealed).expect("it opens");
    assert_eq!(opened.expose(), key(&machine, ".vault-key").expect("there").expose());
    machine.lpm("env rotate-key --yes --accept-escrow-key=SHA256:wrong").refused(3, "names another");
}
