//! Tokens for tests: real keys, a good token, one thing changed.

pub(crate) use super::NOW;
use super::claims::{Payload, github, gitlab};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lpm_core::token::{IssuerRules, KeySet, KeySetError, TokenError, UnverifiedToken, Verified};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sha::sha256;
use openssl::sign::{RsaPssSaltlen, Signer};
use serde_json::{Value, json};
use std::sync::LazyLock;

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

/// A key on the curve P-256, under the issuer's key id.
pub(crate) struct EcSigningKey(EcKey<Private>);

impl EcSigningKey {
    pub(crate) fn p256() -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
        Self(EcKey::generate(&group).expect("a new key"))
    }

    /// The public half as issuers publish it.
    pub(crate) fn jwk(&self) -> Value {
        let (mut x, mut y) = (BigNum::new().expect("memory"), BigNum::new().expect("memory"));
        let mut context = BigNumContext::new().expect("memory");
        self.0
            .public_key()
            .affine_coordinates(self.0.group(), &mut x, &mut y, &mut context)
            .expect("a point");
        let coordinate = |number: &BigNum| base64(number.to_vec_padded(32).expect("32 bytes"));
        json!({"kty": "EC", "crv": "P-256", "kid": KEY.id, "x": coordinate(&x), "y": coordinate(&y)})
    }

    /// r and s over the SHA-256 of the message.
    pub(crate) fn signature(&self, message: &[u8]) -> EcdsaSig {
        EcdsaSig::sign(&sha256(message), &self.0).expect("a signature")
    }

    /// The signature as JWS has it (RFC 7518, section 3.4): r and s, 32 bytes each.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.signature(message);
        [signature.r(), signature.s()].map(|number| number.to_vec_padded(32).expect("32 bytes")).concat()
    }
}

/// The key set of the issuer.
pub(crate) fn keys() -> KeySet {
    key_set(&[KEY.jwk()]).expect("one good key")
}

pub(crate) fn key_set(keys: &[Value]) -> Result<KeySet, KeySetError> {
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

/// Why github.com's rules refuse a token now.
pub(crate) fn refusal(token: &str) -> Option<TokenError> {
    verify(token, &github_rules(), &keys(), NOW).err()
}

/// Header, payload and signature.
pub(crate) fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<&str> = token.split('.').collect();
    parts.try_into().expect("three parts")
}
