//! `encryptedBlob`, `wrappedKey` of person and member, and the pairing's: what else than the right text is
//! refused. Known answers are in `tests/contract_vectors.rs`.

use super::super::EnvelopeError;
use super::super::aead::{self, IV, KEY};
use super::super::{share, vault};
use super::{one_bit_flipped, one_character_changed, secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::nid::Nid;
use openssl::pkey::Private;

const IV0: [u8; IV] = [9; IV];

fn blob(iv: &[u8], sealed: &[u8]) -> String {
    format!("{}:{}", STANDARD.encode(iv), STANDARD.encode(sealed))
}

/// Other spellings of a text whose fields are base64, and other shapes.
fn misspelt(text: &str) -> Vec<String> {
    vec![
        String::new(),
        ":".to_owned(),
        text.replace(':', "."),
        text.replace(':', ""),
        text.replacen(':', "::", 1),
        format!("{text}:"),
        format!(":{text}"),
        format!("{text}="),
        format!("{text}\n"),
        format!(" {text}"),
        text.replacen(':', "=:", 1),
        text.trim_end_matches('=')[..text.trim_end_matches('=').len() - 1].to_owned(),
        text.to_ascii_uppercase(),
    ]
}

/// Those that are not even of the form; in other letters it is another text of the same form.
fn malformed(text: &str) -> impl Iterator<Item = String> {
    misspelt(text).into_iter().filter(|wrong| !wrong.eq_ignore_ascii_case(text))
}

#[test]
fn a_blob_opens_with_its_key_only() {
    let text = vault::seal_blob(&secret(&[1; KEY]), &IV0, b"{\"A\":\"b\"}").unwrap();
    assert_eq!(vault::open_blob(&secret(&[1; KEY]), &text).ok().unwrap().expose(), b"{\"A\":\"b\"}");
    assert_eq!(vault::open_blob(&secret(&[2; KEY]), &text).err(), Some(EnvelopeError::DoesNotOpen));
    assert_eq!(vault::open_blob(&secret(&[1; 16]), &text).err(), Some(EnvelopeError::KeyLength));
    for changed in one_bit_flipped(&text, ':', &[0, 1]).into_iter().chain(misspelt(&text)) {
        assert!(vault::open_blob(&secret(&[1; KEY]), &changed).is_err(), "{changed}");
    }
}

#[test]
fn a_blob_has_one_spelling() {
    // `AA==` and `AB==` are the same byte to a lenient reader, and would be two hashes of one ciphertext.
    let good = blob(&[0; IV], &[0; 16]);
    assert!(vault::blob_sha256(&good).is_ok());
    assert!(good.ends_with("AA=="));
    for bad in [
        format!("{}AB==", good.strip_suffix("AA==").unwrap()),
        good.trim_end_matches('=').to_owned(),
        good.replace("==", "="),
        good.replacen("AAAA", "AAA-", 1),
        good.replacen("AAAA", "AA\nAA", 1),
        good.replacen("AAAA", "AA AA", 1),
        blob(&[0; IV], &[0; 15]),
        blob(&[0; IV], b""),
        blob(&[0; IV - 1], &[0; 16]),
        blob(&[0; IV + 1], &[0; 16]),
        blob(&[0; 16], &[0; 16]),
        blob(b"", &[0; 16]),
    ] {
        let error = vault::blob_sha256(&bad).unwrap_err();
        assert!(matches!(error, EnvelopeError::Form { field: "encryptedBlob", .. }), "{bad}: {error}");
    }
}

#[test]
fn a_blob_is_known_by_its_bytes() {
    let whole: Vec<u8> = (0..40).collect();
    let hash = vault::blob_sha256(&blob(&whole[..IV], &whole[IV..])).unwrap();
    assert_eq!(hash, openssl::sha::sha256(&whole));
}

#[test]
fn a_blob_may_have_ten_mebibytes_and_no_more() {
    assert_eq!(vault::MAX_BLOB, 10 << 20);
    let of = |size: usize| blob(&[0; IV], &vec![0; size - IV]);
    assert!(vault::blob_sha256(&of(vault::MAX_BLOB)).is_ok());
    for size in [vault::MAX_BLOB + 1, vault::MAX_BLOB + 100] {
        assert_eq!(vault::blob_sha256(&of(size)).err(), Some(EnvelopeError::TooLarge));
        assert_eq!(vault::open_blob(&secret(&[1; KEY]), &of(size)).err(), Some(EnvelopeError::TooLarge));
    }
    // As long as the largest and its punctuation could be, and no blob.
    let unread = vault::MAX_BLOB.div_ceil(3) * 4 + 32;
    let error = vault::blob_sha256(&"!".repeat(unread)).err();
    assert!(matches!(error, Some(EnvelopeError::Form { field: "encryptedBlob", .. })), "{error:?}");
    assert_eq!(vault::blob_sha256(&"!".repeat(unread + 1)).err(), Some(EnvelopeError::TooLarge));
    // Too long for any blob: refused unread.
    assert_eq!(vault::blob_sha256(&"!".repeat(15 << 20)).err(), Some(EnvelopeError::TooLarge));
    let key = secret(&[1; KEY]);
    let payload = vec![b'x'; vault::MAX_BLOB - IV - 16];
    assert!(vault::blob_sha256(&vault::seal_blob(&key, &IV0, &payload).unwrap()).is_ok());
    assert_eq!(
        vault::seal_blob(&key, &IV0, &[payload, vec![0]].concat()).err(),
        Some(EnvelopeError::TooLarge)
    );
}

#[test]
fn a_wrapped_key_opens_with_its_wrapping_key_only() {
    let (wrapping, aes) = (secret(&[1; KEY]), secret(&[7; KEY]));
    let text = vault::wrap_key(&wrapping, &IV0, &aes).unwrap();
    assert_eq!(text.len(), 81);
    assert_eq!(vault::open_wrapped_key(&wrapping, &text).ok().unwrap().expose(), [7; KEY]);
    assert_eq!(vault::open_wrapped_key(&secret(&[2; KEY]), &text).err(), Some(EnvelopeError::DoesNotOpen));
    assert_eq!(vault::check_wrapped_key(&text), Ok(()));
    for changed in one_bit_flipped(&text, ':', &[0, 1]).into_iter().chain(one_character_changed(&text)) {
        assert!(vault::open_wrapped_key(&wrapping, &changed).is_err(), "{changed}");
    }
    for bad in misspelt(&text)
        .into_iter()
        .filter(|bad| bad.bytes().any(|b| b.is_ascii_lowercase()) || bad.len() != 81)
    {
        assert!(vault::check_wrapped_key(&bad).is_err(), "{bad}");
    }
    for length in [0, 16, 31, 33] {
        assert_eq!(
            vault::wrap_key(&wrapping, &IV0, &secret(&vec![7; length])).err(),
            Some(EnvelopeError::KeyLength)
        );
        let sealed = aead::seal(&[1; KEY], &IV0, b"", &vec![7; length]).unwrap();
        assert!(vault::open_wrapped_key(&wrapping, &blob(&IV0, &sealed)).is_err(), "{length} bytes");
    }
}

#[test]
fn a_members_key_opens_for_that_member_only() {
    let public = aead::public_key(&[1; KEY]).unwrap();
    let text = share::wrap_for_member(&public, &[2; KEY], &IV0, &secret(&[7; KEY])).unwrap();
    assert_eq!(text.len(), 126);
    assert_eq!(share::open_from_member(&[1; KEY], &text).ok().unwrap().expose(), [7; KEY]);
    assert_eq!(share::open_from_member(&[3; KEY], &text).err(), Some(EnvelopeError::DoesNotOpen));
    // The top bit of an X25519 public key is ignored (RFC 7748, section 5), so field 0 is not in the list.
    for changed in one_bit_flipped(&text, ':', &[1, 2]).into_iter().chain(misspelt(&text)) {
        assert!(share::open_from_member(&[1; KEY], &changed).is_err(), "{changed}");
    }
    assert_eq!(share::check_wrapped_for_member(&text), Ok(()));
    let personal = vault::wrap_key(&secret(&[7; KEY]), &IV0, &secret(&[7; KEY])).unwrap();
    let wrong = ["::".to_owned(), text[..125].to_owned(), personal, format!("{text}:AAAA")];
    for wrong in wrong.into_iter().chain(malformed(&text)) {
        assert!(share::check_wrapped_for_member(&wrong).is_err(), "{wrong}");
    }
    let small = format!("{}{}", STANDARD.encode([0; KEY]), &text[44..]);
    assert_eq!(share::open_from_member(&[1; KEY], &small).err(), Some(EnvelopeError::PublicKey));
    assert_eq!(
        share::wrap_for_member(&[0; KEY], &[2; KEY], &IV0, &secret(&[7; KEY])).err(),
        Some(EnvelopeError::PublicKey)
    );
    assert_eq!(
        share::wrap_for_member(&public, &[2; KEY], &IV0, &secret(&[7; 31])).err(),
        Some(EnvelopeError::KeyLength)
    );
}

fn p256() -> (EcKey<Private>, Vec<u8>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = EcKey::generate(&group).unwrap();
    let mut context = BigNumContext::new().unwrap();
    let public = key.public_key().to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context).unwrap();
    (key, public)
}

