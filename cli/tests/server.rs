//! Servers that lie, fail or are not the gateway: what `lpm` sends them, and what it believes.

mod support;

use lpm_core::envelope::escrow::{EscrowKind, open_sealed_escrow};
use lpm_core::envelope::fingerprint;
use lpm_core::envelope::keyring::{EscrowKey, KeyId};
use serde_json::{Value, json};
use support::Machine;
use support::server::{Reply, Request, Server};

const TOKEN: &str = "lpm_test_token_abc123";
const ME: &str = "0192f0c4-0000-4000-8000-000000000001";
const OTHER: &str = "0192f0c4-0000-4000-8000-000000000002";
const WRAPPING_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const BLOB: &str = "AAECAwQFBgcICQoL:J3A4yTxcmYPSlKyoUgB8BmhSjQEMcNN9UC/pwZnAm9FzlVdkOSVmloFWy8r/6QaTdkuythUAo6ecH2DGRtwPxyq0/ziL8Z6pIQ7yBjoNkvrpH6XJ4lwCUjSUWFKhY9kyLAs15VMHbvCDJkDi/30SHadPmoLYEpQytCs=";
const WRAPPED: &str = "DA0ODxAREhMUFRYX:uN9L+1tT2nQfA2L+vaYIyGUy393CSA2do5vA29id/sVYYvcCMp7I31GyTfZG581N";

