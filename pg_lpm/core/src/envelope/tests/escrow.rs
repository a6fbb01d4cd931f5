//! The escrow formats against `docs/vectors/escrow.json`, which a second implementation made.

use super::super::aead::{self, IV, KEY};
use super::super::escrow::{
    EscrowContext, EscrowKind, Owner, open_sealed_escrow, open_stored_escrow, seal_escrow,
    seal_escrow_random, sealed_key_id, store_escrow, store_escrow_random, stored_key_id,
};
use super::super::keyring::{EscrowKey, KeyId};
use super::super::{EnvelopeError, fingerprint, lp, signature};
use super::{one_bit_flipped, one_character_changed, secret};
use crate::failure::Code;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "comment")]
    _comment: String,
    lp: Vec<LengthPrefixed>,
    keys: Vec<SubKeys>,
    stored: Vec<Escrow>,
    sealed: Vec<Escrow>,
    refused_stored: Vec<Escrow>,
    refused_sealed: Vec<Escrow>,
    signatures: Vec<Signed>,
}

#[derive(Deserialize)]
struct LengthPrefixed {
    parts: Vec<String>,
    encoded: String,
}

#[derive(Deserialize)]
struct SubKeys {
    key: String,
    aead: String,
    x25519: String,
    audit: String,
    default_id: String,
    public: String,
    fingerprint: String,
}

#[derive(Deserialize)]
struct Signed {
    token: String,
    body: String,
    signature: String,
}

/// An escrow of either form; what a form or a refusal does not have is empty.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Escrow {
    why: String,
    key: String,
    id: String,
    kind: String,
    vault_id: String,
    owner_kind: String,
    owner: Uuid,
    blob_sha256: Option<String>,
    secret: String,
    ephemeral: String,
    shared: String,
    seal_key: String,
    iv: String,
    aad: String,
    text: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../../docs/vectors/escrow.json"))
        .expect("as the program writes it")
}

fn array<const N: usize>(digits: &str) -> [u8; N] {
    hex::decode(digits).unwrap().try_into().unwrap()
}

impl Escrow {
    fn key(&self) -> EscrowKey {
        EscrowKey::derive(KeyId::parse(&self.id), &array(&self.key)).unwrap()
    }

    fn kind(&self) -> EscrowKind {
        EscrowKind::parse(&self.kind).unwrap()
    }

    fn blob_hash(&self) -> Option<[u8; 32]> {
        self.blob_sha256.as_deref().map(array)
    }

    fn context(&self) -> EscrowContext<'_> {
        let owner = if self.owner_kind == "org" { Owner::Org(self.owner) } else { Owner::User(self.owner) };
        EscrowContext { kind: self.kind(), vault_id: &self.vault_id, owner, blob_hash: self.blob_hash() }
    }

    fn open_stored(&self) -> Result<Vec<u8>, EnvelopeError> {
        open_stored_escrow(&self.key(), &self.context(), &self.text).map(|secret| secret.expose().to_vec())
    }

    fn open_sealed(&self) -> Result<Vec<u8>, EnvelopeError> {
        open_sealed_escrow(&self.key(), self.kind(), &self.vault_id, self.blob_hash(), &self.text)
            .map(|secret| secret.expose().to_vec())
    }

    /// Itself with one part of its context replaced, for every part that the form binds.
    fn elsewhere(&self) -> Vec<(&'static str, Self)> {
        let with = |name, change: &dyn Fn(&mut Self)| {
            let mut other = self.clone();
            change(&mut other);
            (name, other)
        };
        let mut out = vec![
            with("kind", &|e| e.kind = if self.kind == "aes" { "wrapping" } else { "aes" }.to_owned()),
            with("vault", &|e| e.vault_id.push('x')),
            with("vault in other case", &|e| e.vault_id.make_ascii_uppercase()),
            with("no vault", &|e| e.vault_id.clear()),
            with("other blob", &|e| e.blob_sha256 = Some("00".repeat(32))),
            with("key", &|e| e.key = "ee".repeat(32)),
        ];
        if self.blob_sha256.is_some() {
            out.push(with("no blob", &|e| e.blob_sha256 = None));
        }
        if !self.owner_kind.is_empty() {
            let other = if self.owner_kind == "org" { "user" } else { "org" };
            out.push(with("owner kind", &|e| e.owner_kind = other.to_owned()));
            out.push(with("owner", &|e| e.owner = Uuid::from_u128(e.owner.as_u128() ^ 1)));
        }
        out
    }
}

#[test]
fn parts_are_encoded_with_their_lengths() {
    for vector in vectors().lp {
        let parts: Vec<&[u8]> = vector.parts.iter().map(|part| part.as_bytes()).collect();
        assert_eq!(hex::encode(lp(&parts)), vector.encoded, "{:?}", vector.parts);
    }
}

