//! Escrow keys: ids, sub-keys, and the text of a key source.
//!
//! The 32-byte `VAULT_CI_ESCROW_KEY` encrypts nothing itself. PRK = HKDF-Extract(salt `lpm-ci-escrow-v1`,
//! key); the sub-keys are HKDF-Expand with info `aead`, `x25519`, `kid` and `audit`.

use super::EnvelopeError;
use super::aead::{self, KEY};
use crate::secret::Secret;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const SALT: &[u8] = b"lpm-ci-escrow-v1";
const MAX_ID: usize = 32;

/// Most keys that a source may hold.
pub const MAX_KEYS: usize = 16;

/// Why a key source is refused as a whole. Names lines and ids, never keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// A line, or part of the variable, that is neither `id:hex` nor `hex`.
    #[error("entry {0} is not `id:hex` or `hex`, with 64 hex digits")]
    Entry(usize),
    /// An id outside of `[A-Za-z0-9_-]{1,32}`.
    #[error("entry {0} has an id that is not 1 to 32 of A-Z a-z 0-9 _ -")]
    Id(usize),
    /// The same id twice.
    #[error("the id `{0}` occurs twice")]
    Duplicate(KeyId),
    /// No key at all.
    #[error("it holds no key")]
    Empty,
    /// More than [`MAX_KEYS`].
    #[error("it holds more than 16 keys")]
    TooMany,
    /// Not UTF-8.
    #[error("it is not text")]
    NotText,
    /// The library failed.
    #[error("the cryptographic library failed")]
    Library,
}

impl From<EnvelopeError> for KeyringError {
    fn from(_: EnvelopeError) -> Self {
        Self::Library
    }
}

/// The id of an escrow key: `[A-Za-z0-9_-]{1,32}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyId(String);

