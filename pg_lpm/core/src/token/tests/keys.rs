//! Published keys.

use super::*;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use openssl::sign::Signer;
use serde_json::Value;

/// The issuer's key with one parameter changed, or without it.
fn jwk_with(name: &str, value: Value) -> Value {
    let mut jwk = KEY.jwk();
    let members = jwk.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), value)
    };
    jwk
}

/// Why this key is skipped beside a good one.
fn skipped(name: &str, jwk: Value) -> KeyError {
    let mut good = KEY.jwk();
    good["kid"] = json!("good");
    let set = key_set(&[jwk, good]).expect("one key is good");
    assert!(set.contains("good") && set.len() == 1, "{name}");
    let [(0, error)] = set.skipped() else { panic!("{name}: {:?}", set.skipped()) };
    *error
}

fn number(hex: &str) -> Value {
    json!(base64(hex::decode(hex).expect("hex")))
}

#[test]
fn a_document_as_issuers_publish_it_is_read() {
    let mut jwk = KEY.jwk();
    jwk["x5c"] = json!(["MIIB".repeat(400)]);
    jwk["x5t"] = json!("x");
    jwk["key_ops"] = json!(["verify"]);
    let set = KeySet::parse(json!({"keys": [jwk], "more": 1}).to_string().as_bytes()).expect("good");
    assert!(set.contains("key-1") && !set.contains("key-2") && !set.contains(""));
    assert_eq!((set.len(), set.skipped()), (1, &[][..]));
    verify(&token().signed(), &github_rules(), &set, NOW).expect("good");
}

#[test]
fn a_bad_key_is_skipped_by_itself() {
    let rsa_1024 = SigningKey::rsa("weak", 1024, 65537).jwk();
    let exponent_3 = SigningKey::rsa("weak", 2048, 3).jwk();
    let n = |change: fn(&mut Vec<u8>)| {
        let mut n = KEY.key.rsa().expect("RSA").n().to_vec();
        change(&mut n);
        jwk_with("n", json!(base64(n)))
    };
    let oct = json!({"kty": "oct", "kid": "key-1", "alg": "HS256", "k": "c2VjcmV0"});
    let parameter = |name| KeyError::Parameter(name, "a string");
    let cases = [
        ("J28 1024 bits", rsa_1024, KeyError::Modulus),
        ("J28 2047 bits", n(|n| n[0] = 0x7F), KeyError::Modulus),
        (
            "J28 8193 bits",
            n(|n| n.splice(0..0, [1].into_iter().chain([0; 768])).for_each(drop)),
            KeyError::Modulus,
        ),
        ("J28 n even", n(|n| n[255] &= 0xFE), KeyError::Modulus),
        (
            "J28 n with a leading zero",
            n(|n| n.insert(0, 0)),
            KeyError::Parameter("n", "a positive number without leading zeros"),
        ),
        (
            "J28 n = 0",
            jwk_with("n", number("00")),
            KeyError::Parameter("n", "a positive number without leading zeros"),
        ),
        ("J28 e = 1", jwk_with("e", number("01")), KeyError::Exponent),
        ("J28 e = 3", exponent_3, KeyError::Exponent),
        ("J28 e = 65535", jwk_with("e", number("ffff")), KeyError::Exponent),
        ("J28 e even", jwk_with("e", number("010002")), KeyError::Exponent),
        ("J28 e = 2^33 + 1", jwk_with("e", number("0200000001")), KeyError::Exponent),
        ("J28 e of 9 bytes", jwk_with("e", number("010000000000010001")), KeyError::Exponent),
        (
            "J28 e with padding",
            jwk_with("e", json!("AQAB====")),
            KeyError::Parameter("e", "canonical base64url"),
        ),
        ("J29 symmetric", oct, KeyError::Type),
        ("J29 X25519", json!({"kty": "OKP", "crv": "X25519", "kid": "key-1", "x": "AA"}), KeyError::Curve),
        ("J29 use enc", jwk_with("use", json!("enc")), KeyError::Use),
        ("J29 use a list", jwk_with("use", json!(["sig"])), KeyError::Use),
        ("J29 key_ops", jwk_with("key_ops", json!(["encrypt", "wrapKey"])), KeyError::Use),
        ("J29 alg HS256", jwk_with("alg", json!("HS256")), KeyError::Algorithm),
        ("J29 alg none", jwk_with("alg", json!("none")), KeyError::Algorithm),
        ("J29 alg of another type", jwk_with("alg", json!("ES256")), KeyError::Algorithm),
        ("J29 alg a number", jwk_with("alg", json!(256)), KeyError::Algorithm),
        ("J29 private half", jwk_with("d", json!("AQAB")), KeyError::Private),
        ("J29 no kid", jwk_with("kid", Value::Null), parameter("kid")),
        ("J29 empty kid", jwk_with("kid", json!("")), parameter("kid")),
        ("J29 kid a number", jwk_with("kid", json!(1)), parameter("kid")),
        ("J29 no kty", jwk_with("kty", Value::Null), parameter("kty")),
        ("J29 no n", jwk_with("n", Value::Null), parameter("n")),
        ("J29 n a number", jwk_with("n", json!(5)), parameter("n")),
        ("J29 a string", json!("key"), KeyError::NotAnObject),
        ("J29 null", json!(null), KeyError::NotAnObject),
    ];
    for (name, jwk, expected) in cases {
        assert_eq!(skipped(name, jwk), expected, "{name}");
    }
}