#[test]
fn sub_keys_id_and_fingerprint_are_derived_from_the_key() {
    for vector in vectors().keys {
        let key = EscrowKey::derive(None, &array(&vector.key)).unwrap();
        assert_eq!(hex::encode(key.aead()), vector.aead);
        assert_eq!(hex::encode(key.private()), vector.x25519);
        assert_eq!(hex::encode(key.audit()), vector.audit);
        assert_eq!(key.id().as_str(), vector.default_id);
        assert_eq!(STANDARD.encode(key.public()), vector.public);
        assert_eq!(fingerprint(key.public()), vector.fingerprint);
        let named = EscrowKey::derive(KeyId::parse("name"), &array(&vector.key)).unwrap();
        assert_eq!((named.id().as_str(), named.public()), ("name", key.public()));
    }
}

#[test]
fn signatures_are_those_of_the_second_implementation() {
    for vector in vectors().signatures {
        assert_eq!(signature(vector.token.as_bytes(), vector.body.as_bytes()), vector.signature);
    }
}

#[test]
fn a_stored_escrow_is_made_and_opened_as_written() {
    for vector in vectors().stored {
        let made = store_escrow(
            &vector.key(),
            &vector.context(),
            &secret(&array::<KEY>(&vector.secret)),
            &array(&vector.iv),
        );
        assert_eq!(made.as_ref(), Ok(&vector.text));
        assert_eq!(vector.open_stored(), Ok(hex::decode(&vector.secret).unwrap()));
        assert_eq!(stored_key_id(&vector.text).unwrap().as_str(), vector.id);
        // The AAD in the file is what the tag covers.
        let sealed = aead::seal(
            vector.key().aead(),
            &array(&vector.iv),
            &hex::decode(&vector.aad).unwrap(),
            &array::<KEY>(&vector.secret),
        );
        assert!(vector.text.ends_with(&STANDARD.encode(sealed.unwrap())));
    }
}

#[test]
fn a_sealed_escrow_is_made_and_opened_as_written() {
    for vector in vectors().sealed {
        let key = vector.key();
        let made = seal_escrow(
            key.id(),
            key.public(),
            vector.kind(),
            &vector.vault_id,
            vector.blob_hash(),
            &secret(&array::<KEY>(&vector.secret)),
            &array(&vector.ephemeral),
            &array(&vector.iv),
        );
        assert_eq!(made.as_ref(), Ok(&vector.text));
        assert_eq!(vector.open_sealed(), Ok(hex::decode(&vector.secret).unwrap()));
        assert_eq!(sealed_key_id(&vector.text).unwrap().as_str(), vector.id);
        // The steps in between, too.
        let (ephemeral, iv) = (array(&vector.ephemeral), array::<IV>(&vector.iv));
        let shared = aead::agree(&ephemeral, key.public()).ok().unwrap();
        assert_eq!(hex::encode(shared.expose()), vector.shared);
        let salt = [aead::public_key(&ephemeral).unwrap(), *key.public()].concat();
        let seal_key = aead::hkdf(shared.expose(), &salt, b"lpm-ci-seal-v1").unwrap();
        assert_eq!(hex::encode(*seal_key), vector.seal_key);
        let sealed =
            aead::seal(&*seal_key, &iv, &hex::decode(&vector.aad).unwrap(), &array::<KEY>(&vector.secret));
        assert!(vector.text.ends_with(&STANDARD.encode(sealed.unwrap())));
    }
}

#[test]
fn what_the_vectors_refuse_is_refused() {
    let vectors = vectors();
    assert!(vectors.refused_stored.len() > 15 && vectors.refused_sealed.len() > 15);
    for vector in vectors.refused_stored {
        let error = vector.open_stored().expect_err(&vector.why);
        assert!(vector.open_sealed().is_err());
        match vector.why.as_str() {
            "another id" => assert_eq!(error, EnvelopeError::OtherKey(KeyId::parse("other").unwrap())),
            why => assert!(matches!(error, EnvelopeError::Form { field: "escrow", .. }), "{why}: {error}"),
        }
    }
    for vector in vectors.refused_sealed {
        let error = vector.open_sealed().expect_err(&vector.why);
        assert!(vector.open_stored().is_err());
        match vector.why.as_str() {
            "another id" => assert_eq!(error.failure().code, Code::EscrowKeyUnknown),
            why if why.starts_with("all-zero") => assert_eq!(error, EnvelopeError::PublicKey, "{why}"),
            why => assert!(matches!(error, EnvelopeError::Form { field: "escrow", .. }), "{why}: {error}"),
        }
    }
}

