//! J28 and J29: what an issuer publishes, or what somebody publishes in its name.

use crate::support::claims::github;
use crate::support::token::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lpm_core::json::JsonError;
use lpm_core::token::{
    IssuerRules, KeyError, KeySet, KeySetError, MAX_KEY_SET, MAX_KEYS, TokenError, algorithm,
};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use serde_json::{Value, json};

/// A key with one parameter changed, or without it where the value is null.
fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    let members = jwk.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), value)
    };
    jwk
}

fn rsa_with(name: &str, value: Value) -> Value {
    with(KEY.jwk(), name, value)
}

/// Why this key is skipped beside a good one, which still verifies.
fn skipped(case: &str, jwk: Value) -> KeyError {
    let good = with(STRANGER.jwk(), "kid", json!("good"));
    let set = key_set(&[jwk, good]).expect("one key is good");
    assert!(set.contains("good") && !set.contains("key-1") && set.len() == 1, "{case}: {:?}", set.skipped());
    let header = r#"{"alg":"RS256","kid":"good"}"#;
    let by_good = token().header(header).signed_by(&STRANGER);
    verify(&by_good, &github_rules(), &set, NOW).expect("the good key still verifies");
    let [(0, error)] = set.skipped() else { panic!("{case}: {:?}", set.skipped()) };
    *error
}

fn number(hex: &str) -> Value {
    json!(base64(hex::decode(hex).unwrap()))
}

#[test]
fn j28_a_weak_rsa_key_is_skipped() {
    let modulus = |change: fn(&mut Vec<u8>)| {
        let mut n = KEY.key.rsa().unwrap().n().to_vec();
        change(&mut n);
        rsa_with("n", json!(base64(n)))
    };
    let new = |bits, exponent| SigningKey::rsa("key-1", bits, exponent).jwk();
    let positive = |name| KeyError::Parameter(name, "a positive number without leading zeros");
    let base64url = |name| KeyError::Parameter(name, "canonical base64url");
    for (case, jwk, expected) in [
        ("RSA of 512 bits", new(512, 65537), KeyError::Modulus),
        ("RSA of 1024 bits", new(1024, 65537), KeyError::Modulus),
        ("RSA of 2047 bits", modulus(|n| n[0] = 0x7F), KeyError::Modulus),
        (
            "RSA of 8193 bits",
            modulus(|n| drop(n.splice(0..0, [1].into_iter().chain([0; 768])))),
            KeyError::Modulus,
        ),
        ("n even", modulus(|n| n[255] &= 0xFE), KeyError::Modulus),
        ("n with a leading zero", modulus(|n| n.insert(0, 0)), positive("n")),
        ("n = 0", rsa_with("n", number("00")), positive("n")),
        ("n = 1", rsa_with("n", number("01")), KeyError::Modulus),
        ("n empty", rsa_with("n", json!("")), KeyError::Parameter("n", "a string")),
        ("e = 0", rsa_with("e", number("00")), positive("e")),
        ("e = 1", rsa_with("e", number("01")), KeyError::Exponent),
        ("e = 2", rsa_with("e", number("02")), KeyError::Exponent),
        ("e = 3", new(2048, 3), KeyError::Exponent),
        ("e = 17", new(2048, 17), KeyError::Exponent),
        ("e = 65535", rsa_with("e", number("ffff")), KeyError::Exponent),
        ("e even", rsa_with("e", number("010002")), KeyError::Exponent),
        ("e = 2^33 + 1", rsa_with("e", number("0200000001")), KeyError::Exponent),
        ("e of nine bytes", rsa_with("e", number("010000000000010001")), KeyError::Exponent),
        ("e as long as n", rsa_with("e", KEY.jwk()["n"].clone()), KeyError::Exponent),
        ("e with padding", rsa_with("e", json!("AQAB====")), base64url("e")),
        ("e with stray bits", rsa_with("e", json!("AQABAB")), base64url("e")),
        ("n in the other alphabet", rsa_with("n", json!("+/+/")), base64url("n")),
    ] {
        assert_eq!(skipped(case, jwk), expected, "J28: {case}");
    }
    for bits in [2048, 3072] {
        key_set(&[new(bits, 65537)]).expect("J28: a good size");
    }
}

