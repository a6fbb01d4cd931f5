//! J2: who chooses the algorithm.

use crate::support::claims::github;
use crate::support::token::*;
use lpm_core::token::{IssuerRules, KeySet, TokenError, algorithm};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Padding;
use openssl::sign::Signer;
use serde_json::{Value, json};

fn header(algorithm: &str) -> String {
    json!({"alg": algorithm, "kid": "key-1"}).to_string()
}

fn allowing(algorithms: &[&str]) -> IssuerRules {
    let algorithms = algorithms.iter().map(|name| algorithm(name).unwrap()).collect();
    IssuerRules { algorithms, ..github_rules() }
}

/// The issuer's key, published for whatever algorithm fits it.
fn unbound_keys() -> KeySet {
    let mut jwk = KEY.jwk();
    jwk.as_object_mut().unwrap().remove("alg");
    key_set(&[jwk]).unwrap()
}

/// Good signatures, each by its own algorithm: name, keys that verify it, token.
fn others() -> Vec<(&'static str, KeySet, String)> {
    let (sha256, sha384, sha512) =
        (MessageDigest::sha256(), MessageDigest::sha384(), MessageDigest::sha512());
    let rsa = |name: &'static str, digest, padding| {
        let token = token().header(header(name));
        (name, unbound_keys(), token.signature(KEY.sign(digest, padding, token.unsigned().as_bytes())))
    };
    let p256 = EcSigningKey::p256();
    let ec = token().header(header("ES256"));
    let ed25519 = PKey::generate_ed25519().unwrap();
    let ed = token().header(header("EdDSA"));
    let mut signer = Signer::new_without_digest(&ed25519).unwrap();
    let ed_signature = signer.sign_oneshot_to_vec(ed.unsigned().as_bytes()).unwrap();
    let x = base64(ed25519.raw_public_key().unwrap());
    let ed_jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "key-1", "x": x});
    vec![
        rsa("RS384", sha384, Padding::PKCS1),
        rsa("RS512", sha512, Padding::PKCS1),
        rsa("PS256", sha256, Padding::PKCS1_PSS),
        rsa("PS384", sha384, Padding::PKCS1_PSS),
        rsa("PS512", sha512, Padding::PKCS1_PSS),
        ("ES256", key_set(&[p256.jwk()]).unwrap(), ec.signature(p256.sign(ec.unsigned().as_bytes()))),
        ("EdDSA", key_set(&[ed_jwk]).unwrap(), ed.signature(ed_signature)),
    ]
}

#[test]
fn j02_hmac_with_the_public_key_as_secret_is_refused() {
    let (jwk, rsa) = (KEY.jwk(), KEY.key.rsa().unwrap());
    let n = jwk["n"].as_str().unwrap();
    let pem = KEY.key.public_key_to_pem().unwrap();
    let secrets = [
        ("PEM", pem.clone()),
        ("PEM without its last line feed", pem.trim_ascii_end().to_vec()),
        ("PKCS #1 PEM", rsa.public_key_to_pem_pkcs1().unwrap()),
        ("DER", KEY.key.public_key_to_der().unwrap()),
        ("PKCS #1 DER", rsa.public_key_to_der_pkcs1().unwrap()),
        ("JWK n, bytes", rsa.n().to_vec()),
        ("JWK n, base64url", n.as_bytes().to_vec()),
        ("JWK", jwk.to_string().into_bytes()),
        ("JWK set", json!({"keys": [jwk]}).to_string().into_bytes()),
        ("empty secret, which HMAC fills up with zeros", vec![0]),
    ];
    let digests = [
        ("HS256", MessageDigest::sha256()),
        ("HS384", MessageDigest::sha384()),
        ("HS512", MessageDigest::sha512()),
    ];
    for (secret_name, secret) in &secrets {
        for (name, digest) in digests {
            let token = token().header(header(name));
            let key = PKey::hmac(secret).unwrap();
            let mac =
                Signer::new(digest, &key).unwrap().sign_oneshot_to_vec(token.unsigned().as_bytes()).unwrap();
            let expected = TokenError::Algorithm { algorithm: name.to_owned() };
            assert_eq!(refusal(&token.signature(&mac)), Some(expected), "J2: {name} with the {secret_name}");
            // The same bytes where the header tells the truth about the issuer's algorithm.
            let honest = token.header(header("RS256")).signature(&mac);
            assert_eq!(
                refusal(&honest),
                Some(TokenError::Signature),
                "J2: RS256, MAC with the {secret_name}"
            );
        }
    }
}