#[test]
fn an_escrow_opens_nowhere_else() {
    let vectors = vectors();
    for (vector, what, other) in
        vectors.stored.iter().flat_map(|v| v.elsewhere().into_iter().map(move |(w, o)| (v, w, o)))
    {
        assert_ne!(vector.open_stored(), other.open_stored(), "{what}");
        assert_eq!(other.open_stored(), Err(EnvelopeError::DoesNotOpen), "{what}");
    }
    for (what, other) in vectors.sealed.iter().flat_map(Escrow::elsewhere) {
        assert_eq!(other.open_sealed(), Err(EnvelopeError::DoesNotOpen), "{what}");
    }
}

#[test]
fn the_id_is_bound_even_where_the_key_is_the_same() {
    let rename = |escrow: &Escrow| {
        let mut other = escrow.clone();
        other.text = escrow.text.replacen(&escrow.id, "renamed", 1);
        other.id = "renamed".to_owned();
        other
    };
    let vectors = vectors();
    for vector in &vectors.stored {
        assert_eq!(rename(vector).open_stored(), Err(EnvelopeError::DoesNotOpen));
    }
    for vector in &vectors.sealed {
        assert_eq!(rename(vector).open_sealed(), Err(EnvelopeError::DoesNotOpen));
    }
}

#[test]
fn no_changed_text_opens() {
    let vectors = vectors();
    let mut escrow = vectors.stored[1].clone();
    let good = escrow.text.clone();
    for changed in one_character_changed(&good).chain(one_bit_flipped(&good, '.', &[2, 3])) {
        escrow.text = changed;
        assert!(escrow.open_stored().is_err(), "{}", escrow.text);
    }
    let mut escrow = vectors.sealed[1].clone();
    let good = escrow.text.clone();
    // Every bit of the ephemeral key, too: X25519 ignores its top bit, but the salt does not.
    for changed in one_character_changed(&good).chain(one_bit_flipped(&good, '.', &[2, 3, 4])) {
        escrow.text = changed;
        assert!(escrow.open_sealed().is_err(), "{}", escrow.text);
    }
}

#[test]
fn a_stored_escrow_is_no_sealed_one() {
    let vectors = vectors();
    for (stored, sealed) in vectors.stored.iter().zip(&vectors.sealed) {
        assert!(sealed_key_id(&stored.text).is_err());
        assert!(stored_key_id(&sealed.text).is_err());
    }
}

#[test]
fn only_a_key_can_be_escrowed_and_only_to_a_real_key() {
    let vector = vectors().stored.remove(0);
    let (key, context) = (vector.key(), vector.context());
    for length in [0, 16, 31, 33, 64] {
        let wrong = secret(&vec![1; length]);
        assert_eq!(store_escrow(&key, &context, &wrong, &[0; IV]), Err(EnvelopeError::KeyLength));
        let sealed = seal_escrow_random(key.id(), key.public(), EscrowKind::Aes, "v", None, &wrong);
        assert_eq!(sealed, Err(EnvelopeError::KeyLength));
    }
    let sealed = seal_escrow_random(key.id(), &[0; KEY], EscrowKind::Aes, "v", None, &secret(&[1; KEY]));
    assert_eq!(sealed, Err(EnvelopeError::PublicKey));
}

#[test]
fn fresh_randomness_makes_another_text_each_time() {
    let vector = vectors().stored.remove(0);
    let (key, context, wrapping) = (vector.key(), vector.context(), secret(&[1; KEY]));
    let stored = || store_escrow_random(&key, &context, &wrapping).unwrap();
    assert_ne!(stored(), stored());
    let opened = open_stored_escrow(&key, &context, &stored()).ok().unwrap();
    assert_eq!(opened.expose(), [1; KEY]);
    let sealed =
        || seal_escrow_random(key.id(), key.public(), EscrowKind::Aes, "v", None, &wrapping).unwrap();
    let (one, two) = (sealed(), sealed());
    for field in 2..5 {
        assert_ne!(one.split('.').nth(field), two.split('.').nth(field));
    }
    let opened = open_sealed_escrow(&key, EscrowKind::Aes, "v", None, &one).ok().unwrap();
    assert_eq!(opened.expose(), [1; KEY]);
}

#[test]
fn kinds_have_one_name() {
    for kind in [EscrowKind::Wrapping, EscrowKind::Aes] {
        assert_eq!(EscrowKind::parse(kind.as_str()), Some(kind));
    }
    for wrong in ["", "AES", "aes ", "wrap"] {
        assert_eq!(EscrowKind::parse(wrong), None);
    }
}
