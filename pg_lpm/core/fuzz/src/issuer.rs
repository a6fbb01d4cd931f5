//! An issuer with fixed keys, so that a target can sign what the fuzzer thinks of.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lpm_core::claims::Provider;
use lpm_core::token::{IssuerRules, KeySet};
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::Signer;
use serde_json::json;
use std::sync::LazyLock;

/// Ten seconds after the fixtures were issued.
pub(crate) const NOW: i64 = 1_790_000_010;

/// The id of the issuer's key.
pub(crate) const KEY_ID: &str = "key-1";

/// The modulus of RFC 7515, appendix A.2.1: nobody here has its other half.
const RSA_MODULUS: &str = concat!(
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR",
    "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBd",
    "QOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGN",
    "j8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
);

/// A key that signs.
pub(crate) struct SigningKey(PKey<Private>);

pub(crate) static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::new([7; 32]));
pub(crate) static STRANGER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::new([8; 32]));

/// What the issuer publishes.
pub(crate) static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let rsa = json!({ "kty": "RSA", "kid": "rsa", "n": RSA_MODULUS, "e": "AQAB" });
    let keys = json!({ "keys": [KEY.jwk(KEY_ID), rsa] });
    KeySet::parse(keys.to_string().as_bytes()).expect("two good keys")
});

impl SigningKey {
    fn new(seed: [u8; 32]) -> Self {
        Self(PKey::private_key_from_raw_bytes(&seed, Id::ED25519).expect("any 32 bytes are a key"))
    }

    /// Ed25519, so two signatures of one message are equal.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signer = Signer::new_without_digest(&self.0).expect("a signer");
        signer.sign_oneshot_to_vec(message).expect("a signature")
    }

    /// The public half, in base64url.
    pub(crate) fn public(&self) -> String {
        base64(&self.0.raw_public_key().expect("it has one"))
    }

    pub(crate) fn jwk(&self, id: &str) -> serde_json::Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": self.public() })
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The rules of both providers' issuers.
pub(crate) static RULES: LazyLock<Vec<IssuerRules>> = LazyLock::new(|| {
    let rules = |issuer: &str, provider: Provider, seconds: i64| {
        let json = json!({
            "issuer": issuer, "provider": provider, "algorithms": ["RS256", "EdDSA"],
            "audiences": ["https://lpm.dev", "https://vault.example.com", "https://lpm.dev/sealed/v1/x"],
            "maxLifetime": seconds, "maxAge": seconds
        });
        serde_json::from_value(json).expect("good rules")
    };
    vec![
        rules("https://token.actions.githubusercontent.com", Provider::GitHub, 600),
        rules("https://gitlab.com", Provider::GitLab, 86400),
    ]
});
