//! `lpm org`: what is sent, what is said, and what is refused.

use crate::support::Machine;
use crate::support::gateway::{TOKEN, refusal};
use crate::support::server::{Reply, Server};
use serde_json::json;

const INVITATION: &str = r#"{"org":"acme","handle":"bob","role":"developer","invitedBy":"alice","expiresAt":"2026-01-08T00:00:00Z"}"#;

fn gateway() -> Server {
    Server::new(|request, _| {
        let member = |role: &str| json!({"userId": "0192f0c4-0000-4000-8000-000000000001", "handle": "bob", "role": role, "hasPublicKey": false});
        let ok = |body: serde_json::Value| Reply::new(200, body.to_string());
        match request.line.as_str() {
            "GET /api/orgs/acme/members" => {
                ok(json!({"members": [member("developer")], "mayShare": "maintainer"}))
            }
            "POST /api/orgs/acme/invitations" => Reply::new(201, INVITATION),
            "GET /api/invitations" | "GET /api/orgs/acme/invitations" => {
                Reply::new(200, format!(r#"{{"invitations":[{INVITATION}]}}"#))
            }
            "POST /api/orgs/acme/invitations/accept" => ok(member("developer")),
            "DELETE /api/orgs/acme/invitations/bob" => ok(json!({"success": true})),
            "PUT /api/orgs/acme/members/bob" => ok(member("admin")),
            "PUT /api/orgs/acme/settings" => ok(json!({"mayShare": "owner"})),
            "DELETE /api/orgs/acme/members/bob" | "DELETE /api/orgs/acme/members/bob?revokePolicies=true" => {
                let revoked = request.line.ends_with("true");
                ok(
                    json!({"success": true, "policies": [{"id": "0192f0c4-0000-7000-8000-000000000001", "vaultId": "v1",
                          "subject": "repo:acme/web", "revoked": revoked}]}),
                )
            }
            _ => refusal(404, "org_unknown", "no org `none` of yours"),
        }
    })
}

fn machine(server: &Server) -> Machine {
    Machine::new().with("LPM_REGISTRY_URL", &server.url).with("LPM_TOKEN", TOKEN)
}

#[test]
fn members_and_invitations_are_lines() {
    let server = gateway();
    let machine = machine(&server);
    let run = machine.lpm("org members acme").prints("bob  developer  (no org key yet)\n");
    assert!(run.stderr.contains("vaults may be shared by: maintainers, admins and owners"), "{}", run.stderr);
    assert_eq!(machine.lpm("org members acme --json").json()["mayShare"], json!("maintainer"));
    for command in ["org invitations", "org invitations acme"] {
        machine.lpm(command).prints("acme  bob  developer  by alice  until 2026-01-08T00:00:00Z\n");
    }
}

#[test]
fn an_invitation_goes_out_is_accepted_declined_and_taken_back() {
    let server = gateway();
    let machine = machine(&server);
    let run = machine.lpm("org invite acme bob").prints("");
    assert!(run.stderr.contains("they run `lpm org accept acme`"), "{}", run.stderr);
    assert_eq!(server.requests()[0].json(), json!({"handle": "bob", "role": "developer"}));
    let run = machine.lpm("org accept acme").ok();
    assert!(run.stderr.contains("you are developer of `acme` now"), "{}", run.stderr);
    machine.lpm("org decline acme").ok();
    machine.lpm("org uninvite acme bob --json").ok();
    assert_eq!(
        server.lines()[2..],
        [
            "GET /api/invitations",
            "DELETE /api/orgs/acme/invitations/bob",
            "DELETE /api/orgs/acme/invitations/bob"
        ]
    );
    machine.lpm("org decline other").refused(1, "no invitation to `other` waits for you");
}

#[test]
fn roles_and_who_may_share_are_set() {
    let server = gateway();
    let machine = machine(&server);
    machine.lpm("org role acme bob admin").ok();
    assert_eq!(server.requests()[0].json(), json!({"role": "admin"}));
    machine.lpm("org sharing acme owner").ok();
    assert_eq!(server.requests()[1].json(), json!({"mayShare": "owner"}));
    let run = machine.lpm("org sharing acme").ok();
    assert!(run.stderr.contains("maintainers, admins and owners"), "{}", run.stderr);
    machine.lpm("org role acme bob emperor").refused(2, "invalid value");
    machine.lpm("org invite acme bob --role=emperor").refused(2, "invalid value");
}

#[test]
fn a_removal_is_asked_about_and_says_what_stays_open() {
    let server = gateway();
    let machine = machine(&server);
    machine.lpm("org remove acme bob").refused(2, "`--yes` agrees beforehand");
    assert!(server.lines().is_empty());
    let run = machine.lpm("org remove acme bob --yes").ok();
    assert_eq!(run.stdout, "0192f0c4-0000-7000-8000-000000000001  in force  vault v1  repo:acme/web\n");
    assert!(run.stderr.contains("they wrote 1 of the org's policies, which stay in force"), "{}", run.stderr);
    assert!(run.stderr.contains("what they have pulled before they still know"), "{}", run.stderr);
    let run = machine.lpm("org remove acme bob --yes --revoke-policies --json").ok();
    assert_eq!(run.json()["policies"][0]["revoked"], json!(true));
}

#[test]
fn an_org_that_is_unknown_is_refused_in_the_servers_words() {
    let server = gateway();
    let machine = machine(&server);
    for command in [
        "org members none",
        "org invite none bob",
        "org invitations none",
        "org accept none",
        "org uninvite none bob",
        "org role none bob admin",
        "org remove none bob --yes",
        "org sharing none owner",
    ] {
        machine.lpm(command).refused(1, "no org `none` of yours");
    }
    let run = machine.lpm("org members none --json");
    assert_eq!((run.code, &run.json()["code"]), (Some(1), &json!("org_unknown")));
}

#[test]
fn what_is_no_name_is_neither_repeated_nor_sent() {
    let server = gateway();
    let machine = machine(&server);
    for arguments in [
        &["org", "members", "hush/.."][..],
        &["org", "invite", "acme", "hush hush"],
        &["org", "invite", "hush=1", "bob"],
        &["org", "accept", ""],
        &["org", "role", "acme", "hush@x", "admin"],
        &["org", "remove", "acme", "hush?x", "--yes"],
        &["org", "uninvite", "acme", "hush#"],
        &["org", "sharing", "hush!"],
    ] {
        machine.args(arguments).refused(2, "that is no ").hides("hush");
    }
    assert!(server.lines().is_empty());
}
