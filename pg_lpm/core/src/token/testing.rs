//! Tokens for tests: real keys, a good token, one thing changed.

use super::{IssuerRules, KeySet, TokenError, UnverifiedToken, Verified};
use crate::claims::testing::{Payload, github, gitlab};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Ten seconds after the fixtures were issued.
pub(crate) const NOW: i64 = 1_790_000_010;

/// The issuer's key and one that is not the issuer's.
pub(crate) static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rsa("key-1", 2048, 65537));
pub(crate) static STRANGER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rsa("key-1", 2048, 65537));

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An RSA key with its id.
pub(crate) struct SigningKey {
    pub(crate) id: &'static str,
    pub(crate) key: PKey<Private>,
}

impl SigningKey {
    pub(crate) fn rsa(id: &'static str, bits: u32, exponent: u32) -> Self {
        let exponent = BigNum::from_u32(exponent).expect("a small number");
        let rsa = Rsa::generate_with_e(bits, &exponent).expect("a new RSA key");
        Self { id, key: PKey::from_rsa(rsa).expect("an RSA key") }
    }

    /// The public half as issuers publish it.
    pub(crate) fn jwk(&self) -> Value {
        let rsa = self.key.rsa().expect("an RSA key");
        let (n, e) = (base64(rsa.n().to_vec()), base64(rsa.e().to_vec()));
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id, "n": n, "e": e})
    }

    /// PKCS #1 v1.5 with SHA-256, or PSS.
    pub(crate) fn sign(&self, digest: MessageDigest, padding: Padding, message: &[u8]) -> Vec<u8> {
        let mut signer = Signer::new(digest, &self.key).expect("a signer");
        signer.set_rsa_padding(padding).expect("a padding for RSA");
        if padding == Padding::PKCS1_PSS {
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).expect("as RFC 7518 has it");
        }
        signer.sign_oneshot_to_vec(message).expect("a signature")
    }
}

/// The key set of the issuer.
pub(crate) fn keys() -> KeySet {
    key_set(&[KEY.jwk()]).expect("one good key")
}

pub(crate) fn key_set(keys: &[Value]) -> Result<KeySet, super::KeySetError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

/// A token on its way to be signed.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) header: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// GitHub's header and the claims of a push.
pub(crate) fn token() -> Token {
    token_of(&github())
}

pub(crate) fn gitlab_token() -> Token {
    token_of(&gitlab())
}

pub(crate) fn token_of(payload: &Payload) -> Token {
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": KEY.id, "x5t": "dGh1bWJwcmludA"});
    Token { header: header.to_string().into_bytes(), payload: payload.bytes() }
}

impl Token {
    /// With this JSON text as header.
    pub(crate) fn header(mut self, header: impl AsRef<[u8]>) -> Self {
        self.header = header.as_ref().to_vec();
        self
    }

    /// With these bytes as payload.
    pub(crate) fn payload(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.payload = payload.as_ref().to_vec();
        self
    }

    /// `header.payload`.
    pub(crate) fn unsigned(&self) -> String {
        format!("{}.{}", base64(&self.header), base64(&self.payload))
    }

    /// With a signature from somewhere else.
    pub(crate) fn signature(&self, signature: impl AsRef<[u8]>) -> String {
        format!("{}.{}", self.unsigned(), base64(signature))
    }

    /// Signed by this key with RS256, whatever the header says.
    pub(crate) fn signed_by(&self, key: &SigningKey) -> String {
        self.signature(key.sign(MessageDigest::sha256(), Padding::PKCS1, self.unsigned().as_bytes()))
    }

    /// Signed by the issuer.
    pub(crate) fn signed(&self) -> String {
        self.signed_by(&KEY)
    }
}

/// The rules of github.com.
pub(crate) fn github_rules() -> IssuerRules {
    rules(json!({
        "issuer": "https://token.actions.githubusercontent.com", "provider": "github",
        "audiences": ["https://lpm.dev", "https://vault.example.com"], "algorithms": ["RS256"],
        "maxLifetime": 600, "maxAge": 600
    }))
}

/// The rules of gitlab.com.
pub(crate) fn gitlab_rules() -> IssuerRules {
    rules(json!({
        "issuer": "https://gitlab.com", "provider": "gitlab", "audiences": ["https://lpm.dev"],
        "algorithms": ["RS256"], "maxLifetime": 86400, "maxAge": 86400, "jwksUri": null
    }))
}

pub(crate) fn rules(rules: Value) -> IssuerRules {
    serde_json::from_value(rules).expect("good rules")
}

/// Reads and verifies as the gateway does.
pub(crate) fn verify(
    token: &str,
    rules: &IssuerRules,
    keys: &KeySet,
    now: i64,
) -> Result<Verified, TokenError> {
    UnverifiedToken::read(token)?.verify(rules, keys, now)
}
