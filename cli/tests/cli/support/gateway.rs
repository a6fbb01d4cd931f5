//! What the servers of these tests answer: the published formats' known answers, and refusals.

use super::Machine;
use super::server::{Reply, Server};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::fingerprint;
use lpm_core::envelope::keyring::{EscrowKey, KeyId};
use serde_json::json;

pub(crate) const TOKEN: &str = "lpm_test_token_abc123";
pub(crate) const ME: &str = "0192f0c4-0000-4000-8000-000000000001";
pub(crate) const OTHER: &str = "0192f0c4-0000-4000-8000-000000000002";
pub(crate) const WRAPPING_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
pub(crate) const BLOB: &str = "AAECAwQFBgcICQoL:J3A4yTxcmYPSlKyoUgB8BmhSjQEMcNN9UC/pwZnAm9FzlVdkOSVmloFWy8r/6QaTdkuythUAo6ecH2DGRtwPxyq0/ziL8Z6pIQ7yBjoNkvrpH6XJ4lwCUjSUWFKhY9kyLAs15VMHbvCDJkDi/30SHadPmoLYEpQytCs=";
pub(crate) const WRAPPED: &str =
    "DA0ODxAREhMUFRYX:uN9L+1tT2nQfA2L+vaYIyGUy393CSA2do5vA29id/sVYYvcCMp7I31GyTfZG581N";

/// A developer's machine with the published client's wrapping key and a project.
pub(crate) fn developer(server: &Server) -> Machine {
    let machine = Machine::new().with("LPM_REGISTRY_URL", &server.url).with("LPM_TOKEN", TOKEN);
    machine.write("lpm.json", r#"{"vault":"v/1","env":{"prod":".env.production"}}"#);
    machine.lpm("env set LOCAL=1").ok();
    machine.replace_key(WRAPPING_KEY);
    machine.forget_secrets();
    machine
}

/// A CI machine with nothing but the project.
pub(crate) fn runner(server: &Server) -> Machine {
    let machine = Machine::new().with("LPM_REGISTRY_URL", &server.url);
    machine.write(
        "lpm.json",
        &format!(r#"{{"vault":"v/1","vaultOwner":"{ME}","env":{{"prod":".env.production"}}}}"#),
    );
    machine
}

pub(crate) fn pulled() -> Reply {
    pulled_by(ME)
}

pub(crate) fn pulled_by(owner: &str) -> Reply {
    let body =
        json!({"vaultId": "v/1", "encryptedBlob": BLOB, "wrappedKey": WRAPPED, "version": 7, "owner": owner});
    Reply::new(200, body.to_string()).signed(TOKEN)
}

pub(crate) fn refusal(status: u16, code: &str, text: &str) -> Reply {
    Reply::new(status, json!({"error": text, "code": code, "hint": "do this"}).to_string())
        .with("X-Request-Id", "r-1")
}

pub(crate) fn granted() -> Reply {
    Reply::new(200, r#"{"env":"production","vars":{"API_KEY":"sk-live","NOTE":"two\nlines"}}"#)
}

/// The escrow key of these servers.
pub(crate) fn escrow_keys() -> EscrowKey {
    EscrowKey::derive(KeyId::parse("k1"), &[5; 32]).expect("a key")
}

/// What people compare of it.
pub(crate) fn escrow_fingerprint() -> String {
    fingerprint(escrow_keys().public())
}

/// The answer about the escrow key and a vault's escrow: `off`, `aes` or `wrapping`.
pub(crate) fn escrow_key(escrow: &str) -> Reply {
    let public = STANDARD.encode(escrow_keys().public());
    let body = json!({"keyId": "k1", "publicKey": public, "fingerprint": escrow_fingerprint(), "escrow": escrow,
                      "legacyClients": false});
    Reply::new(200, body.to_string())
}
