//! Tokens: as bytes from anywhere, and signed here, so that the fuzzer gets behind the signature.

use crate::doc::Doc;
use crate::failure;
use crate::input::fields;
use crate::issuer::{KEY, KEY_ID, KEYS, NOW, RULES, STRANGER, base64};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lpm_core::claims::Claims;
use lpm_core::token::{IssuerRules, LEEWAY, MAX_TOKEN, TokenError, UnverifiedToken, Verified};

/// A token.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let token = match UnverifiedToken::read(text) {
        Ok(token) => token,
        Err(error) => return failure::holds(&error.failure()),
    };
    let parts: Vec<&str> = text.split('.').collect();
    assert_eq!(parts.len(), 3);
    let decoded = parts.iter().map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url"));
    let decoded: Vec<Vec<u8>> = decoded.collect();
    assert!(parts.iter().zip(&decoded).all(|(part, bytes)| *part == base64(bytes)), "one spelling");
    let header = Doc::parse(&decoded[0]).expect("the header is JSON");
    assert_eq!(header.text("kid"), Some(token.key_id()));
    let payload = Doc::parse(&decoded[1]);
    // A payload that a stricter reader refuses later may be one that this one cannot read.
    if let Some(payload) = payload {
        assert_eq!(payload.text("iss"), Some(token.unverified_issuer()), "{payload:?}");
    }
    let signed = text.rsplit_once('.').expect("three parts").0;
    for rules in RULES.iter() {
        match token.verify(rules, &KEYS, NOW) {
            Ok(verified) => {
                // Signatures of Ed25519 are deterministic, and nobody has the RSA key.
                assert_eq!(decoded[2], KEY.sign(signed.as_bytes()), "a forged signature holds");
                holds(&verified, rules, &decoded[1], NOW);
            }
            Err(error) => failure::holds(&error.failure()),
        }
    }
}

/// Header, seconds after [`NOW`], payload.
pub fn token_signed(data: &[u8]) {
    let [header, later, payload] = fields(data);
    let later: i64 = std::str::from_utf8(later).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    let now = NOW.saturating_add(later);
    let signed = format!("{}.{}", base64(header), base64(payload));
    let signature = KEY.sign(signed.as_bytes());
    let text = format!("{signed}.{}", base64(&signature));

    for rules in RULES.iter() {
        let claims = Claims::parse(rules.provider, payload);
        let expected = text.len() <= MAX_TOKEN
            && is_header(header)
            && claims.is_ok_and(|claims| is_for(&claims, rules) && times_hold(&claims, rules, now));
        match verify(&text, rules, now) {
            Ok(verified) => {
                assert!(expected, "accepted: {}", String::from_utf8_lossy(data));
                holds(&verified, rules, payload, now);
                tampered(&signed, &signature, rules, now, data.len());
            }
            Err(error) => {
                assert!(!expected, "refused, {error}: {}", String::from_utf8_lossy(data));
                failure::holds(&error.failure());
            }
        }
    }
}

fn verify(text: &str, rules: &IssuerRules, now: i64) -> Result<Verified, TokenError> {
    UnverifiedToken::read(text)?.verify(rules, &KEYS, now)
}

/// What holds for every accepted token.
fn holds(verified: &Verified, rules: &IssuerRules, payload: &[u8], now: i64) {
    assert_eq!(verified.payload, payload);
    assert_eq!(Claims::parse(rules.provider, payload).as_ref(), Ok(&verified.claims));
    assert!(is_for(&verified.claims, rules) && times_hold(&verified.claims, rules, now));
}

/// A good token with something changed behind the signer's back.
fn tampered(signed: &str, signature: &[u8], rules: &IssuerRules, now: i64, at: usize) {
    let refused = |signed: &str, signature: &[u8]| {
        let text = format!("{signed}.{}", base64(signature));
        assert!(verify(&text, rules, now).is_err(), "{text}");
    };
    let mut flipped = signature.to_vec();
    flipped[at % signature.len()] ^= 1 << (at % 8);
    refused(signed, &flipped);
    refused(signed, &signature[1..]);
    refused(signed, &[signature, &[0]].concat());
    refused(signed, &STRANGER.sign(signed.as_bytes()));
    let mut other = signed.to_owned().into_bytes();
    let at = at % other.len();
    other[at] = if other[at] == b'A' { b'B' } else { b'A' };
    refused(std::str::from_utf8(&other).expect("ASCII"), signature);
}

/// Four known parameters, each a string and there once.
fn is_header(bytes: &[u8]) -> bool {
    let Some(header @ Doc::Object(_)) = Doc::parse(bytes) else { return false };
    let known = |(name, value): &(String, Doc)| {
        ["alg", "kid", "typ", "x5t"].contains(&name.as_str())
            && value.str().is_some_and(|text| !text.contains('\0'))
    };
    bytes.len() <= 2048
        && header.members().iter().all(known)
        && !header.has_duplicate()
        && header.text("alg") == Some("EdDSA")
        && header.text("kid") == Some(KEY_ID)
        && header.text("typ").is_none_or(|typ| typ.eq_ignore_ascii_case("jwt"))
}

fn is_for(claims: &Claims, rules: &IssuerRules) -> bool {
    let audience = claims.audience.as_str();
    claims.issuer == rules.issuer && ["https://lpm.dev", "https://vault.example.com"].contains(&audience)
}

/// The times, in numbers that cannot overflow.
fn times_hold(claims: &Claims, rules: &IssuerRules, now: i64) -> bool {
    let (now, leeway) = (i128::from(now), i128::from(LEEWAY));
    let (issued, expires) = (i128::from(claims.issued_at), i128::from(claims.expires_at));
    let lifetime = expires - issued;
    0 < lifetime
        && lifetime <= i128::from(rules.max_lifetime)
        && issued <= now + leeway
        && claims.not_before.is_none_or(|start| i128::from(start) <= now + leeway)
        && now - leeway < expires
        && now - leeway - issued <= i128::from(rules.max_age)
}