#[test]
fn a_pairing_opens_in_that_browser_only() {
    let ((browser, browser_public), (client, client_public), (other, _)) = (p256(), p256(), p256());
    let text = share::seal_for_browser(&browser_public, &client, &IV0, &secret(&[7; KEY])).unwrap();
    assert_eq!(text.len(), 81);
    assert_eq!(share::open_in_browser(&client_public, &browser, &text).ok().unwrap().expose(), [7; KEY]);
    assert_eq!(share::open_in_browser(&client_public, &other, &text).err(), Some(EnvelopeError::DoesNotOpen));
    for changed in one_bit_flipped(&text, ':', &[0, 1]) {
        assert!(share::open_in_browser(&client_public, &browser, &changed).is_err());
    }
    for length in [0, 31, 33] {
        let key = secret(&vec![7; length]);
        let error = share::seal_for_browser(&browser_public, &client, &IV0, &key).err();
        assert_eq!(error, Some(EnvelopeError::KeyLength));
    }
    let mut off_curve = browser_public.clone();
    off_curve[64] ^= 1;
    for bad in [&off_curve[..], &browser_public[..64], &browser_public[1..], &[0; 65], &[0], b""] {
        let error = share::seal_for_browser(bad, &client, &IV0, &secret(&[7; KEY])).err();
        assert_eq!(error, Some(EnvelopeError::PublicKey), "{} bytes", bad.len());
    }
}

