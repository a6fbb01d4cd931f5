//! `diff` and `restore`: looking at what the server has, and bringing back what it had.

use crate::support::Machine;
use crate::support::gateway::refusal;
use crate::support::server::Reply;
use crate::support::team::{ALICE, BOB, Kept, Team, token};
use serde_json::{Value, json};

fn pushed(team: &Team) -> Machine {
    let machine = team.machine(ALICE);
    machine.lpm("env set SAME=1 CHANGED=hush-old GONE=1").ok();
    machine.lpm("env set API_KEY=hush-live --env=production").ok();
    machine.lpm("env push").ok();
    machine.lpm("env set CHANGED=hush-new NEW=hush-2").ok();
    machine.lpm("env delete GONE").ok();
    machine
}

// --- diff ---

#[test]
fn a_difference_is_names_and_the_exit_code_only_where_asked_for() {
    let team = Team::new();
    let machine = pushed(&team);
    let run = machine.lpm("env diff").prints("default\n  ~ CHANGED\n  - GONE\n  + NEW\n").hides("hush");
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    let run = machine.lpm("env diff --exit-code");
    assert_eq!(run.code, Some(1));
    let document = machine.lpm("env diff --json").ok().hides("hush").json();
    assert_eq!(document["same"], json!(false));
    assert_eq!(
        document["environments"],
        json!({"default": {"added": ["NEW"], "changed": ["CHANGED"], "removed": ["GONE"]}})
    );
    machine.lpm("env diff --env=production --exit-code").prints("");
    machine.lpm("env diff --show-values").prints(
        "default\n  - CHANGED=\"hush-old\"\n  + CHANGED=\"hush-new\"\n  - GONE=\"1\"\n  + NEW=\"hush-2\"\n",
    );
    machine.lpm("env push").ok();
    let run = machine.lpm("env diff --exit-code").prints("");
    assert!(run.stderr.contains("this machine has what version 2 on the server has"), "{}", run.stderr);
}

#[test]
fn a_difference_changes_nothing_here_or_there() {
    let team = Team::new();
    let machine = pushed(&team);
    let (list, lpm_json) = (machine.lpm("env list").ok().stdout, machine.read("lpm.json"));
    machine.lpm("env diff").ok();
    assert_eq!((machine.lpm("env list").ok().stdout, machine.read("lpm.json")), (list, lpm_json));
    machine.lpm("env push").ok();
}

#[test]
fn an_orgs_copy_is_compared_without_registering_a_key() {
    let team = Team::new();
    let machine = pushed(&team);
    machine
        .lpm("env diff --org=acme")
        .refused(1, "this machine has no org key, so nothing was shared with it");
    assert_eq!(team.count("POST /api/users/me/public-key"), 0);
    machine.lpm("env share --org=acme --yes").ok();
    machine.lpm("env diff --org=acme --exit-code").prints("");
    machine.lpm("env set MORE=1").ok();
    machine.lpm("env diff --org=acme").prints("default\n  + MORE\n");
    let bob = team.machine(BOB);
    bob.lpm("env pull --org=acme").refused(3, "was not shared with you");
    bob.lpm("env diff --org=acme").refused(3, "was not shared with you");
}

#[test]
fn what_this_machine_cannot_open_is_not_compared() {
    let team = Team::new();
    let machine = pushed(&team);
    machine.replace_key(&"ab".repeat(32));
    machine.lpm("env diff").refused(1, "this machine's vault key does not open the server's copy");
    team.machine(BOB).lpm("env diff").refused(1, "no such vault of yours");
}

// --- restore ---