/// A developer's machine with the published client's wrapping key and a project.
fn developer(server: &Server) -> Machine {
    let machine = Machine::new().with("LPM_REGISTRY_URL", &server.url).with("LPM_TOKEN", TOKEN);
    machine.write("lpm.json", r#"{"vault":"v/1","env":{"prod":".env.production"}}"#);
    machine.lpm("env set LOCAL=1").ok();
    machine.replace_key(WRAPPING_KEY);
    machine.forget_secrets();
    machine
}

/// A CI machine with nothing but the project.
fn runner(server: &Server) -> Machine {
    let machine = Machine::new().with("LPM_REGISTRY_URL", &server.url);
    machine.write(
        "lpm.json",
        &format!(r#"{{"vault":"v/1","vaultOwner":"{ME}","env":{{"prod":".env.production"}}}}"#),
    );
    machine
}

fn pulled() -> Reply {
    pulled_by(ME)
}

fn pulled_by(owner: &str) -> Reply {
    let body =
        json!({"vaultId": "v/1", "encryptedBlob": BLOB, "wrappedKey": WRAPPED, "version": 7, "owner": owner});
    Reply::new(200, body.to_string()).signed(TOKEN)
}

fn refusal(status: u16, code: &str, text: &str) -> Reply {
    Reply::new(status, json!({"error": text, "code": code, "hint": "do this"}).to_string())
        .with("X-Request-Id", "r-1")
}

fn granted() -> Reply {
    Reply::new(200, r#"{"env":"production","vars":{"API_KEY":"sk-live","NOTE":"two\nlines"}}"#)
}

// --- pull and push ----------------------------------------------------------------------------------

#[test]
fn a_signed_answer_replaces_the_variables() {
    let server = Server::new(|_, _| pulled());
    let machine = developer(&server);
    machine.lpm("env set OLD=1").ok();
    let run = machine.lpm("env pull").ok();
    assert!(
        run.stderr.contains("pulled version 7 of vault v/1, 3 variables: 3 added, 0 changed, 1 removed"),
        "{}",
        run.stderr
    );
    machine.lpm("env get API_KEY --env=prod").prints("sk-live\n");
    machine.lpm("env list").prints("default\n  API_KEY\n  DB_HOST\nproduction\n  API_KEY\n");
    assert_eq!(machine.lpm_json()["vaultSync"], json!({"personalVersion": 7}));
    assert_eq!(machine.lpm_json()["vaultOwner"], json!(ME));
    let request = server.requests().remove(0);
    assert_eq!(request.line, "GET /api/vaults/v%2F1/sync");
    assert_eq!(request.header("authorization"), Some("Bearer lpm_test_token_abc123"));
    machine.lpm("env pull --env=prod --output=.env").ok();
    assert!(machine.read(".env").ends_with("API_KEY=sk-live\n"));
}

#[test]
fn an_answer_that_is_not_signed_for_this_token_changes_nothing() {
    for reply in [
        || {
            Reply::new(200, json!({"vaultId": "v", "encryptedBlob": BLOB, "wrappedKey": WRAPPED, "version": 7, "owner": ME}).to_string())
        },
        || {
            Reply::new(200, json!({"vaultId": "v", "encryptedBlob": BLOB, "wrappedKey": WRAPPED, "version": 7, "owner": ME}).to_string()).signed("other")
        },
        || Reply::new(200, "{}").with("X-LPM-Signature", "bm8="),
    ] {
        let server = Server::new(move |_, _| reply());
        let machine = developer(&server);
        machine.lpm("env set OLD=1").ok();
        let before = machine.read("lpm.json");
        for command in ["env pull", "env pull --force", "env push"] {
            machine.lpm(command).refused(1, "X-LPM-Signature");
        }
        machine.lpm("env list").prints("default\n  OLD\n");
        assert_eq!(machine.read("lpm.json"), before);
    }
}

#[test]
fn an_empty_or_foreign_vault_does_not_wipe_this_machine() {
    let server = Server::new(|_, _| pulled());
    let machine = developer(&server);
    machine.replace_key(&"ab".repeat(32));
    machine.lpm("env set OLD=1").ok();
    machine.lpm("env pull").refused(1, "this machine's vault key does not open the server's copy");
    machine.lpm("env get OLD").prints("1\n");

    // Sealed by the published client's formats: `{}` under the same keys.
    let empty = |_: &Request, _| {
        let key = lpm_core::secret::Secret::new(hex::decode(WRAPPING_KEY).expect("hex"));
        let aes = lpm_core::secret::Secret::new(vec![9; 32]);
        let blob = lpm_core::envelope::vault::seal_blob(&aes, &[1; 12], b"{}").expect("sealed");
        let wrapped = lpm_core::envelope::vault::wrap_key(&key, &[2; 12], &aes).expect("sealed");
        let body =
            json!({"vaultId": "v", "encryptedBlob": blob, "wrappedKey": wrapped, "version": 8, "owner": ME});
        Reply::new(200, body.to_string()).signed(TOKEN)
    };
    let server = Server::new(empty);
    let machine = developer(&server);
    machine.lpm("env set OLD=1").ok();
    machine.lpm("env pull").refused(1, "the server's vault is empty and this machine has 1 variable");
    machine.lpm("env get OLD").prints("1\n");
    machine.lpm("env pull --force").ok();
    machine.lpm("env list").prints("");
}

#[test]
fn a_push_is_ciphertext_with_what_this_checkout_has_seen() {
    let server = Server::new(|_, count| {
        let body = json!({"version": count, "status": "updated", "owner": ME}).to_string();
        Reply::new(if count == 1 { 201 } else { 200 }, body).signed(TOKEN)
    });
    let machine = developer(&server);
    machine.write("package.json", r#"{"name":"shop"}"#);
    machine.lpm("env set API_KEY=hush --env=prod").ok();
    machine.lpm("env push").ok();
    machine.lpm("env push").ok();
    machine.lpm("env push --force").ok();
    let bodies: Vec<Value> = server.requests().iter().map(Request::json).collect();
    assert!(
        server
            .requests()
            .iter()
            .all(|request| !request.body.contains("hush") && !request.body.contains("API_KEY"))
    );
    assert_eq!(bodies[0].get("expectedVersion"), None);
    assert_eq!(bodies[1]["expectedVersion"], json!(1));
    assert_eq!((bodies[2].get("expectedVersion"), &bodies[2]["force"]), (None, &json!(true)));
    assert_ne!(bodies[0]["encryptedBlob"], bodies[1]["encryptedBlob"]);
    assert_eq!(bodies[0]["name"], json!("shop"));
    assert_eq!(
        bodies[0]["schema"],
        json!({"version": 2, "envConfig": {"prod": {"canonical": "production", "file": ".env.production"}}})
    );
    assert_eq!(machine.lpm_json()["vaultSync"]["personalVersion"], json!(3));
}

#[test]
fn a_conflict_says_what_the_server_says_and_keeps_the_version() {
    let server =
        Server::new(|_, _| refusal(409, "version_conflict", "the server has version 5 of this vault, not 3"));
    let machine = developer(&server);
    machine.write("lpm.json", r#"{"vault":"v","vaultSync":{"personalVersion":3}}"#);
    machine.lpm("env set A=1").ok();
    let run = machine.lpm("env push").refused(1, "lpm: the server has version 5");
    assert!(run.stderr.contains("lpm: hint: do this\nlpm: request id: r-1\n"), "{}", run.stderr);
    assert_eq!(machine.lpm_json()["vaultSync"]["personalVersion"], json!(3));
}

#[test]
fn a_push_whose_answer_is_lost_is_not_sent_again() {
    let server = Server::new(|_, _| Reply::none());
    let machine = developer(&server);
    machine.lpm("env set A=1").ok();
    machine.lpm("env push").refused(4, "the connection to the server failed");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_pull_is_sent_again_where_that_helps() {
    let server = Server::new(|_, count| match count {
        1 => Reply::none(),
        2 => refusal(503, "unavailable", "not now"),
        _ => pulled(),
    });
    developer(&server).lpm("env pull").ok();
    assert_eq!(server.requests().len(), 3);
    let server = Server::new(|_, _| refusal(503, "unavailable", "not now"));
    developer(&server).lpm("env pull").refused(4, "not now");
    assert_eq!(server.requests().len(), 3);
    let server = Server::new(|_, _| refusal(500, "internal", "broken"));
    developer(&server).lpm("env pull").refused(4, "broken");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn someone_elses_vault_id_is_noticed() {
    let server = Server::new(|_, _| pulled_by(OTHER));
    let machine = developer(&server);
    machine.write("lpm.json", &format!(r#"{{"vault":"v/1","vaultOwner":"{ME}"}}"#));
    let run = machine.lpm("env pull").ok();
    assert!(run.stderr.contains("this copy is your own"), "{}", run.stderr);
    assert_eq!(machine.lpm_json()["vaultOwner"], json!(ME), "and not overwritten");
}

// --- where requests go ------------------------------------------------------------------------------

#[test]
fn a_redirect_is_not_followed_with_token_or_secret() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Server::always(200, "{}");
        let target = format!("{}/api/x?token=hush", elsewhere.url);
        let server = Server::new(move |_, _| Reply::new(status, "").with("Location", target.clone()));
        let machine = developer(&server).with("LPM_OIDC_TOKEN", "jwt");
        machine.lpm("env set A=1").ok();
        for command in
            ["env push", "env pull", "env log", "env pull --oidc", "env oidc list", "env oidc disable"]
        {
            machine.lpm(command).refused(1, "which is not followed").hides("hush");
        }
        assert!(elsewhere.requests().is_empty());
    }
}

#[test]
fn proxies_see_nothing_that_is_meant_for_this_machine() {
    let proxy = Server::always(200, "{}");
    let server = Server::new(|_, _| pulled());
    let mut machine = developer(&server);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        machine = machine.with(name, &proxy.url);
    }
    machine.lpm("env pull").ok();
    assert!(proxy.requests().is_empty());
}

#[test]
fn an_answer_that_is_no_answer_of_a_gateway_is_an_error() {
    for (status, body, code) in [
        (200, "<html>hush</html>", 1),
        (200, "{}", 1),
        (200, "", 1),
        (404, "<html>hush", 1),
        (502, "hush", 4),
    ] {
        let server = Server::always(status, body);
        let machine = runner(&server).with("LPM_OIDC_TOKEN", "jwt");
        machine.lpm("env pull --oidc --output=.env").refused(code, "the server").hides("hush");
        assert!(!machine.project().join(".env").exists());
    }
}

// --- CI ---------------------------------------------------------------------------------------------

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

// --- allow ------------------------------------------------------------------------------------------

fn escrow_key() -> EscrowKey {
    EscrowKey::derive(KeyId::parse("k1"), &[5; 32]).expect("a key")
}

/// A gateway for `allow`; `deviates` answers first.
fn gateway(deviates: impl Fn(&str) -> Option<Reply> + Send + 'static) -> Server {
    Server::new(move |request, _| {
        if let Some(reply) = deviates(&request.line) {
            return reply;
        }
        match request.line.as_str() {
            "GET /api/vaults/v%2F1/sync" => pulled(),
            "GET /api/vault/oidc/escrow-key" => {
                let key = escrow_key();
                let public = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key.public());
                Reply::new(
                    200,
                    json!({"keyId": "k1", "publicKey": public, "fingerprint": fingerprint(key.public())})
                        .to_string(),
                )
            }
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
const READS: [&str; 2] = ["GET /api/vaults/v%2F1/sync", "GET /api/vault/oidc/escrow-key"];

#[test]
fn allow_checks_first_then_makes_the_policy_and_seals_the_key() {
    let server = gateway(|_| None);
    let machine = developer(&server);
    let run = machine
        .lpm(ALLOW)
        .prints("Vault v/1 now permits:\n  acme/web may pull production\n")
        .hides(WRAPPING_KEY);
    let shown = fingerprint(escrow_key().public());
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
    assert_eq!(sealed["vaultId"], json!("v/1"));
    assert_eq!(sealed.get("wrappingKeyHex"), None);
    let sealed = sealed["sealed"].as_str().expect("it is sealed").to_owned();
    let opened =
        open_sealed_escrow(&escrow_key(), EscrowKind::Wrapping, "v/1", None, &sealed).expect("it opens");
    assert_eq!(hex::encode(opened.expose()), WRAPPING_KEY);
    assert!(requests.iter().all(|request| !request.body.contains(WRAPPING_KEY)));
    assert_eq!(
        (&machine.lpm_json()["vaultOwner"], &machine.lpm_json()["escrowKey"]),
        (&json!(ME), &json!(shown))
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
    let shown = fingerprint(escrow_key().public());
    let run = machine.lpm(ALLOW).refused(3, "lpm.json has pinned SHA256:old");
    assert!(run.stderr.contains(&format!("--accept-escrow-key={shown}")), "{}", run.stderr);
    machine
        .lpm(&format!("{ALLOW} --accept-escrow-key=SHA256:wrong"))
        .refused(3, "`--accept-escrow-key` names SHA256:wrong");
    assert!(server.lines().iter().all(|line| line.starts_with("GET")), "{:?}", server.lines());
    assert_eq!(machine.lpm_json()["escrowKey"], json!("SHA256:old"));
    machine.lpm(&format!("{ALLOW} --accept-escrow-key={shown}")).ok();
    assert_eq!(machine.lpm_json()["escrowKey"], json!(shown));
}

#[test]
fn a_server_that_lies_about_its_fingerprint_is_refused() {
    let server = gateway(|line| {
        let body = json!({"keyId": "k1", "publicKey": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "fingerprint": fingerprint(escrow_key().public())});
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