#[test]
fn a_public_key_has_one_spelling_and_is_of_full_order() {
    let public = aead::public_key(&[1; KEY]).unwrap();
    let text = STANDARD.encode(public);
    assert_eq!(share::member_public_key(&text), Ok(public));
    let (short, long) = (STANDARD.encode([9; KEY - 1]), STANDARD.encode([9; KEY + 1]));
    let url_safe = STANDARD.encode([0xFB; KEY]).replace('+', "-");
    let wrong = ["", &text[..43], &short, &long, &url_safe, &hex::encode(public)].map(str::to_owned);
    for wrong in wrong.into_iter().chain(malformed(&text)) {
        assert!(share::member_public_key(&wrong).is_err(), "{wrong}");
    }
}

/// The list that libsodium refuses (`crypto_scalarmult_curve25519`, `has_small_order`): the points of order 1, 2, 4 and
/// 8 with every spelling of their u-coordinate in 255 bits; each also with the top bit, which X25519 ignores.
#[test]
fn a_public_key_of_small_order_is_refused() {
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let mut point = hex::decode(point).unwrap();
        for top in [0, 0x80] {
            point[31] ^= top;
            let refused = share::member_public_key(&STANDARD.encode(&point)).err().unwrap();
            assert!(refused.to_string().contains("small order"), "{point:x?}: {refused}");
            assert_eq!(refused.failure().code.as_str(), "blob_invalid");
        }
    }
}
