//! Known answers of the published client's formats: what installed clients send and read, byte for byte.
//!
//! Made with Python's `cryptography`; the personal and the org ones were fed to the published client (0.28.0),
//! which decrypted them, and the signatures are what its successor accepts.

#![allow(clippy::unwrap_used, reason = "tests")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::aead::{self, IV, KEY};
use lpm_core::envelope::{share, signature, signature_holds, vault};
use lpm_core::secret::Secret;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::nid::Nid;
use openssl::pkey::Private;

const PLAINTEXT: &str = concat!(
    r#"{"environments":{"default":{"API_KEY":"sk-123","DB_HOST":"localhost"},"#,
    r#""production":{"API_KEY":"sk-live"}}}"#
);
const BLOB: &str = concat!(
    "AAECAwQFBgcICQoL:J3A4yTxcmYPSlKyoUgB8BmhSjQEMcNN9UC/pwZnAm9FzlVdkOSVmloFWy8r/6QaTdkuythUAo6ecH2DGRtwPxyq0",
    "/ziL8Z6pIQ7yBjoNkvrpH6XJ4lwCUjSUWFKhY9kyLAs15VMHbvCDJkDi/30SHadPmoLYEpQytCs="
);
const WRAPPED_KEY: &str = "DA0ODxAREhMUFRYX:uN9L+1tT2nQfA2L+vaYIyGUy393CSA2do5vA29id/sVYYvcCMp7I31GyTfZG581N";
const ORG_WRAPPED_KEY: &str = concat!(
    "zo060cy2M+x7cMF4FKXHbs0CloUFDTRHRboFhw5YfVk=:DA0ODxAREhMUFRYX:",
    "IGEwoXL4oXGmuIv8U7Nxc7/Yw/hu9/rq1tUMOkQbam2b5sQHxpL+NgP1qmLlQEZ7"
);
const MEMBER_PUBLIC: &str = "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=";
const BROWSER_PUBLIC: &str =
    "BFkat3HrvP1tnLkJTRBlKK3Rpp1EwsH2J/CJ7Fi5xhrfn05qvw0EXAxpOjxorXyXynK+ZN70om/s0mPdmKkngPA=";
const CLIENT_PUBLIC: &str =
    "BHMQPsMLPM9X2q4I6TU0rvFEo1lAz2u7oSoM98vV1lpk2CyMmenTxF+SRbqbJ5gsmuqOwduUsZxEeVlCwOsiqjI=";
const PAIRED_KEY: &str = "AAECAwQFBgcICQoL:W9QRD+pM+pW3YUjuXiAqSyWWs5c1n2cvnvPAnDV7UUVMWaflITY88hK+KRqtBXgb";

/// start, start + 1, …
fn seq<const N: usize>(start: u8) -> [u8; N] {
    std::array::from_fn(|i| start + u8::try_from(i).unwrap())
}

fn wrapping_key() -> Secret {
    Secret::new(seq::<KEY>(0x00).to_vec())
}

fn aes_key() -> Secret {
    Secret::new(seq::<KEY>(0x20).to_vec())
}

const BLOB_IV: u8 = 0x00;
const KEY_IV: u8 = 0x0C;

#[test]
fn a_personal_vault() {
    assert_eq!(vault::seal_blob(&aes_key(), &seq(BLOB_IV), PLAINTEXT.as_bytes()).unwrap(), BLOB);
    assert_eq!(vault::wrap_key(&wrapping_key(), &seq(KEY_IV), &aes_key()).unwrap(), WRAPPED_KEY);

    let opened = vault::open_wrapped_key(&wrapping_key(), WRAPPED_KEY).ok().unwrap();
    assert_eq!(opened.expose(), aes_key().expose());
    assert_eq!(vault::open_blob(&opened, BLOB).ok().unwrap().expose_str(), Some(PLAINTEXT));
    assert!(vault::open_blob(&wrapping_key(), BLOB).is_err());
    assert!(vault::open_wrapped_key(&aes_key(), WRAPPED_KEY).is_err());
}

#[test]
fn what_a_push_carries_is_well_formed() {
    vault::check_wrapped_key(WRAPPED_KEY).unwrap();
    let (iv, sealed) = BLOB.split_once(':').unwrap();
    let whole = [STANDARD.decode(iv).unwrap(), STANDARD.decode(sealed).unwrap()].concat();
    assert_eq!(vault::blob_sha256(BLOB).unwrap(), openssl::sha::sha256(&whole));
    assert!(vault::check_wrapped_key(ORG_WRAPPED_KEY).is_err());
    assert!(vault::blob_sha256(ORG_WRAPPED_KEY).is_err());
}