impl KeyId {
    /// The id, where the text is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let ok = (1..=MAX_ID).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        ok.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An escrow key: its id and the sub-keys, wiped when dropped.
pub struct EscrowKey {
    id: KeyId,
    aead: Zeroizing<[u8; KEY]>,
    x25519: Zeroizing<[u8; KEY]>,
    audit: Zeroizing<[u8; KEY]>,
    public: [u8; KEY],
}

/// An [`EscrowKey`] as plain bytes, for shared memory. No `Debug`: it holds the sub-keys.
#[derive(Clone, Copy, Zeroize)]
#[repr(C)]
pub struct KeyParts {
    id: [u8; MAX_ID],
    id_len: u8,
    aead: [u8; KEY],
    x25519: [u8; KEY],
    audit: [u8; KEY],
    public: [u8; KEY],
}

impl KeyParts {
    /// No key.
    pub const ZERO: Self = Self {
        id: [0; MAX_ID],
        id_len: 0,
        aead: [0; KEY],
        x25519: [0; KEY],
        audit: [0; KEY],
        public: [0; KEY],
    };
}

/// The raw key of a source entry: wiped after derivation.
#[derive(ZeroizeOnDrop)]
struct RawKey([u8; KEY]);

impl EscrowKey {
    /// Derives the sub-keys; without an id, it is the first 16 hex digits of the `kid` sub-key.
    ///
    /// # Errors
    ///
    /// When the library fails.
    pub fn derive(id: Option<KeyId>, raw: &[u8; KEY]) -> Result<Self, EnvelopeError> {
        let sub_key = |info: &[u8]| aead::hkdf(raw, SALT, info);
        let x25519 = sub_key(b"x25519")?;
        let id = match id {
            Some(id) => id,
            None => KeyId(hex::encode(&sub_key(b"kid")?[..8])),
        };
        let public = aead::public_key(&x25519)?;
        Ok(Self { id, aead: sub_key(b"aead")?, audit: sub_key(b"audit")?, x25519, public })
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The X25519 public key that escrow is sealed to.
    #[must_use]
    pub fn public(&self) -> &[u8; KEY] {
        &self.public
    }

    /// The key of stored escrow.
    pub(super) fn aead(&self) -> &[u8; KEY] {
        &self.aead
    }

    /// The private half of [`EscrowKey::public`].
    pub(super) fn private(&self) -> &[u8; KEY] {
        &self.x25519
    }

    /// The key of audit digests.
    #[cfg(test)]
    pub(super) fn audit(&self) -> &[u8; KEY] {
        &self.audit
    }

    /// As plain bytes.
    #[must_use]
    pub fn to_parts(&self) -> KeyParts {
        let mut id = [0; MAX_ID];
        id[..self.id.0.len()].copy_from_slice(self.id.0.as_bytes());
        let id_len = u8::try_from(self.id.0.len()).expect("an id has at most 32 bytes");
        KeyParts {
            id,
            id_len,
            aead: *self.aead,
            x25519: *self.x25519,
            audit: *self.audit,
            public: self.public,
        }
    }

    /// From plain bytes that [`EscrowKey::to_parts`] made.
    #[must_use]
    pub fn from_parts(parts: &KeyParts) -> Self {
        let id = &parts.id[..usize::from(parts.id_len).min(MAX_ID)];
        let id = String::from_utf8_lossy(id).into_owned();
        Self {
            id: KeyId(id),
            aead: Zeroizing::new(parts.aead),
            x25519: Zeroizing::new(parts.x25519),
            audit: Zeroizing::new(parts.audit),
            public: parts.public,
        }
    }
}

/// The keys of a file or of a command's output: a line each, newest first; blank lines and `#` comments
/// are passed over.
///
/// # Errors
///
/// When anything about the source is wrong: it is refused as a whole.
pub fn parse_key_lines(text: &Secret) -> Result<Vec<EscrowKey>, KeyringError> {
    let text = text.expose_str().ok_or(KeyringError::NotText)?;
    let entries = text.lines().enumerate().map(|(line, entry)| (line + 1, entry.trim()));
    parse(entries.filter(|(_, entry)| !entry.is_empty() && !entry.starts_with('#')))
}

/// The keys of the environment variable: comma-separated, newest first.
///
/// # Errors
///
/// As for [`parse_key_lines`].
pub fn parse_key_env(text: &Secret) -> Result<Vec<EscrowKey>, KeyringError> {
    let text = text.expose_str().ok_or(KeyringError::NotText)?;
    parse(text.split(',').enumerate().map(|(entry, text)| (entry + 1, text.trim())))
}

fn parse<'a>(entries: impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<EscrowKey>, KeyringError> {
    let mut keys: Vec<EscrowKey> = Vec::new();
    for (number, entry) in entries {
        if keys.len() == MAX_KEYS {
            return Err(KeyringError::TooMany);
        }
        let (id, digits) = match entry.split_once(':') {
            Some((id, digits)) => {
                (Some(KeyId::parse(id.trim()).ok_or(KeyringError::Id(number))?), digits.trim())
            }
            None => (None, entry),
        };
        let mut raw = RawKey([0; KEY]);
        hex::decode_to_slice(digits, &mut raw.0).map_err(|_| KeyringError::Entry(number))?;
        let key = EscrowKey::derive(id, &raw.0)?;
        if keys.iter().any(|other| other.id == key.id) {
            return Err(KeyringError::Duplicate(key.id.clone()));
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(KeyringError::Empty) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Vec<String>, KeyringError> {
        let keys = parse_key_lines(&Secret::from(text.to_owned()))?;
        Ok(keys.iter().map(|key| key.id().to_string()).collect())
    }

    fn key(byte: &str) -> String {
        byte.repeat(32)
    }

    #[test]
    fn a_source_lists_keys_newest_first() {
        let text = format!("# keys\n\n new:{}\r\nold:{}\n{}\n", key("01"), key("02"), key("03"));
        let ids = lines(&text).expect("valid");
        assert_eq!(&ids[..2], ["new", "old"]);
        assert_eq!(ids[2].len(), 16);
        assert!(ids[2].bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn a_source_with_anything_wrong_is_refused_as_a_whole() {
        let good = key("01");
        for (text, expected) in [
            (String::new(), KeyringError::Empty),
            ("# nothing\n".to_owned(), KeyringError::Empty),
            (format!("a:{good}\nb:{}", &good[1..]), KeyringError::Entry(2)),
            (format!("a:{good}00"), KeyringError::Entry(1)),
            (format!("a:{good}\na:{}", key("02")), KeyringError::Duplicate(KeyId("a".to_owned()))),
            (
                format!("{good}\n{good}"),
                KeyringError::Duplicate(KeyId::parse(&lines(&good).expect("one")[0]).expect("id")),
            ),
            (format!(":{good}"), KeyringError::Id(1)),
            (format!("a.b:{good}"), KeyringError::Id(1)),
            (format!("{}:{good}", "x".repeat(33)), KeyringError::Id(1)),
            ((1..=17).map(|i| format!("k{i}:{good}\n")).collect(), KeyringError::TooMany),
            ("zz".repeat(32), KeyringError::Entry(1)),
        ] {
            assert_eq!(lines(&text), Err(expected), "{} bytes", text.len());
        }
        assert_eq!(parse_key_lines(&Secret::new(vec![0xFF])).err(), Some(KeyringError::NotText));
    }

    #[test]
    fn the_variable_is_comma_separated() {
        let text = Secret::from(format!("new:{},{}", key("01"), key("02")));
        assert_eq!(parse_key_env(&text).expect("valid").len(), 2);
        assert_eq!(
            parse_key_env(&Secret::from(format!("{},", key("01")))).err(),
            Some(KeyringError::Entry(2))
        );
        assert_eq!(parse_key_env(&Secret::from(String::new())).err(), Some(KeyringError::Entry(1)));
    }

    #[test]
    fn parts_make_the_same_key() {
        let key = EscrowKey::derive(KeyId::parse("k-1_Z"), &[7; 32]).expect("derives");
        let again = EscrowKey::from_parts(&key.to_parts());
        assert_eq!(key.id(), again.id());
        assert_eq!(key.public(), again.public());
        assert_eq!((key.aead(), key.private()), (again.aead(), again.private()));
    }
}
