//! `push` and `pull` against servers that lie, fail or are not the gateway: what is sent, and what is believed.

use crate::support::gateway::{
    BLOB, ME, OTHER, TOKEN, WRAPPED, WRAPPING_KEY, developer, pulled, pulled_by, refusal, runner,
};
use crate::support::server::{Reply, Request, Server};
use serde_json::{Value, json};

// --- pull and push ---

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
        let server = Server::closed_to_ci(move |_, _| reply());
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
    let server = Server::closed_to_ci(|_, count| {
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
    let server = Server::closed_to_ci(|_, _| {
        refusal(409, "version_conflict", "the server has version 5 of this vault, not 3")
    });
    let machine = developer(&server);
    machine.write("lpm.json", r#"{"vault":"v","vaultSync":{"personalVersion":3}}"#);
    machine.lpm("env set A=1").ok();
    let run = machine.lpm("env push").refused(1, "lpm: the server has version 5");
    assert!(run.stderr.contains("lpm: hint: do this\nlpm: request id: r-1\n"), "{}", run.stderr);
    assert_eq!(machine.lpm_json()["vaultSync"]["personalVersion"], json!(3));
}

#[test]
fn a_push_whose_answer_is_lost_is_not_sent_again() {
    let server = Server::closed_to_ci(|_, _| Reply::none());
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

// --- where requests go ---

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
