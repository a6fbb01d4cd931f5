//! Pairing: the code that a browser shows, the keys that it and the command line exchange, and the number
//! that both show so that a person can compare them.
//!
//! The check number is derived from public things: it shows that command line and browser speak of the same
//! key and code, not that nobody looked for another key with the same number (a million tries find one).

use super::vault::split_sealed_key;
use super::{EnvelopeError, decode_array};
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcPoint};
use openssl::nid::Nid;
use openssl::sha::Sha256;

/// Length of a P-256 point as SEC1 writes it uncompressed: `04 ‖ X ‖ Y`.
pub const POINT: usize = 65;
/// Length of a code.
pub const CODE: usize = 6;

/// What a code is made of: nobody mistakes one of these for another when reading it aloud.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const CHECK_LABEL: &[u8] = b"lpm-pair-v1";
const UNCOMPRESSED: u8 = 4;

/// A code from random bytes: five bits of each, so every code is equally likely.
#[must_use]
pub fn code(random: &[u8; CODE]) -> String {
    random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// The code that a person typed, in the capitals that it was shown in; `None` where it cannot be one.
///
/// `O`, `I`, `0` and `1` are let through, because the published client lets them through: no code has them,
/// so they end as a wrong code.
#[must_use]
pub fn parse_code(text: &str) -> Option<String> {
    (text.len() == CODE && text.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .then(|| text.to_ascii_uppercase())
}

/// The point in `text`: canonical base64 of the 65 bytes of an uncompressed point on P-256.
///
/// # Errors
///
/// When it is anything else: compressed, hybrid, at infinity, or not on the curve. A point that is not on the curve
/// would let whoever made it learn the private key it is combined with.
pub fn public_key(text: &str, field: &'static str) -> Result<[u8; POINT], EnvelopeError> {
    const EXPECTED: &str = "the base64 of an uncompressed P-256 point (65 bytes)";
    let point: [u8; POINT] = decode_array(text, field, EXPECTED)?;
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    // `from_bytes` takes the hybrid form too, and fails for what is not on the curve
    if point[0] != UNCOMPRESSED || EcPoint::from_bytes(&group, &point, &mut *BigNumContext::new()?).is_err() {
        return Err(EnvelopeError::Form { field, expected: EXPECTED });
    }
    Ok(point)
}

/// Whether the text has the form of a wrapping key that was sealed for a browser.
///
/// # Errors
///
/// When it has not.
pub fn check_sealed_key(text: &str) -> Result<(), EnvelopeError> {
    const EXPECTED: &str = "`base64(iv):base64(wrapped key)` of 81 characters";
    split_sealed_key(text, "encryptedWrappingKey", EXPECTED).map(|_| ())
}

/// The number that browser and command line show: six digits.
///
/// The first four bytes of SHA-256("lpm-pair-v1" ‖ the browser's 65 bytes ‖ the code's 6 letters and digits),
/// as a big-endian number, modulo 1,000,000, with zeros in front.
#[must_use]
pub fn check_number(browser: &[u8; POINT], code: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(CHECK_LABEL);
    hasher.update(browser);
    hasher.update(code.as_bytes());
    let digest = hasher.finish();
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % 1_000_000;
    format!("{number:06}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

    /// The contract's: private key 32 × 0x03.
    const BROWSER: &str =
        "BFkat3HrvP1tnLkJTRBlKK3Rpp1EwsH2J/CJ7Fi5xhrfn05qvw0EXAxpOjxorXyXynK+ZN70om/s0mPdmKkngPA=";

    fn browser() -> [u8; POINT] {
        public_key(BROWSER, "browserPublicKey").expect("a point")
    }

    #[test]
    fn the_check_number_has_known_answers() {
        // int.from_bytes(hashlib.sha256(b"lpm-pair-v1" + key + code).digest()[:4], "big") % 1_000_000
        for (code, number) in
            [("ABC234", "286729"), ("ZZZ999", "851684"), ("K7MXQ2", "759891"), ("AAACRF", "000622")]
        {
            assert_eq!(check_number(&browser(), code), number);
        }
    }

    #[test]
    fn another_key_or_another_code_gives_another_number() {
        let other =
            "BHMQPsMLPM9X2q4I6TU0rvFEo1lAz2u7oSoM98vV1lpk2CyMmenTxF+SRbqbJ5gsmuqOwduUsZxEeVlCwOsiqjI=";
        let other = public_key(other, "browserPublicKey").expect("a point");
        assert_ne!(check_number(&other, "ABC234"), check_number(&browser(), "ABC234"));
        assert_ne!(check_number(&browser(), "ABC235"), check_number(&browser(), "ABC234"));
    }

    #[test]
    fn every_letter_and_digit_of_a_code_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::<char, usize>::new();
        for byte in 0..=255 {
            let code = code(&[byte; CODE]);
            assert_eq!(parse_code(&code), Some(code.clone()));
            for letter in code.chars() {
                *counts.entry(letter).or_default() += 1;
            }
        }
        assert_eq!(counts.len(), 32);
        assert!(counts.values().all(|count| *count == 8 * CODE), "{counts:?}");
        assert!(counts.keys().all(|letter| !"IO01".contains(*letter)));
    }

    #[test]
    fn a_code_is_six_letters_and_digits_in_either_case() {
        assert_eq!(parse_code("abc234").as_deref(), Some("ABC234"));
        assert_eq!(parse_code("O01I00").as_deref(), Some("O01I00"));
        for wrong in ["", "ABC23", "ABC2345", "ABC 34", "ABC-34", "ABC2\u{e9}", "ÀBC23", "ABC23\0"] {
            assert_eq!(parse_code(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_public_key_is_an_uncompressed_point_on_the_curve_in_canonical_base64() {
        let good = browser();
        assert_eq!(good[0], 4);
        let changed = |at: usize, to: u8| {
            let mut bytes = good;
            bytes[at] = to;
            STANDARD.encode(bytes)
        };
        let parity = 6 | (good[64] & 1);
        for (case, wrong) in [
            ("nothing", String::new()),
            ("compressed", STANDARD.encode([&[2 | (good[64] & 1)], &good[1..33]].concat())),
            ("hybrid", changed(0, parity)),
            ("another prefix", changed(0, 5)),
            ("not on the curve", changed(64, good[64] ^ 1)),
            ("zeros", STANDARD.encode([0; POINT])),
            ("the prefix and zeros", STANDARD.encode([&[4_u8][..], &[0; 64]].concat())),
            ("beyond the field", STANDARD.encode([&[4_u8][..], &[0xFF; 64]].concat())),
            ("at infinity", STANDARD.encode([0])),
            ("one byte short", STANDARD.encode(&good[..64])),
            ("one byte more", STANDARD.encode([&good[..], &[0]].concat())),
            ("without padding", STANDARD_NO_PAD.encode(good)),
            ("the URL's alphabet", URL_SAFE.encode(good)),
            ("with a line break", format!("{BROWSER}\n")),
            ("no base64", "!".repeat(88)),
        ] {
            let error = public_key(&wrong, "browserPublicKey").expect_err(case);
            assert_eq!(
                error.failure().text(),
                "`browserPublicKey` is not the base64 of an uncompressed P-256 point (65 bytes)",
                "{case}"
            );
        }
    }

    #[test]
    fn a_sealed_key_has_81_characters_in_two_parts() {
        let good = "AAECAwQFBgcICQoL:W9QRD+pM+pW3YUjuXiAqSyWWs5c1n2cvnvPAnDV7UUVMWaflITY88hK+KRqtBXgb";
        assert_eq!(good.len(), 81);
        check_sealed_key(good).expect("the contract's own");
        for wrong in
            ["", ":", &good[1..], &good[..80], &good.replace(':', "."), &format!("{good}:"), &"A".repeat(81)]
        {
            assert!(check_sealed_key(wrong).is_err(), "{wrong}");
        }
    }
}