/// Anybody can sign for these keys: what skipping them is for.
#[test]
fn j28_a_signature_that_needs_no_private_key_verifies_nothing() {
    let good = with(STRANGER.jwk(), "kid", json!("good"));
    let every = IssuerRules {
        algorithms: ["RS256", "EdDSA"].map(|name| algorithm(name).unwrap()).to_vec(),
        ..github_rules()
    };
    // With e = 1 a signature is the padded hash itself (RFC 8017, section 9.2).
    let digest = openssl::sha::sha256(token().unsigned().as_bytes());
    let info = hex::decode("3031300d060960864801650304020105000420").unwrap();
    let padded = [&[0, 1], vec![0xFF; 202].as_slice(), &[0], &info, &digest].concat();
    assert_eq!(padded.len(), 256);
    // With the identity as Ed25519 key, R the identity and S = 0 fit every message (RFC 8032, section 5.1.7).
    let identity = [vec![1], vec![0; 31]].concat();
    let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "kid": "key-1", "x": base64(&identity)});
    let by_identity =
        token().header(r#"{"alg":"EdDSA","kid":"key-1"}"#).signature([identity, vec![0; 32]].concat());
    for (case, jwk, token) in [
        ("e = 1", rsa_with("e", number("01")), token().signature(padded)),
        ("an Ed25519 key of order 1", ed25519, by_identity),
    ] {
        let keys = key_set(&[jwk, good.clone()]).unwrap();
        assert_eq!(verify(&token, &every, &keys, NOW).err(), Some(TokenError::UnknownKey), "J28: {case}");
    }
}

#[test]
fn j28_an_elliptic_curve_key_off_its_curve_is_skipped() {
    let on = |curve, name: &str, size| {
        let group = EcGroup::from_curve_name(curve).unwrap();
        let key = EcKey::generate(&group).unwrap();
        let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        let mut context = BigNumContext::new().unwrap();
        key.public_key().affine_coordinates(&group, &mut x, &mut y, &mut context).unwrap();
        let part = |number: &BigNum| json!(base64(number.to_vec_padded(size).unwrap()));
        json!({"kty": "EC", "crv": name, "kid": "key-1", "x": part(&x), "y": part(&y)})
    };
    let good = EcSigningKey::p256().jwk();
    let other = EcSigningKey::p256().jwk();
    let longer = on(Nid::SECP384R1, "P-384", 48);
    key_set(std::slice::from_ref(&longer)).expect("P-384 is good");
    let bytes = |byte: u8, count: usize| json!(base64(vec![byte; count]));
    let change = |name: &str, value: &Value| with(good.clone(), name, value.clone());
    // the same number, and so the same point, in another form
    let padded = |name: &str| {
        let number = URL_SAFE_NO_PAD.decode(good[name].as_str().unwrap()).unwrap();
        change(name, &json!(base64([vec![0], number].concat())))
    };
    for (case, jwk, expected) in [
        ("EC point off the curve", change("y", &other["y"]), KeyError::Point),
        ("EC point at infinity", with(change("x", &bytes(0, 32)), "y", bytes(0, 32)), KeyError::Point),
        ("EC point beyond the field", change("x", &bytes(0xFF, 32)), KeyError::Point),
        ("EC coordinate too short", change("x", &bytes(1, 31)), KeyError::Point),
        ("EC coordinate too long", change("x", &bytes(1, 33)), KeyError::Point),
        ("EC x with a leading zero", padded("x"), KeyError::Point),
        ("EC y with a leading zero", padded("y"), KeyError::Point),
        ("EC point of another curve", change("x", &longer["x"]), KeyError::Point),
        ("EC under another curve's name", change("crv", &json!("P-384")), KeyError::Point),
        ("secp256k1", with(on(Nid::SECP256K1, "secp256k1", 32), "use", json!("sig")), KeyError::Curve),
        ("secp256k1 as P-256", on(Nid::SECP256K1, "P-256", 32), KeyError::Point),
        ("P-521", on(Nid::SECP521R1, "P-521", 66), KeyError::Curve),
        ("no y", change("y", &Value::Null), KeyError::Parameter("y", "a string")),
    ] {
        assert_eq!(skipped(case, jwk), expected, "J28: {case}");
    }
}