/// A team whose server keeps every version.
fn versions() -> Team {
    let kept_versions = std::sync::Mutex::new(Vec::<Value>::new());
    Team::deviating(move |request, kept: &mut Kept| {
        let own = (token(request), "v1".to_owned());
        let mut versions = kept_versions.lock().expect("free");
        match request.line.as_str() {
            "POST /api/vaults/v1/sync" => {
                let reply = kept.answer(request);
                versions.push(kept.own[&own].clone());
                Some(reply)
            }
            "GET /api/vaults/v1/versions" => {
                let current = versions.len();
                let list: Vec<Value> = versions.iter().enumerate().rev().map(|(at, _)| {
                    json!({"version": at + 1, "createdAt": "2026-01-01T00:00:00Z", "author": "alice", "current": at + 1 == current})
                }).collect();
                Some(Reply::new(200, json!({"versions": list}).to_string()))
            }
            "POST /api/vaults/v1/restore" => {
                let body = request.json();
                if body["expectedVersion"] != json!(versions.len()) {
                    return Some(refusal(
                        409,
                        "version_conflict",
                        "the server has another version of this vault",
                    ));
                }
                let at = usize::try_from(body["version"].as_u64().expect("a number")).expect("small") - 1;
                let mut copy = versions[at].clone();
                copy["version"] = json!(versions.len() + 1);
                kept.own.insert(own, copy.clone());
                let reply = json!({"version": copy["version"], "status": "restored", "owner": copy["owner"]});
                versions.push(copy);
                Some(Reply::new(200, reply.to_string()))
            }
            _ => None,
        }
    })
}

fn two_versions(team: &Team) -> Machine {
    let machine = team.machine(ALICE);
    machine.lpm("env set A=one").ok();
    machine.lpm("env push").ok();
    machine.lpm("env set A=two").ok();
    machine.lpm("env push").ok();
    machine
}

#[test]
fn a_kept_version_comes_back_as_the_newest() {
    let team = versions();
    let machine = two_versions(&team);
    machine.lpm("env restore").prints(
        "version 2  2026-01-01T00:00:00Z  by alice  (current)\nversion 1  2026-01-01T00:00:00Z  by alice\n",
    );
    assert_eq!(machine.lpm("env restore --json").json()["versions"][0]["current"], json!(true));
    machine.lpm("env restore 1").refused(2, "`--yes` agrees beforehand");
    let run = machine.lpm("env restore 1 --yes").ok();
    assert!(
        run.stderr.contains("version 1 of vault v1 is back as version 3; `lpm env pull` brings it"),
        "{}",
        run.stderr
    );
    assert_eq!(team.last("POST", "/v1/restore"), json!({"version": 1, "expectedVersion": 2}));
    machine.lpm("env get A").prints("two\n");
    machine.lpm("env push").refused(1, "the server has another version");
    machine.lpm("env pull").ok();
    machine.lpm("env get A").prints("one\n");
}

#[test]
fn what_is_not_kept_or_current_is_not_restored() {
    let team = versions();
    let machine = two_versions(&team);
    machine.lpm("env restore 7 --yes").refused(1, "no version 7 of the vault `v1` is kept");
    machine.lpm("env restore 2 --yes").refused(1, "version 2 is the one that the server has now");
    for version in ["0", "-1", "x", "99999999999"] {
        machine
            .args(&["env", "restore", "--yes", "--", version])
            .refused(2, "must be the number of a version");
    }
    assert_eq!(team.count("POST /api/vaults/v1/restore"), 0);
}

#[test]
fn a_version_that_does_not_open_here_is_taken_back() {
    let team = versions();
    let other = team.machine(ALICE);
    other.lpm("env set A=other").ok();
    other.lpm("env push").ok();
    let machine = team.machine(ALICE);
    machine.lpm("env set A=mine").ok();
    machine.lpm("env push --force").ok();
    let run = machine.lpm("env restore 1 --yes").refused(1, "version 1 does not open on this machine");
    assert!(run.stderr.contains("so version 2 was brought back as 4"), "{}", run.stderr);
    machine.lpm("env pull").ok();
    machine.lpm("env get A").prints("mine\n");
}

#[test]
fn an_orgs_versions_are_asked_for_by_its_name() {
    let team = Team::deviating(|request, _| {
        match request.line.as_str() {
        "GET /api/vaults/v1/versions?org=acme" => Some(Reply::new(
            200,
            json!({"versions": [{"version": 2, "createdAt": "t", "current": true}, {"version": 1, "createdAt": "t", "current": false}]}).to_string(),
        )),
        "POST /api/vaults/v1/restore" => Some(refusal(403, "org_role", "as developer of `acme` you cannot restore")),
        _ => None,
    }
    });
    let machine = pushed(&team);
    machine.lpm("env restore --org=acme").prints("version 2  t  (current)\nversion 1  t\n");
    machine.lpm("env restore 1 --org=acme --yes").refused(3, "as developer of `acme` you cannot restore");
    assert_eq!(team.last("POST", "/restore"), json!({"version": 1, "expectedVersion": 2, "org": "acme"}));
}
