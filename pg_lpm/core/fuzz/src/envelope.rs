//! Envelopes as text from anywhere, for keys that are fixed.
//!
//! Nobody can make an envelope without its key, so whatever opens must be what sealing the same content
//! again makes of it, byte for byte: every form has one spelling.

use crate::failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::aead::{self, IV, KEY, TAG};
use lpm_core::envelope::escrow::{self, EscrowContext, EscrowKind, Owner};
use lpm_core::envelope::keyring::{EscrowKey, KeyId, KeyringError, MAX_KEYS, parse_key_env, parse_key_lines};
use lpm_core::envelope::{EnvelopeError, share, signature, signature_holds, vault};
use lpm_core::secret::Secret;
use std::sync::LazyLock;
use uuid::Uuid;

/// The key of every escrow here: the first one of `docs/vectors/escrow.json`.
pub(crate) static ESCROW_KEY: LazyLock<EscrowKey> = LazyLock::new(|| {
    let raw = std::array::from_fn(|n| n as u8);
    EscrowKey::derive(None, &raw).expect("any 32 bytes are a key")
});

/// The vault's AES key and the machine's wrapping key, as in the contract's vectors.
fn aes_key() -> Secret {
    Secret::new((0x20..0x40).collect())
}

pub(crate) fn wrapping_key() -> Secret {
    Secret::new((0x00..0x20).collect())
}

const VAULT: &str = "7d444840-9dc0-41d1-b245-5ffdce74fad2";

/// A row of each kind, both of the same vectors.
fn contexts() -> [EscrowContext<'static>; 2] {
    let user = Uuid::from_u128(0x0f1e2d3c_4b5a_4978_8796_a5b4c3d2e1f0);
    let org = Uuid::from_u128(0xa0b1c2d3_e4f5_4061_9728_3a4b5c6d7e8f);
    let hash = openssl::sha::sha256(b"iv, ciphertext and tag of some blob");
    let context = |kind, owner, blob_hash| EscrowContext { kind, vault_id: VAULT, owner, blob_hash };
    [
        context(EscrowKind::Wrapping, Owner::User(user), None),
        context(EscrowKind::Aes, Owner::Org(org), Some(hash)),
    ]
}

