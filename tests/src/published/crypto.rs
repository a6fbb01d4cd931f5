//! The published client's cryptography, after the contract's part 1, with nothing of `lpm-core`.

use anyhow::{Context, Result, ensure};
use openssl::base64::{decode_block, encode_block};
use openssl::bn::BigNumContext;
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rand::rand_bytes;
use openssl::sha::sha256;
use openssl::sign::Signer;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

/// This many random bytes.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rand_bytes(&mut bytes)?;
    Ok(bytes)
}

/// Base64 of the standard alphabet with padding; anything else is an error.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    let bytes = decode_block(text).context("not base64")?;
    ensure!(encode_block(&bytes) == text, "not base64");
    Ok(bytes)
}

/// `b64(iv):b64(ciphertext ‖ tag)`
pub fn seal(key: &[u8; 32], plaintext: &[u8]) -> Result<String> {
    let (iv, mut tag) = (random::<12>()?, [0; 16]);
    let mut sealed = encrypt_aead(Cipher::aes_256_gcm(), key, Some(&iv), &[], plaintext, &mut tag)?;
    sealed.extend_from_slice(&tag);
    Ok(format!("{}:{}", encode_block(&iv), encode_block(&sealed)))
}

/// The inverse of [`seal`].
pub fn open(key: &[u8; 32], text: &str) -> Result<Vec<u8>> {
    let (iv, sealed) = text.split_once(':').context("no `:`")?;
    let (iv, sealed) = (decode(iv)?, decode(sealed)?);
    ensure!(iv.len() == 12 && sealed.len() >= 16, "too short");
    let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
    Ok(decrypt_aead(Cipher::aes_256_gcm(), key, Some(&iv), &[], ciphertext, tag)?)
}

/// A vault as it is pushed: the blob, and its fresh key under the wrapping key.
pub fn seal_vault(wrapping_key: &[u8; 32], plaintext: &[u8]) -> Result<(String, String)> {
    let aes_key = random::<32>()?;
    Ok((seal(&aes_key, plaintext)?, seal(wrapping_key, &aes_key)?))
}

/// A vault as it was pulled, opened.
pub fn open_vault(wrapping_key: &[u8; 32], blob: &str, wrapped_key: &str) -> Result<Vec<u8>> {
    let aes_key = open(wrapping_key, wrapped_key)?;
    open(&aes_key.try_into().ok().context("a key of 32 bytes")?, blob)
}

/// A member's key pair for org vaults.
pub struct MemberPair(PKey<Private>);

impl MemberPair {
    /// A fresh one.
    pub fn new() -> Result<Self> {
        Ok(Self(PKey::generate_x25519()?))
    }

    /// What is uploaded: 44 characters.
    pub fn public_key(&self) -> Result<String> {
        Ok(encode_block(&self.0.raw_public_key()?))
    }

    /// The vault's key out of this member's copy.
    pub fn unwrap(&self, wrapped_key: &str) -> Result<[u8; 32]> {
        let (ephemeral, sealed) = wrapped_key.split_once(':').context("invalid org wrapped key format")?;
        let key = agree(&self.0, &decode(ephemeral)?)?;
        open(&key, sealed)?.try_into().ok().context("a key of 32 bytes")
    }
}

/// `b64(ephemeral public key):b64(iv):b64(ciphertext ‖ tag)`
pub fn wrap_for_member(public_key: &[u8; 32], aes_key: &[u8; 32]) -> Result<String> {
    let ephemeral = PKey::generate_x25519()?;
    let key = agree(&ephemeral, public_key)?;
    Ok(format!("{}:{}", encode_block(&ephemeral.raw_public_key()?), seal(&key, aes_key)?))
}

fn agree(own: &PKey<Private>, other: &[u8]) -> Result<[u8; 32]> {
    let other = PKey::public_key_from_raw_bytes(other, Id::X25519)?;
    let mut deriver = Deriver::new(own)?;
    deriver.set_peer(&other)?;
    hkdf(&deriver.derive_to_vec()?, b"lpm-vault-org")
}

/// HKDF-SHA256 with an empty salt, one block long.
fn hkdf(ikm: &[u8], info: &[u8]) -> Result<[u8; 32]> {
    let pseudo_random_key = hmac(&[0; 32], ikm)?;
    hmac(&pseudo_random_key, &[info, &[1]].concat())
}

fn hmac(key: &[u8], data: &[u8]) -> Result<[u8; 32]> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    signer.update(data)?;
    signer.sign_to_vec()?.try_into().ok().context("32 bytes")
}

/// `X-LPM-Signature` of a body, as later clients verify it.
pub fn signature(token: &str, body: &[u8]) -> Result<String> {
    Ok(encode_block(&hmac(&sha256(token.as_bytes()), body)?))
}

/// The wrapping key that old clients derived from their token.
#[must_use]
pub fn legacy_wrapping_key(token: &str) -> [u8; 32] {
    sha256(format!("lpm-vault-wrap:{token}").as_bytes())
}

