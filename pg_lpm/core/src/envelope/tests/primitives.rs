//! The primitives at their edges; the published vectors run in `tests/published_vectors.rs`.

use super::super::aead::{self, IV, KEY, TAG};
use super::super::{EnvelopeError, fingerprint, signature, signature_holds};
use crate::failure::Code;

const IV0: [u8; IV] = [3; IV];

#[test]
fn a_sealed_message_opens_only_as_it_was_sealed() {
    let sealed = aead::seal(&[1; KEY], &IV0, b"aad", b"message").unwrap();
    assert_eq!(sealed.len(), 7 + TAG);
    assert_eq!(aead::open(&[1; KEY], &IV0, b"aad", &sealed).ok().unwrap().expose(), b"message");
    let opened =
        |key: &[u8], iv: &[u8; IV], aad: &[u8], sealed: &[u8]| aead::open(key, iv, aad, sealed).err();
    let refused = Some(EnvelopeError::DoesNotOpen);
    assert_eq!(opened(&[2; KEY], &IV0, b"aad", &sealed), refused);
    assert_eq!(opened(&[1; KEY], &[4; IV], b"aad", &sealed), refused);
    assert_eq!(opened(&[1; KEY], &IV0, b"", &sealed), refused);
    assert_eq!(opened(&[1; KEY], &IV0, b"aadx", &sealed), refused);
    for cut in 0..sealed.len() {
        assert_eq!(opened(&[1; KEY], &IV0, b"aad", &sealed[..cut]), refused, "{cut} bytes");
    }
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(opened(&[1; KEY], &IV0, b"aad", &flipped), refused, "bit {bit}");
    }
}

#[test]
fn an_empty_message_has_a_tag_too() {
    let sealed = aead::seal(&[1; KEY], &IV0, b"", b"").unwrap();
    assert_eq!(sealed.len(), TAG);
    assert!(aead::open(&[1; KEY], &IV0, b"", &sealed).ok().unwrap().expose().is_empty());
    assert!(aead::open(&[1; KEY], &IV0, b"x", &sealed).is_err());
}

#[test]
fn a_key_of_another_length_is_refused_before_it_is_used() {
    for length in [0, 16, 24, 31, 33, 64] {
        let key = vec![1; length];
        assert_eq!(aead::seal(&key, &IV0, b"", b"m").err(), Some(EnvelopeError::KeyLength));
        assert_eq!(aead::open(&key, &IV0, b"", &[0; 64]).err(), Some(EnvelopeError::KeyLength));
    }
}

#[test]
fn agreement_is_symmetric_and_refuses_points_of_small_order() {
    let (a, b) = (aead::public_key(&[1; KEY]).unwrap(), aead::public_key(&[2; KEY]).unwrap());
    let (ab, ba) = (aead::agree(&[1; KEY], &b).ok().unwrap(), aead::agree(&[2; KEY], &a).ok().unwrap());
    assert_eq!(ab.expose(), ba.expose());
    let mut one = [0; KEY];
    one[0] = 1;
    for point in [[0; KEY], one] {
        assert_eq!(aead::agree(&[1; KEY], &point).err(), Some(EnvelopeError::PublicKey));
    }
}

#[test]
fn an_absent_salt_is_hash_length_zeros() {
    // RFC 5869, section 2.2.
    let hkdf = |salt: &[u8]| aead::hkdf(b"input", salt, b"info").unwrap();
    assert_eq!(*hkdf(b""), *hkdf(&[0; KEY]));
    assert_ne!(*hkdf(b""), *hkdf(b"salt"));
}

#[test]
fn randomness_does_not_repeat() {
    assert_ne!(aead::random::<32>().unwrap(), aead::random::<32>().unwrap());
}

#[test]
fn a_signature_holds_for_one_token_and_one_body() {
    let header = signature(b"token", b"{}");
    assert_eq!(header.len(), 44);
    assert!(signature_holds(b"token", b"{}", &header));
    assert!(signature_holds(b"token", b"{}", &format!(" {header}\t")));
    assert!(!signature_holds(b"other", b"{}", &header));
    assert!(!signature_holds(b"token", b"{} ", &header));
    assert!(!signature_holds(b"token", b"{}", ""));
    assert!(!signature_holds(b"token", b"{}", &header[..43]));
    assert!(!signature_holds(b"token", b"{}", &format!("{header}=")));
    for changed in super::one_character_changed(&header) {
        assert!(!signature_holds(b"token", b"{}", &changed), "{changed}");
    }
}

#[test]
fn a_fingerprint_reads_as_ssh_shows_them() {
    let text = fingerprint(&[0; KEY]);
    assert_eq!(text, "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU");
    assert_ne!(text, fingerprint(&[1; KEY]));
}

#[test]
fn errors_have_a_row_of_the_failure_table() {
    let form = |field| EnvelopeError::Form { field, expected: "so" };
    for (error, code, text) in [
        (form("wrappedKey"), Code::BlobInvalid, "`wrappedKey` is not so"),
        (form("escrow"), Code::EscrowInvalid, "the sealed escrow is not acceptable: `escrow` is not so"),
        (
            EnvelopeError::DoesNotOpen,
            Code::EscrowInvalid,
            "the sealed escrow is not acceptable: it does not open",
        ),
        (
            EnvelopeError::PublicKey,
            Code::EscrowInvalid,
            "the sealed escrow is not acceptable: the public key is not acceptable",
        ),
        (
            EnvelopeError::KeyLength,
            Code::EscrowInvalid,
            "the sealed escrow is not acceptable: a key must have exactly 32 bytes",
        ),
        (EnvelopeError::TooLarge, Code::BlobTooLarge, "the encrypted vault is larger than 10 MiB"),
        (EnvelopeError::Library, Code::Internal, "something went wrong on the server"),
    ] {
        let failure = error.failure();
        assert_eq!((failure.code, failure.text().as_str()), (code, text));
    }
}