#[test]
fn j28_an_ed25519_key_of_small_order_is_skipped() {
    let key = |x: &[u8]| json!({"kty": "OKP", "crv": "Ed25519", "kid": "key-1", "x": base64(x)});
    for (case, encoded) in [
        ("order 4", "0000000000000000000000000000000000000000000000000000000000000000"),
        ("order 1, the identity", "0100000000000000000000000000000000000000000000000000000000000000"),
        ("order 8", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        ("order 8, the other", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        ("order 2", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ("order 4, not reduced", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ("order 1, not reduced", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ] {
        let mut x = hex::decode(encoded).unwrap();
        assert_eq!(skipped(case, key(&x)), KeyError::Point, "J28: Ed25519 of {case}");
        x[31] |= 0x80;
        assert_eq!(skipped(case, key(&x)), KeyError::Point, "J28: Ed25519 of {case}, the other sign");
    }
    assert_eq!(skipped("short", key(&[1; 31])), KeyError::Point, "J28: Ed25519 of 31 bytes");
    assert_eq!(skipped("long", key(&[1; 33])), KeyError::Point, "J28: Ed25519 of 33 bytes");
}

#[test]
fn j29_a_key_that_is_not_for_verifying_signatures_is_skipped() {
    let text = |name| KeyError::Parameter(name, "a string");
    let secret = "c2VjcmV0";
    let ec = || EcSigningKey::p256().jwk();
    for (case, jwk, expected) in [
        ("symmetric", json!({"kty": "oct", "kid": "key-1", "alg": "HS256", "k": secret}), KeyError::Type),
        (
            "symmetric that says RS256",
            json!({"kty": "oct", "kid": "key-1", "alg": "RS256", "k": secret}),
            KeyError::Type,
        ),
        ("kty in lower case", rsa_with("kty", json!("rsa")), KeyError::Type),
        ("kty none", rsa_with("kty", json!("none")), KeyError::Type),
        ("RSA key that says EC", rsa_with("kty", json!("EC")), text("crv")),
        ("X25519", json!({"kty": "OKP", "crv": "X25519", "kid": "key-1", "x": "AA"}), KeyError::Curve),
        ("use enc", rsa_with("use", json!("enc")), KeyError::Use),
        ("use SIG", rsa_with("use", json!("SIG")), KeyError::Use),
        ("use a list", rsa_with("use", json!(["sig"])), KeyError::Use),
        ("key_ops encrypt", rsa_with("key_ops", json!(["encrypt", "wrapKey"])), KeyError::Use),
        ("key_ops sign", rsa_with("key_ops", json!(["sign"])), KeyError::Use),
        ("key_ops empty", rsa_with("key_ops", json!([])), KeyError::Use),
        ("key_ops no list", rsa_with("key_ops", json!("verify")), KeyError::Use),
        ("alg HS256", rsa_with("alg", json!("HS256")), KeyError::Algorithm),
        ("alg none", rsa_with("alg", json!("none")), KeyError::Algorithm),
        ("alg of encryption", rsa_with("alg", json!("RSA-OAEP")), KeyError::Algorithm),
        ("alg of another type", rsa_with("alg", json!("ES256")), KeyError::Algorithm),
        ("alg of another curve", with(ec(), "alg", json!("ES384")), KeyError::Algorithm),
        ("alg of RSA on a curve", with(ec(), "alg", json!("RS256")), KeyError::Algorithm),
        ("alg a number", rsa_with("alg", json!(256)), KeyError::Algorithm),
        ("alg a list", rsa_with("alg", json!(["RS256"])), KeyError::Algorithm),
        ("private half d", rsa_with("d", json!("AQAB")), KeyError::Private),
        ("private factor p", rsa_with("p", json!("AQAB")), KeyError::Private),
        ("private factor q", rsa_with("q", json!("AQAB")), KeyError::Private),
        ("private dp", rsa_with("dp", json!("AQAB")), KeyError::Private),
        ("private half of a curve", with(ec(), "d", json!("AQAB")), KeyError::Private),
        ("no kid", rsa_with("kid", Value::Null), text("kid")),
        ("empty kid", rsa_with("kid", json!("")), text("kid")),
        ("kid a number", rsa_with("kid", json!(1)), text("kid")),
        ("no kty", rsa_with("kty", Value::Null), text("kty")),
        ("no n", rsa_with("n", Value::Null), text("n")),
        ("n a number", rsa_with("n", json!(5)), text("n")),
        ("no e", rsa_with("e", Value::Null), text("e")),
        ("unparsable: a string", json!("key"), KeyError::NotAnObject),
        ("unparsable: null", json!(null), KeyError::NotAnObject),
        ("unparsable: a list", json!([]), KeyError::NotAnObject),
        ("unparsable: empty", json!({}), text("kty")),
    ] {
        assert_eq!(skipped(case, jwk), expected, "J29: {case}");
    }
}

#[test]
fn j29_the_first_of_two_keys_with_one_id_stays() {
    let set = key_set(&[KEY.jwk(), STRANGER.jwk(), STRANGER.jwk()]).unwrap();
    assert_eq!(set.skipped(), [(1, KeyError::DuplicateId), (2, KeyError::DuplicateId)], "J29: duplicate kid");
    assert_eq!(verify(&token().signed(), &github_rules(), &set, NOW).err(), None, "J29: the first verifies");
    let error = verify(&token().signed_by(&STRANGER), &github_rules(), &set, NOW).err();
    assert_eq!(error, Some(TokenError::Signature), "J29: the second does not");
    let set = key_set(&[json!({"kty": "oct", "kid": "key-1", "k": "AA"}), KEY.jwk()]).unwrap();
    assert_eq!(
        verify(&token().signed(), &github_rules(), &set, NOW).err(),
        None,
        "J29: a skipped key takes no id"
    );
}

/// An error, and not an empty set: so the caller still has the keys that it had.
#[test]
fn j29_a_document_without_a_usable_key_is_an_error() {
    let keys = |keys: &[Value]| json!({ "keys": keys }).to_string();
    let ten_thousand: Vec<Value> = (0..10_000).map(|n| json!({"kid": n.to_string()})).collect();
    let many = |count: usize| -> Vec<Value> {
        (0..count).map(|n| with(EcSigningKey::p256().jwk(), "kid", json!(n.to_string()))).collect()
    };
    let too_many_items = JsonError::TooManyItems { path: "${0}".to_owned(), max: 1024 };
    for (case, document, expected) in [
        ("empty `keys`", keys(&[]), KeySetError::NoUsableKey),
        ("only bad keys", keys(&[json!({"kty": "oct"}), json!(null)]), KeySetError::NoUsableKey),
        ("101 keys", keys(&many(MAX_KEYS + 1)), KeySetError::TooManyKeys),
        ("10,000 keys", keys(&ten_thousand), KeySetError::TooLarge),
        (
            "10,000 items that fit",
            format!(r#"{{"keys":[{}1]}}"#, "1,".repeat(9_999)),
            KeySetError::Json(too_many_items),
        ),
        ("100 KiB + 1", " ".repeat(MAX_KEY_SET + 1), KeySetError::TooLarge),
        ("no `keys`", "{}".to_owned(), KeySetError::NoKeys),
        ("`keys` null", r#"{"keys":null}"#.to_owned(), KeySetError::NoKeys),
        ("`keys` an object", r#"{"keys":{}}"#.to_owned(), KeySetError::NoKeys),
        ("a list", json!([KEY.jwk()]).to_string(), KeySetError::NoKeys),
        ("a key alone", KEY.jwk().to_string(), KeySetError::NoKeys),
    ] {
        assert_eq!(KeySet::parse(document.as_bytes()).err(), Some(expected), "J29: {case}");
    }
    for (case, document) in [
        ("an error page", "<html>".to_owned()),
        ("nothing", String::new()),
        ("cut off", keys(&[KEY.jwk()])[..300].to_owned()),
        ("two documents", keys(&[KEY.jwk()]).repeat(2)),
    ] {
        let error = KeySet::parse(document.as_bytes()).err();
        assert!(matches!(error, Some(KeySetError::Json(JsonError::Syntax(_)))), "J29: {case}: {error:?}");
    }
    assert_eq!(key_set(&many(MAX_KEYS)).map(|set| set.len()), Ok(100), "J29: 100 keys");
    let small = keys(&[KEY.jwk()]);
    let largest = format!("{small}{}", " ".repeat(MAX_KEY_SET - small.len()));
    assert_eq!(KeySet::parse(largest.as_bytes()).map(|set| set.len()), Ok(1), "J29: 100 KiB");
}

#[test]
fn j29_a_poisoned_key_among_good_ones_costs_only_itself() {
    let bad = [
        json!({"kty": "oct", "kid": "key-1", "k": "AA"}),
        json!(7),
        rsa_with("use", json!("enc")),
        rsa_with("n", json!("=")),
    ];
    for at in 0..=bad.len() {
        let mut keys = bad.to_vec();
        keys.insert(at, KEY.jwk());
        let set = key_set(&keys).expect("J29: one good key");
        assert_eq!((set.len(), set.skipped().len()), (1, bad.len()), "J29: the good key at {at}");
        let token = token_of(&github()).signed();
        assert_eq!(verify(&token, &github_rules(), &set, NOW).err(), None, "J29: the good key at {at}");
    }
}
