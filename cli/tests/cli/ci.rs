//! `pull --oidc` and `run --oidc`: the job's identity, what is sent again, and what a denied job gets.

use crate::support::Machine;
use crate::support::gateway::{ME, OTHER, granted, refusal, runner};
use crate::support::server::{Reply, Server};
use serde_json::{Value, json};

#[test]
fn a_job_gets_its_environment() {
    let server = Server::new(|_, _| granted());
    let machine = runner(&server).with("LPM_OIDC_TOKEN", "jwt").with("LPM_TOKEN", "account");
    let run = machine.lpm("env pull --oidc --env=prod --output=.env").ok().hides("sk-live");
    assert!(run.stdout.is_empty());
    assert_eq!(
        machine.read(".env"),
        "# LPM vault secrets (env: production)\n# Pulled via OIDC CI escrow\nAPI_KEY=sk-live\nNOTE=\"two\nlines\"\n"
    );
    assert_eq!(machine.mode(".env"), 0o600);
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /api/vault/oidc/pull");
    assert_eq!(request.header("authorization"), None, "the job's identity is its only credential");
    assert_eq!(
        request.json(),
        json!({"oidcToken": "jwt", "vaultId": "v/1", "env": "production", "owner": ME})
    );
    assert!(!machine.home().join(".lpm").exists(), "nothing stays on the runner");

    machine.lpm("env pull --oidc --output=-").prints("export API_KEY='sk-live'\nexport NOTE='two\nlines'\n");
    assert_eq!(server.requests()[1].json()["env"], Value::Null);
    let document = machine.lpm("env pull --oidc --json").ok().json();
    assert_eq!(
        document,
        json!({"env": "production", "vars": {"API_KEY": "sk-live", "NOTE": "two\nlines"}, "count": 2})
    );
    assert!(machine.lpm("env pull --oidc").ok().stdout.contains("\nAPI_KEY=sk-live\n"));
    machine.lpm("env run --oidc --env=prod -- printenv API_KEY").prints("sk-live\n");
}

#[test]
fn a_vault_can_be_named_without_a_project() {
    let server = Server::new(|_, _| granted());
    let machine = Machine::new().with("LPM_REGISTRY_URL", &server.url).with("LPM_OIDC_TOKEN", "jwt");
    machine.lpm("env pull --oidc").refused(1, "there is no vault here");
    let machine = machine.with("LPM_VAULT_ID", "w").with("LPM_VAULT_OWNER", OTHER);
    machine.lpm("env pull --oidc --env=production").ok();
    assert_eq!(
        server.requests()[0].json(),
        json!({"oidcToken": "jwt", "vaultId": "w", "env": "production", "owner": OTHER})
    );
    // lpm.json speaks for its own vault only.
    let machine = runner(&server).with("LPM_OIDC_TOKEN", "jwt").with("LPM_VAULT_ID", "w");
    machine.lpm("env pull --oidc").ok();
    assert_eq!(server.requests()[1].json().get("owner"), None);
}

#[test]
fn a_denied_job_learns_why_and_gets_nothing() {
    let server = Server::new(|_, _| {
        refusal(403, "branch_not_allowed", "the branch `feature/x` is not allowed to pull")
    });
    let machine = runner(&server).with("LPM_OIDC_TOKEN", "jwt");
    machine.write(".env", "old");
    let run = machine
        .lpm("env pull --oidc --output=.env")
        .refused(3, "lpm: the branch `feature/x` is not allowed to pull\n");
    assert!(run.stderr.ends_with("lpm: hint: do this\nlpm: request id: r-1\n"), "{}", run.stderr);
    assert_eq!(machine.read(".env"), "old");
    assert_eq!(server.requests().len(), 1, "a denial is final");
    let run = machine.lpm("env pull --oidc --json");
    assert_eq!(run.code, Some(3));
    assert_eq!(
        run.json(),
        json!({"success": false, "error": "the branch `feature/x` is not allowed to pull",
                                  "code": "branch_not_allowed", "hint": "do this", "requestId": "r-1"})
    );
    machine.lpm("env run --oidc -- touch ran").refused(3, "feature/x");
    assert!(!machine.project().join("ran").exists());
}

