//! Bearer tokens: `lpm_pat_`, `lpm_ses_`, `lpm_ref_`, `lpm_ci_` and their hashes; and `lpm_code_`, which is made alike.
//!
//! A token is its prefix, 43 base62 characters (256 random bits) and 6 base62 characters of CRC-32 over
//! everything before them, so that a mistyped or cut token is refused without asking the database, and
//! secret scanners can tell a real one from noise.
//!
//! The gateway sends h = SHA-256("lpm-token-hash-v1" ‖ 0x00 ‖ token); stored is SHA-256(h). A stolen
//! table is no credential, and h differs from SHA-256(token), which is the key of `X-LPM-Signature`.

use crate::secret::Secret;
use openssl::sha::{Sha256, sha256};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 43;
const CHECK_CHARS: usize = 6;

/// What a bearer token is for; its prefix says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `lpm_pat_`: made by a DBA or a user, for a person or a script.
    PersonalAccess,
    /// `lpm_ses_`: the short-lived half of a login session.
    Session,
    /// `lpm_ref_`: the long-lived half of a login session.
    Refresh,
    /// `lpm_ci_`: from an exchange, good for `ci-pull` only.
    Ci,
    /// `lpm_code_`: from the sign-in page to the command line that waits for it; no bearer token at all.
    LoginCode,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::PersonalAccess, Kind::Session, Kind::Refresh, Kind::Ci, Kind::LoginCode];

    /// The prefix, with its closing underscore.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Kind::PersonalAccess => "lpm_pat_",
            Kind::Session => "lpm_ses_",
            Kind::Refresh => "lpm_ref_",
            Kind::Ci => "lpm_ci_",
            Kind::LoginCode => "lpm_code_",
        }
    }
}

/// The kind of a well-formed token, `None` for anything else.
#[must_use]
pub fn kind(token: &str) -> Option<Kind> {
    let kind = Kind::ALL.into_iter().find(|kind| token.starts_with(kind.prefix()))?;
    let body = &token.as_bytes()[kind.prefix().len()..];
    if body.len() != RANDOM_CHARS + CHECK_CHARS || !body.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let (checked, check) = token.as_bytes().split_at(token.len() - CHECK_CHARS);
    (check == base62::<CHECK_CHARS>(&crc32fast::hash(checked).to_be_bytes())).then_some(kind)
}

/// A token of this kind from 32 random bytes.
#[must_use]
pub fn token(kind: Kind, random: &[u8; 32]) -> Secret {
    let mut text = Vec::with_capacity(64);
    text.extend_from_slice(kind.prefix().as_bytes());
    text.extend_from_slice(&base62::<RANDOM_CHARS>(random));
    let check = base62::<CHECK_CHARS>(&crc32fast::hash(&text).to_be_bytes());
    text.extend_from_slice(&check);
    Secret::new(text)
}

/// h: what the gateway sends to SQL in place of the token.
#[must_use]
pub fn hash(token: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"lpm-token-hash-v1\0");
    hasher.update(token);
    hasher.finish()
}

/// SHA-256(h): what the database stores.
#[must_use]
pub fn stored_hash(hash: &[u8; 32]) -> [u8; 32] {
    sha256(hash)
}

/// `bytes` as a big-endian number in base 62, padded with `0` on the left to `N` characters.
fn base62<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut number = bytes.to_vec();
    let mut out = [ALPHABET[0]; N];
    for slot in out.iter_mut().rev() {
        let mut remainder = 0_u32;
        for digit in &mut number {
            let value = remainder * 256 + u32::from(*digit);
            *digit = u8::try_from(value / 62).expect("remainder < 62, so the quotient fits a byte");
            remainder = value % 62;
        }
        *slot = ALPHABET[remainder as usize];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values made by a few lines of Python (int.from_bytes, divmod, zlib.crc32, hashlib).
    const ZEROS: &str = "lpm_pat_0000000000000000000000000000000000000000000";

    fn text(kind: Kind, random: [u8; 32]) -> String {
        token(kind, &random).expose_str().expect("tokens are ASCII").to_owned()
    }

    #[test]
    fn a_made_token_is_recognised() {
        for kind_of in Kind::ALL {
            let token = text(kind_of, [0xA7; 32]);
            assert_eq!(token.len(), kind_of.prefix().len() + 49);
            assert_eq!(kind(&token), Some(kind_of));
        }
        assert!(text(Kind::PersonalAccess, [0; 32]).starts_with(ZEROS));
    }

    #[test]
    fn the_largest_number_fits() {
        // 62^43 > 2^256, and 62^6 > 2^32.
        assert_eq!(kind(&text(Kind::Ci, [0xFF; 32])), Some(Kind::Ci));
    }

    #[test]
    fn any_changed_character_is_refused() {
        let good = text(Kind::PersonalAccess, [0x5C; 32]);
        for i in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[i] = if bad[i] == b'x' { b'y' } else { b'x' };
            assert_eq!(kind(std::str::from_utf8(&bad).expect("ASCII")), None, "position {i}");
        }
        assert_eq!(kind(&good[..good.len() - 1]), None);
        assert_eq!(kind(&format!("{good}0")), None);
        assert_eq!(kind(""), None);
        assert_eq!(kind("lpm_pat_é"), None);
    }

    #[test]
    fn the_hash_is_separated_from_the_signature_key() {
        assert_ne!(hash(b"t"), sha256(b"t"));
        assert_eq!(hash(b"t"), sha256(b"lpm-token-hash-v1\0t"));
        assert_eq!(stored_hash(&hash(b"t")), sha256(&hash(b"t")));
    }
}