#[test]
fn j29_the_first_of_two_keys_with_one_id_stays() {
    let set = key_set(&[KEY.jwk(), STRANGER.jwk()]).expect("one key");
    assert_eq!(set.skipped(), [(1, KeyError::DuplicateId)]);
    verify(&token().signed(), &github_rules(), &set, NOW).expect("the first");
    let error = verify(&token().signed_by(&STRANGER), &github_rules(), &set, NOW).err();
    assert_eq!(error, Some(TokenError::Signature));
    // A key that is skipped takes no id.
    let set = key_set(&[json!({"kty": "oct", "kid": "key-1", "k": "AA"}), KEY.jwk()]).expect("one key");
    verify(&token().signed(), &github_rules(), &set, NOW).expect("the second");
}

#[test]
fn a_document_without_a_usable_key_is_an_error() {
    let keys = |keys: &[Value]| json!({ "keys": keys }).to_string();
    let many = vec![KEY.jwk(); 101];
    let cases = [
        ("J29 empty", keys(&[]), KeySetError::NoUsableKey),
        ("J29 only bad", keys(&[json!({"kty": "oct"})]), KeySetError::NoUsableKey),
        ("J29 101 keys", keys(&many), KeySetError::TooManyKeys),
        ("J31 large", " ".repeat(MAX_KEY_SET + 1), KeySetError::TooLarge),
        ("no keys", "{}".to_owned(), KeySetError::NoKeys),
        ("keys an object", r#"{"keys":{}}"#.to_owned(), KeySetError::NoKeys),
        ("a list", "[]".to_owned(), KeySetError::NoKeys),
    ];
    for (name, document, expected) in cases {
        assert_eq!(KeySet::parse(document.as_bytes()).err(), Some(expected), "{name}");
    }
    let ten_thousand = format!(r#"{{"keys":[{}1]}}"#, "1,".repeat(9_999));
    let twice = format!(r#"{{"keys":[{}],"keys":[]}}"#, KEY.jwk());
    let key = KEY.jwk().to_string();
    let twice_within = format!(r#"{{"keys":[{{"kid":"x",{}]}}"#, &key[1..]);
    for (name, document) in [
        ("J29 10,000 keys", ten_thousand.as_str()),
        ("J7 keys twice", &twice),
        ("J7 kid twice", &twice_within),
        ("an error page", "<html>"),
        ("nothing", ""),
    ] {
        let error = KeySet::parse(document.as_bytes()).err();
        assert!(matches!(error, Some(KeySetError::Json(_))), "{name}: {error:?}");
    }
}

/// A new key on this curve with its published form.
fn ec(curve: Nid, name: &str, size: i32) -> (EcKey<Private>, Value) {
    let group = EcGroup::from_curve_name(curve).expect("a curve");
    let key = EcKey::generate(&group).expect("a new key");
    let (mut x, mut y) = (BigNum::new().expect("0"), BigNum::new().expect("0"));
    let mut context = BigNumContext::new().expect("a context");
    key.public_key().affine_coordinates(&group, &mut x, &mut y, &mut context).expect("a point");
    let part = |number: BigNum| base64(number.to_vec_padded(size).expect("within the field"));
    let jwk = json!({"kty": "EC", "crv": name, "kid": "key-1", "x": part(x), "y": part(y)});
    (key, jwk)
}

#[test]
fn an_elliptic_curve_key_verifies_its_own_algorithm_only() {
    let (key, jwk) = ec(Nid::X9_62_PRIME256V1, "P-256", 32);
    let keys = key_set(&[jwk]).expect("a key");
    let rules = rules(json!({
        "issuer": "https://token.actions.githubusercontent.com", "provider": "github",
        "audiences": ["https://lpm.dev"], "algorithms": ["RS256", "ES256", "ES384"],
        "maxLifetime": 600, "maxAge": 600
    }));
    let signed = |algorithm: &str| {
        let token = token().header(json!({"alg": algorithm, "kid": "key-1"}).to_string());
        let signature = EcdsaSig::sign(&sha256(token.unsigned().as_bytes()), &key).expect("a signature");
        let part = |number: &openssl::bn::BigNumRef| number.to_vec_padded(32).expect("32 bytes");
        (token.signature([part(signature.r()), part(signature.s())].concat()), token, signature)
    };
    let (good, token, signature) = signed("ES256");
    verify(&good, &rules, &keys, NOW).expect("ES256");
    let der = signature.to_der().expect("DER");
    for (name, token) in [
        ("J2 RS256", signed("RS256").0),
        ("J2 ES384", signed("ES384").0),
        ("J28 DER", token.signature(der)),
        ("J28 r = s = 0", token.signature([0; 64])),
        ("J28 empty halves", token.signature([1])),
    ] {
        let error = verify(&token, &rules, &keys, NOW).err();
        assert_eq!(error, Some(TokenError::Signature), "{name}");
    }
}

#[test]
fn a_bad_elliptic_curve_key_is_skipped() {
    let (_, good) = ec(Nid::X9_62_PRIME256V1, "P-256", 32);
    let (_, other) = ec(Nid::X9_62_PRIME256V1, "P-256", 32);
    let (_, longer) = ec(Nid::SECP384R1, "P-384", 48);
    key_set(std::slice::from_ref(&longer)).expect("P-384 is good");
    let with = |name: &str, value: &Value| {
        let mut jwk = good.clone();
        jwk[name] = value.clone();
        jwk
    };
    let zero = json!(base64([0; 32]));
    let mut infinity = with("x", &zero);
    infinity["y"] = zero.clone();
    let cases = [
        ("J28 off the curve", with("y", &other["y"]), KeyError::Point),
        ("J28 infinity", infinity, KeyError::Point),
        ("J28 beyond the field", with("x", &json!(base64([0xFF; 32]))), KeyError::Point),
        ("J28 too short", with("x", &json!(base64([1; 31]))), KeyError::Point),
        ("J28 of another curve", with("x", &longer["x"]), KeyError::Point),
        ("J28 another curve's name", with("crv", &json!("P-384")), KeyError::Point),
        ("J28 secp256k1", with("crv", &json!("secp256k1")), KeyError::Curve),
        ("J29 alg of the other curve", with("alg", &json!("ES384")), KeyError::Algorithm),
        ("J29 alg of RSA", with("alg", &json!("RS256")), KeyError::Algorithm),
        ("J29 private half", with("d", &zero), KeyError::Private),
    ];
    for (name, jwk, expected) in cases {
        assert_eq!(skipped(name, jwk), expected, "{name}");
    }
}

#[test]
fn an_ed25519_key_verifies_its_own_algorithm_only() {
    let key = PKey::generate_ed25519().expect("a new key");
    let x = base64(key.raw_public_key().expect("32 bytes"));
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "key-1", "x": x});
    let keys = key_set(std::slice::from_ref(&jwk)).expect("a key");
    let rules = IssuerRules { algorithms: vec![algorithm("EdDSA").expect("known")], ..github_rules() };
    let token = token().header(r#"{"alg":"EdDSA","kid":"key-1"}"#);
    let mut signer = Signer::new_without_digest(&key).expect("a signer");
    let signature = signer.sign_oneshot_to_vec(token.unsigned().as_bytes()).expect("a signature");
    verify(&token.signature(&signature), &rules, &keys, NOW).expect("EdDSA");
    for (name, signature) in [("zero", vec![0; 64]), ("cut", signature[1..].to_vec())] {
        let error = verify(&token.signature(signature), &rules, &keys, NOW).err();
        assert_eq!(error, Some(TokenError::Signature), "J28 {name}");
    }
    let rsa = token.signed();
    assert_eq!(verify(&rsa, &rules, &super::keys(), NOW).err(), Some(TokenError::Signature), "J2 an RSA key");
    let with = |name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    assert_eq!(skipped("J29 alg", with("alg", json!("RS256"))), KeyError::Algorithm);
    assert_eq!(skipped("J28 31 bytes", with("x", json!(base64([1; 31])))), KeyError::Point);
    assert_eq!(skipped("J29 private half", with("d", json!(""))), KeyError::Private);
}