#[test]
fn the_legacy_wrapping_key() {
    let key = share::legacy_wrapping_key(&Secret::from("lpm_test_token_abc123".to_owned()));
    assert_eq!(hex::encode(key.expose()), "b1cbf2700ebc4414a501b5ddb9614926b5e7e1ea41c17e9d17b1a9744937eb1a");
}

#[test]
fn an_org_vault() {
    let (member, ephemeral) = ([1; KEY], [2; KEY]);
    let public = aead::public_key(&member).unwrap();
    assert_eq!(STANDARD.encode(public), MEMBER_PUBLIC);
    let shared = aead::agree(&ephemeral, &public).ok().unwrap();
    assert_eq!(
        hex::encode(shared.expose()),
        "2ed76ab549b1e73c031eb49c9448f0798aea81b698279a0c3dc3e49fbfc4b953"
    );
    let key = aead::hkdf(shared.expose(), b"", b"lpm-vault-org").unwrap();
    assert_eq!(hex::encode(*key), "214020a22d6c47991c674a8a6f5221d3076551a04ffc9c453e7ea6d4ecc8a9ac");

    assert_eq!(
        share::wrap_for_member(&public, &ephemeral, &seq(KEY_IV), &aes_key()).unwrap(),
        ORG_WRAPPED_KEY
    );
    let opened = share::open_from_member(&member, ORG_WRAPPED_KEY).ok().unwrap();
    assert_eq!(opened.expose(), aes_key().expose());
    assert!(share::open_from_member(&ephemeral, ORG_WRAPPED_KEY).is_err());
    assert!(share::open_from_member(&member, WRAPPED_KEY).is_err());
}

/// The P-256 key of this scalar, and its public point.
fn p256(scalar: [u8; KEY]) -> (EcKey<Private>, Vec<u8>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let scalar = BigNum::from_slice(&scalar).unwrap();
    let mut context = BigNumContext::new().unwrap();
    let mut point = EcPoint::new(&group).unwrap();
    point.mul_generator2(&group, &scalar, &mut context).unwrap();
    let public = point.to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context).unwrap();
    (EcKey::from_private_components(&group, &scalar, &point).unwrap(), public)
}

#[test]
fn a_paired_browser() {
    let ((browser, browser_public), (client, client_public)) = (p256([3; KEY]), p256([4; KEY]));
    assert_eq!(STANDARD.encode(&browser_public), BROWSER_PUBLIC);
    assert_eq!(STANDARD.encode(&client_public), CLIENT_PUBLIC);

    // The derivation, from the x-coordinate of the shared point.
    let x = hex::decode("0644c761b0c88a1bd386775f1671e20e126283c466b975e699f7836e0d4c1df3").unwrap();
    let key = aead::hkdf(&x, b"", b"lpm-dashboard-pair").unwrap();
    assert_eq!(hex::encode(*key), "5f6863e59a948b1cfcb85e8c92a15f1147793701b74c3685660dfc42e5504e38");
    let sealed = aead::seal(&*key, &seq::<IV>(BLOB_IV), b"", wrapping_key().expose()).unwrap();
    assert!(PAIRED_KEY.ends_with(&STANDARD.encode(sealed)));

    let sealed = share::seal_for_browser(&browser_public, &client, &seq(BLOB_IV), &wrapping_key()).unwrap();
    assert_eq!(sealed, PAIRED_KEY);
    let opened = share::open_in_browser(&client_public, &browser, PAIRED_KEY).ok().unwrap();
    assert_eq!(opened.expose(), wrapping_key().expose());
    assert!(share::open_in_browser(&browser_public, &browser, PAIRED_KEY).is_err());
}

#[test]
fn the_signature_of_an_answer() {
    let token = b"lpm_test_token_abc123";
    for (body, expected) in [
        (r#"{"vaultId":"v1","version":3}"#, "ldVu3vojQWNaIcbhLIy3iRC13cArq7tBYVMlUvvq/ko="),
        (r#"{"status":"updated","version":1}"#, "QV3e2F3s8/kAZeDgOLA7sYyNw9uRzJsQpBFq6qTD7TQ="),
    ] {
        assert_eq!(signature(token, body.as_bytes()), expected);
        assert!(signature_holds(token, body.as_bytes(), expected));
        assert!(!signature_holds(b"lpm_test_token_abc124", body.as_bytes(), expected));
        assert!(!signature_holds(token, format!("{body}\n").as_bytes(), expected));
    }
}
