//! J28: a signature has one form and one meaning.

use crate::support::claims::github;
use crate::support::token::*;
use lpm_core::token::{IssuerRules, TokenError, algorithm};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::EcGroup;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Padding;
use openssl::sign::Signer;
use serde_json::json;

fn allowing(name: &str) -> IssuerRules {
    IssuerRules { algorithms: vec![algorithm(name).unwrap()], ..github_rules() }
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn j28_an_rsa_signature_has_one_form() {
    let good = token();
    let signature = KEY.sign(MessageDigest::sha256(), Padding::PKCS1, good.unsigned().as_bytes());
    assert_eq!(refusal(&good.signature(&signature)), None);
    let n = KEY.key.rsa().unwrap().n().to_owned().unwrap();
    let mut negated = BigNum::new().unwrap();
    negated.checked_sub(&n, &BigNum::from_slice(&signature).unwrap()).unwrap();
    let changed = token_of(&github().with("repository", "evil/x"));
    for (case, token) in [
        ("first bit", good.signature(flipped(&signature, 0))),
        ("last bit", good.signature(flipped(&signature, 255))),
        ("cut in front", good.signature(&signature[1..])),
        ("cut behind", good.signature(&signature[..255])),
        ("a leading zero", good.signature([&[0], signature.as_slice()].concat())),
        ("a trailing zero", good.signature([signature.as_slice(), &[0]].concat())),
        ("twice", good.signature(signature.repeat(2))),
        ("n - s", good.signature(negated.to_vec_padded(256).unwrap())),
        ("n itself", good.signature(n.to_vec())),
        ("0", good.signature([0; 256])),
        ("1", good.signature(BigNum::from_u32(1).unwrap().to_vec_padded(256).unwrap())),
        ("another payload", changed.signature(&signature)),
        ("another header", good.clone().header(r#"{"alg":"RS256","kid":"key-1"}"#).signature(&signature)),
        ("another key of the same id", good.signed_by(&STRANGER)),
    ] {
        assert_eq!(refusal(&token), Some(TokenError::Signature), "J28: {case}");
    }
}

/// s + n is the same number modulo n, and where it still fits in 256 bytes it would be a second signature.
#[test]
fn j28_a_signature_that_is_not_reduced_is_refused() {
    let n = KEY.key.rsa().unwrap().n().to_owned().unwrap();
    let (token, sum) = (0..200)
        .find_map(|try_| {
            let token = token_of(&github().with("jti", format!("try-{try_}")));
            let s = KEY.sign(MessageDigest::sha256(), Padding::PKCS1, token.unsigned().as_bytes());
            let mut sum = BigNum::new().unwrap();
            sum.checked_add(&BigNum::from_slice(&s).unwrap(), &n).unwrap();
            (sum.num_bits() <= 2048).then_some((token, sum))
        })
        .expect("one of 200 is small enough");
    assert_eq!(refusal(&token.signed()), None);
    let second = token.signature(sum.to_vec_padded(256).unwrap());
    assert_eq!(refusal(&second), Some(TokenError::Signature), "J28: s + n");
}

#[test]
fn j28_an_ecdsa_signature_is_two_numbers_of_one_length() {
    let key = EcSigningKey::p256();
    let keys = key_set(&[key.jwk()]).unwrap();
    let token = token().header(r#"{"alg":"ES256","kid":"key-1"}"#);
    let message = token.unsigned();
    let signature = key.signature(message.as_bytes());
    let (r, s) = (signature.r().to_vec_padded(32).unwrap(), signature.s().to_vec_padded(32).unwrap());
    let joined = |halves: [&[u8]; 2]| token.signature(halves.concat());
    let rules = allowing("ES256");
    assert_eq!(verify(&joined([&r, &s]), &rules, &keys, NOW).err(), None);
    let order = {
        let (mut order, mut context) = (BigNum::new().unwrap(), BigNumContext::new().unwrap());
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        group.order(&mut order, &mut context).unwrap();
        order.to_vec()
    };
    let (zero, one) = ([0; 32], [[0; 31].as_slice(), &[1]].concat());
    for (case, token) in [
        ("DER", token.signature(signature.to_der().unwrap())),
        ("r = s = 0", joined([&zero, &zero])),
        ("r = 0", joined([&zero, &s])),
        ("s = 0", joined([&r, &zero])),
        ("r = s = 1", joined([&one, &one])),
        ("r = s = the order", joined([&order, &order])),
        ("r and s the other way round", joined([&s, &r])),
        ("a leading zero each", joined([&[&[0], r.as_slice()].concat(), &[&[0], s.as_slice()].concat()])),
        ("a trailing zero", joined([&r, &[s.as_slice(), &[0]].concat()])),
        ("one byte", token.signature([1])),
        ("r alone", token.signature(&r)),
    ] {
        let error = verify(&token, &rules, &keys, NOW).err();
        assert_eq!(error, Some(TokenError::Signature), "J28: {case}");
    }
    // (r, order - s) is a signature as well, and no standard for JWS forbids it: the token is still one.
    let mut negated = BigNum::new().unwrap();
    negated.checked_sub(&BigNum::from_slice(&order).unwrap(), signature.s()).unwrap();
    let second = joined([&r, &negated.to_vec_padded(32).unwrap()]);
    let use_key = |token: &str| verify(token, &rules, &keys, NOW).map(|verified| verified.claims.use_key());
    assert_eq!(use_key(&second), use_key(&joined([&r, &s])), "J28: its uses are counted together");
}

#[test]
fn j28_an_ed25519_signature_has_one_form() {
    let key = PKey::generate_ed25519().unwrap();
    let x = base64(key.raw_public_key().unwrap());
    let keys = key_set(&[json!({"kty": "OKP", "crv": "Ed25519", "kid": "key-1", "x": x})]).unwrap();
    let token = token().header(r#"{"alg":"EdDSA","kid":"key-1"}"#);
    let mut signer = Signer::new_without_digest(&key).unwrap();
    let signature = signer.sign_oneshot_to_vec(token.unsigned().as_bytes()).unwrap();
    let rules = allowing("EdDSA");
    assert_eq!(verify(&token.signature(&signature), &rules, &keys, NOW).err(), None);
    // S + L, the order of the group (RFC 8032, section 5.1.7): little-endian.
    let order = hex::decode("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed").unwrap();
    let big_endian: Vec<u8> = signature[32..].iter().rev().copied().collect();
    let mut sum = BigNum::new().unwrap();
    sum.checked_add(&BigNum::from_slice(&big_endian).unwrap(), &BigNum::from_slice(&order).unwrap()).unwrap();
    let mut unreduced = sum.to_vec_padded(32).unwrap();
    unreduced.reverse();
    for (case, signature) in [
        ("S + L", [&signature[..32], &unreduced].concat()),
        ("zeros", vec![0; 64]),
        ("R the identity, S = 0", [vec![1], vec![0; 63]].concat()),
        ("first bit", flipped(&signature, 0)),
        ("last bit", flipped(&signature, 63)),
        ("cut", signature[1..].to_vec()),
        ("a trailing zero", [signature.as_slice(), &[0]].concat()),
    ] {
        let error = verify(&token.signature(signature), &rules, &keys, NOW).err();
        assert_eq!(error, Some(TokenError::Signature), "J28: Ed25519, {case}");
    }
}