/// Checks a SEC1 point of P-256, compressed or not.
pub fn p256_point(bytes: &[u8]) -> Result<()> {
    point(bytes).map(|_| ())
}

fn point(bytes: &[u8]) -> Result<EcPoint> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(EcPoint::from_bytes(&group, bytes, &mut *BigNumContext::new()?)?)
}

/// One side of a pairing: the browser's, or this machine's for one approval.
pub struct PairingPair(EcKey<Private>);

impl PairingPair {
    /// A fresh one.
    pub fn new() -> Result<Self> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        Ok(Self(EcKey::generate(&group)?))
    }

    /// Base64 of 65 bytes.
    pub fn public_key(&self) -> Result<String> {
        let mut context = BigNumContext::new()?;
        let form = PointConversionForm::UNCOMPRESSED;
        Ok(encode_block(&self.0.public_key().to_bytes(self.0.group(), form, &mut context)?))
    }

    /// What both sides derive.
    pub fn agree(&self, other: &[u8]) -> Result<[u8; 32]> {
        let other = EcKey::from_public_key(self.0.group(), &*point(other)?)?;
        let (own, other) = (PKey::from_ec_key(self.0.clone())?, PKey::from_ec_key(other)?);
        let mut deriver = Deriver::new(&own)?;
        deriver.set_peer(&other)?;
        hkdf(&deriver.derive_to_vec()?, b"lpm-dashboard-pair")
    }
}

/// What a machine sends to a browser that it approves: the sealed wrapping key, and its own public key.
pub fn approve(browser: &[u8], wrapping_key: &[u8; 32]) -> Result<(String, String)> {
    let ephemeral = PairingPair::new()?;
    Ok((seal(&ephemeral.agree(browser)?, wrapping_key)?, ephemeral.public_key()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The contract's known answers.
    const WRAPPED: &str = "DA0ODxAREhMUFRYX:uN9L+1tT2nQfA2L+vaYIyGUy393CSA2do5vA29id/sVYYvcCMp7I31GyTfZG581N";
    const BLOB: &str = "AAECAwQFBgcICQoL:J3A4yTxcmYPSlKyoUgB8BmhSjQEMcNN9UC/pwZnAm9FzlVdkOSVmloFWy8r/6QaTdkuythUAo6ecH2DGRtwPxyq0/ziL8Z6pIQ7yBjoNkvrpH6XJ4lwCUjSUWFKhY9kyLAs15VMHbvCDJkDi/30SHadPmoLYEpQytCs=";
    const ORG: &str = "zo060cy2M+x7cMF4FKXHbs0CloUFDTRHRboFhw5YfVk=:DA0ODxAREhMUFRYX:IGEwoXL4oXGmuIv8U7Nxc7/Yw/hu9/rq1tUMOkQbam2b5sQHxpL+NgP1qmLlQEZ7";

    fn counted(from: u8) -> [u8; 32] {
        std::array::from_fn(|at| from + u8::try_from(at).expect("below 32"))
    }

    #[test]
    fn a_personal_vault_opens_as_published() {
        let opened = open_vault(&counted(0), BLOB, WRAPPED).expect("the published vector");
        let expected = r#"{"environments":{"default":{"API_KEY":"sk-123","DB_HOST":"localhost"},"production":{"API_KEY":"sk-live"}}}"#;
        assert_eq!(String::from_utf8_lossy(&opened), expected);
    }

    #[test]
    fn a_members_copy_opens_as_published() {
        let key = PKey::private_key_from_raw_bytes(&[1; 32], Id::X25519).expect("a key");
        let pair = MemberPair(key);
        assert_eq!(pair.public_key().expect("a key"), "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=");
        assert_eq!(pair.unwrap(ORG).expect("the published vector"), counted(0x20));
    }

    #[test]
    fn signatures_and_legacy_keys_are_as_published() {
        let token = "lpm_test_token_abc123";
        assert_eq!(
            signature(token, br#"{"vaultId":"v1","version":3}"#).expect("a key"),
            "ldVu3vojQWNaIcbhLIy3iRC13cArq7tBYVMlUvvq/ko="
        );
        assert_eq!(
            hex::encode(legacy_wrapping_key(token)),
            "b1cbf2700ebc4414a501b5ddb9614926b5e7e1ea41c17e9d17b1a9744937eb1a"
        );
    }

    #[test]
    fn both_sides_of_a_pairing_derive_one_key() {
        let browser = PairingPair::new().expect("a key");
        let public = decode(&browser.public_key().expect("a key")).expect("base64");
        assert_eq!(public.len(), 65);
        let (sealed, ephemeral) = approve(&public, &counted(0)).expect("a key");
        assert_eq!((sealed.len(), ephemeral.len()), (81, 88));
        let key = browser.agree(&decode(&ephemeral).expect("base64")).expect("a point");
        assert_eq!(open(&key, &sealed).expect("sealed to it"), counted(0));
    }

    #[test]
    fn base64_without_padding_or_of_another_alphabet_is_none() {
        for text in ["YQ", "YQ=", "-_-_", "YR==", " YQ=="] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