#[test]
fn j02_an_algorithm_outside_the_issuers_row_is_refused_though_its_signature_holds() {
    for (name, keys, token) in others() {
        let expected = TokenError::Algorithm { algorithm: name.to_owned() };
        let error = verify(&token, &github_rules(), &keys, NOW).err();
        assert_eq!(error, Some(expected), "J2: {name} where the row says RS256");
        // It is the row that refuses it, and nothing else about the token.
        verify(&token, &allowing(&[name]), &keys, NOW).expect(name);
    }
    let unknown =
        ["RS1", "ES256K", "ES512", "eddsa", "Ed25519", "rs256", "RS256 ", " RS256", "RS256\u{200B}", "HS256"];
    for name in unknown {
        let expected = TokenError::Algorithm { algorithm: name.to_owned() };
        assert_eq!(refusal(&token().header(header(name)).signed()), Some(expected), "J2: `{name}`");
    }
}

#[test]
fn j02_a_key_verifies_no_other_algorithm_than_its_own() {
    let every = allowing(&["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]);
    // Published with `"alg": "RS256"`.
    let bound = keys();
    for (name, _, token) in others() {
        let error = verify(&token, &every, &bound, NOW).err();
        assert_eq!(error, Some(TokenError::Signature), "J2: {name}, and the key is for RS256");
    }
    let p256 = EcSigningKey::p256();
    let ec_keys = key_set(&[p256.jwk()]).unwrap();
    for name in ["RS256", "PS256", "ES384", "EdDSA"] {
        let token = token().header(header(name));
        let by_ec = token.signature(p256.sign(token.unsigned().as_bytes()));
        let error = verify(&by_ec, &every, &ec_keys, NOW).err();
        assert_eq!(error, Some(TokenError::Signature), "J2: {name}, and the key is for ES256");
    }
    let sha256 = MessageDigest::sha256();
    for (case, digest, padding) in [
        ("SHA-1 under RS256", MessageDigest::sha1(), Padding::PKCS1),
        ("SHA-512 under RS256", MessageDigest::sha512(), Padding::PKCS1),
        ("PSS under RS256", sha256, Padding::PKCS1_PSS),
    ] {
        let signed = token().signature(KEY.sign(digest, padding, token().unsigned().as_bytes()));
        let error = verify(&signed, &every, &unbound_keys(), NOW).err();
        assert_eq!(error, Some(TokenError::Signature), "J2: {case}");
    }
}

#[test]
fn j02_an_issuers_row_cannot_name_what_is_no_signature() {
    let row = |algorithms: Value| {
        serde_json::from_value::<IssuerRules>(json!({
            "issuer": "https://x.example", "provider": "github", "audiences": [], "algorithms": algorithms,
            "maxLifetime": 1, "maxAge": 1
        }))
    };
    row(json!(["RS256"])).expect("an algorithm that is one");
    for name in ["HS256", "HS384", "HS512", "none", "None", "Ed25519", "rs256", "", "*"] {
        let error = row(json!(["RS256", name])).expect_err(name).to_string();
        assert_eq!(error, "an unsupported signature algorithm", "J2: `{name}`");
    }
    let none = IssuerRules { algorithms: Vec::new(), ..github_rules() };
    let error = verify(&token_of(&github()).signed(), &none, &keys(), NOW).err();
    assert_eq!(error, Some(TokenError::Algorithm { algorithm: "RS256".to_owned() }), "J2: a row without any");
}