#[test]
fn a_github_job_asks_for_a_fresh_token_for_every_attempt() {
    let runtime = Server::new(|_, count| Reply::new(200, format!(r#"{{"count":1,"value":"jwt-{count}"}}"#)));
    let server = Server::new(|_, count| match count {
        1 => Reply::none(),
        2 => refusal(503, "unavailable", "not now"),
        _ => granted(),
    });
    let machine = runner(&server)
        .with("GITHUB_ACTIONS", "true")
        .with("ACTIONS_ID_TOKEN_REQUEST_URL", &format!("{}/token?api-version=2.0", runtime.url))
        .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runtime");
    machine.lpm("env pull --oidc --output=.env").ok();
    let tokens: Vec<Value> =
        server.requests().iter().map(|request| request.json()["oidcToken"].clone()).collect();
    assert_eq!(tokens, [json!("jwt-1"), json!("jwt-2"), json!("jwt-3")]);
    let asked = &runtime.requests()[0];
    let audience = server.url.replace(':', "%3A").replace('/', "%2F");
    assert_eq!(asked.line, format!("GET /token?api-version=2.0&audience={audience}"));
    assert_eq!(asked.header("authorization"), Some("Bearer runtime"));
}

#[test]
fn a_runtime_that_gives_no_token_is_named() {
    let server = Server::always(200, "{}");
    for (status, body, code) in [(403, "no", 3), (200, "{}", 1), (200, "<html>", 1), (500, "", 4)] {
        let runtime = Server::always(status, body);
        let machine = runner(&server)
            .with("ACTIONS_ID_TOKEN_REQUEST_URL", &format!("{}/?x", runtime.url))
            .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runtime");
        machine.lpm("env pull --oidc").refused(code, "GitHub's runtime gave no identity token");
    }
    let machine = runner(&server)
        .with("ACTIONS_ID_TOKEN_REQUEST_URL", "http://evil.example/?x")
        .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hush");
    machine.lpm("env pull --oidc").refused(2, "ACTIONS_ID_TOKEN_REQUEST_URL is plain http://").hides("hush");
    assert!(server.requests().is_empty());
}

#[test]
fn a_token_that_may_be_used_up_is_not_sent_again() {
    let server = Server::new(|_, _| Reply::none());
    runner(&server)
        .with("LPM_OIDC_TOKEN", "jwt")
        .lpm("env pull --oidc")
        .refused(4, "the connection to the server failed");
    assert_eq!(server.requests().len(), 1);
    let server =
        Server::new(|_, count| if count == 1 { refusal(503, "unavailable", "not now") } else { granted() });
    runner(&server).with("LPM_GITLAB_OIDC_TOKEN", "jwt").lpm("env pull --oidc").ok();
    assert_eq!(server.requests().len(), 2, "503 says that nothing was done");
}

#[test]
fn hijacking_names_do_not_reach_a_process_from_the_server() {
    let server =
        Server::new(|_, _| Reply::new(200, r#"{"env":"default","vars":{"LD_PRELOAD":"/tmp/x.so"}}"#));
    let machine = runner(&server).with("LPM_OIDC_TOKEN", "jwt");
    machine.lpm("env run --oidc -- touch ran").refused(1, "LD_PRELOAD");
    machine.lpm("env pull --oidc --output=-").refused(1, "LD_PRELOAD");
    assert!(!machine.project().join("ran").exists());
}

#[test]
fn what_a_server_says_cannot_command_the_terminal() {
    let server = Server::new(|_, _| refusal(403, "no_policy", "a\u{1b}[2J\n::add-mask::b\r\n"));
    let run = runner(&server).with("LPM_OIDC_TOKEN", "jwt").lpm("env pull --oidc");
    assert!(run.stderr.starts_with("lpm: a\\u{1b}[2J\\u{a}::add-mask::b\\u{d}\\u{a}\n"), "{}", run.stderr);
}