/// Text that should be one of the forms, or a source of escrow keys.
pub fn envelope(data: &[u8]) {
    key_source(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    stored(text);
    sealed(text);
    blob(text);
    wrapped(text);
    let expected = signature(b"token", b"body");
    assert_eq!(signature_holds(b"token", b"body", text), text.trim() == expected);
}

fn stored(text: &str) {
    let named = escrow::stored_key_id(text);
    let mut opened = 0;
    for context in contexts() {
        match escrow::open_stored_escrow(&ESCROW_KEY, &context, text) {
            Ok(secret) => {
                opened += 1;
                let iv = array(text.split('.').nth(2));
                let again = escrow::store_escrow(&ESCROW_KEY, &context, &secret, &iv);
                assert_eq!(again.as_deref(), Ok(text));
                assert_eq!(named.as_ref(), Ok(ESCROW_KEY.id()));
            }
            Err(error) => refused(&error),
        }
    }
    assert!(opened < 2, "one text opens in two rows");
    if let Ok(id) = named {
        assert!(text.starts_with(&format!("v1.{id}.")) && text.split('.').count() == 4);
    }
}

fn sealed(text: &str) {
    let named = escrow::sealed_key_id(text);
    for context in contexts() {
        let open = |vault_id: &str| {
            escrow::open_sealed_escrow(&ESCROW_KEY, context.kind, vault_id, context.blob_hash, text)
        };
        match open(VAULT) {
            Ok(secret) => {
                assert_eq!(secret.expose().len(), KEY);
                assert_eq!(named.as_ref(), Ok(ESCROW_KEY.id()));
                let fields: Vec<&str> = text.split('.').collect();
                let sizes = [KEY, IV, KEY + TAG];
                assert_eq!(fields.len(), 5);
                for (field, size) in fields[2..].iter().zip(sizes) {
                    assert_eq!(canonical(field).map(|bytes| bytes.len()), Some(size), "{field}");
                }
                assert!(open("7d444840").is_err());
            }
            Err(error) => refused(&error),
        }
    }
    if let Ok(id) = named {
        assert!(text.starts_with(&format!("s1.{id}.")) && text.split('.').count() == 5);
    }
}

fn blob(text: &str) {
    let parts = text.split_once(':').and_then(|(iv, sealed)| Some((canonical(iv)?, canonical(sealed)?)));
    let parts = parts.filter(|(iv, sealed)| iv.len() == IV && sealed.len() >= TAG);
    match (vault::blob_sha256(text), parts) {
        (Ok(hash), Some((iv, sealed))) => assert_eq!(hash, openssl::sha::sha256(&[iv, sealed].concat())),
        (Err(error), None) => refused(&error),
        (hash, parts) => panic!("{hash:?} of {parts:?}"),
    }
    match vault::open_blob(&aes_key(), text) {
        Ok(payload) => {
            let iv = array(text.split(':').next());
            assert_eq!(vault::seal_blob(&aes_key(), &iv, payload.expose()).as_deref(), Ok(text));
        }
        Err(error) => refused(&error),
    }
}

fn wrapped(text: &str) {
    let parts = text.split_once(':').and_then(|(iv, sealed)| Some((canonical(iv)?, canonical(sealed)?)));
    let is_form = parts.is_some_and(|(iv, sealed)| iv.len() == IV && sealed.len() == KEY + TAG);
    assert_eq!(vault::check_wrapped_key(text).is_ok(), is_form);
    match vault::open_wrapped_key(&wrapping_key(), text) {
        Ok(key) => {
            let iv = array(text.split(':').next());
            assert_eq!(vault::wrap_key(&wrapping_key(), &iv, &key).as_deref(), Ok(text));
        }
        Err(error) => refused(&error),
    }
    match share::open_from_member(&[1; KEY], text) {
        Ok(key) => {
            let fields: Vec<_> = text.split(':').map(canonical).collect();
            let sizes: Vec<_> = fields.iter().map(|field| field.as_ref().map(Vec::len)).collect();
            assert_eq!((sizes, key.expose().len()), (vec![Some(KEY), Some(IV), Some(KEY + TAG)], KEY));
        }
        Err(error) => refused(&error),
    }
}

/// Key sources, against a reading by hand.
fn key_source(data: &[u8]) {
    let source = || Secret::new(data.to_vec());
    let text = std::str::from_utf8(data).ok();
    let lines = text.map(|text| {
        let lines = text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(entry).collect()
    });
    ring(parse_key_lines(&source()), lines);
    ring(parse_key_env(&source()), text.map(|text| text.split(',').map(entry).collect()));
}

/// `id:hex` or `hex`: its id, where it is an entry.
fn entry(text: &str) -> Option<String> {
    let (id, digits) = match text.split_once(':') {
        Some((id, digits)) => (KeyId::parse(id.trim()), digits.trim()),
        None => (None, text.trim()),
    };
    if text.contains(':') && id.is_none() {
        return None;
    }
    let raw: [u8; KEY] = hex::decode(digits).ok()?.try_into().ok()?;
    let default = || hex::encode(&aead::hkdf(&raw, b"lpm-ci-escrow-v1", b"kid").expect("a sub-key")[..8]);
    Some(id.map_or_else(default, |id| id.to_string()))
}

fn ring(parsed: Result<Vec<EscrowKey>, KeyringError>, by_hand: Option<Vec<Option<String>>>) {
    let entries = by_hand.and_then(|entries| entries.into_iter().collect::<Option<Vec<String>>>());
    let ids = entries.filter(|ids| {
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        distinct.len() == ids.len() && (1..=MAX_KEYS).contains(&ids.len())
    });
    let keys = match parsed {
        Ok(keys) => keys,
        Err(error) => {
            assert!(ids.is_none(), "refused, {error}: {ids:?}");
            return assert!(failure::is_harmless(&error.to_string()));
        }
    };
    assert_eq!(Some(keys.iter().map(|key| key.id().to_string()).collect()), ids);
    for key in keys {
        let again = EscrowKey::from_parts(&key.to_parts());
        assert_eq!((again.id(), again.public()), (key.id(), key.public()));
    }
}

fn refused(error: &EnvelopeError) {
    assert_ne!(*error, EnvelopeError::Library, "input must not reach the library's own errors");
    failure::holds(&error.failure());
}

/// The bytes of standard base64 with padding, where this is the one spelling of them.
fn canonical(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok().filter(|bytes| STANDARD.encode(bytes) == text)
}

/// The field of a text that has opened.
fn array<const N: usize>(field: Option<&str>) -> [u8; N] {
    field.and_then(canonical).and_then(|bytes| bytes.try_into().ok()).expect("what opens has its fields")
}
