//! Forms of the published client beside the personal vault: the org's wrapped key, the pairing's, and the
//! wrapping key of versions before there was one per machine.

use super::aead::{self, IV, KEY, TAG};
use super::vault::{join, split_sealed_key};
use super::{EnvelopeError, decode_array, encode, key_bytes};
use crate::secret::Secret;
use openssl::bn::BigNumContext;
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sha::Sha256;

const ORG_INFO: &[u8] = b"lpm-vault-org";
const PAIR_INFO: &[u8] = b"lpm-dashboard-pair";
const ORG_FORM: &str = "`base64(ephemeral key):base64(iv):base64(wrapped key)` of 126 characters";

/// SHA-256("lpm-vault-wrap:" ‖ token): whoever sees the token can derive it.
#[must_use]
pub fn legacy_wrapping_key(token: &Secret) -> Secret {
    let mut hasher = Sha256::new();
    hasher.update(b"lpm-vault-wrap:");
    hasher.update(token.expose());
    Secret::new(hasher.finish().to_vec())
}

/// Wraps an AES key for the holder of `recipient` (X25519): 126 characters, three parts.
///
/// # Errors
///
/// When the public key yields no secret, or the library fails.
pub fn wrap_for_member(
    recipient: &[u8; KEY],
    ephemeral: &[u8; KEY],
    iv: &[u8; IV],
    aes_key: &Secret,
) -> Result<String, EnvelopeError> {
    // No AAD and an empty salt, unlike our own seal: the published client's format.
    let shared = aead::agree(ephemeral, recipient)?;
    let key = aead::hkdf(shared.expose(), b"", ORG_INFO)?;
    let sealed = aead::seal(&*key, iv, b"", key_bytes(aes_key)?)?;
    Ok(format!("{}:{}", encode(&aead::public_key(ephemeral)?), join(iv, &sealed)))
}

/// The AES key that was wrapped for this private key.
///
/// # Errors
///
/// When the text has the wrong form or was made for somebody else.
pub fn open_from_member(private: &[u8; KEY], wrapped: &str) -> Result<Secret, EnvelopeError> {
    let (public, (iv, sealed)) = split_wrapped_for_member(wrapped)?;
    let shared = aead::agree(private, &public)?;
    aead::open(&*aead::hkdf(shared.expose(), b"", ORG_INFO)?, &iv, b"", &sealed)
}

/// IV, and key with tag.
type SealedKey = ([u8; IV], [u8; KEY + TAG]);

fn split_wrapped_for_member(wrapped: &str) -> Result<([u8; KEY], SealedKey), EnvelopeError> {
    const FIELD: &str = "wrappedKey";
    let (public, sealed) =
        wrapped.split_once(':').ok_or(EnvelopeError::Form { field: FIELD, expected: ORG_FORM })?;
    let public = decode_array(public, FIELD, ORG_FORM)?;
    Ok((public, split_sealed_key(sealed, FIELD, ORG_FORM)?))
}

/// Whether the text has the form of a key that was wrapped for a member.
///
/// # Errors
///
/// When it has not.
pub fn check_wrapped_for_member(wrapped: &str) -> Result<(), EnvelopeError> {
    split_wrapped_for_member(wrapped).map(|_| ())
}

/// A member's public key: canonical base64 of 32 bytes to which something can be sealed.
///
/// # Errors
///
/// When it is not, or of small order: whatever were wrapped for it, everybody could open.
pub fn member_public_key(text: &str) -> Result<[u8; KEY], EnvelopeError> {
    const FIELD: &str = "publicKey";
    let key = decode_array(text, FIELD, "the canonical base64 of an X25519 key, 44 characters")?;
    // A private key is a multiple of the cofactor once it is clamped, so any one tells.
    match aead::agree(&[1; KEY], &key) {
        Ok(_) => Ok(key),
        Err(EnvelopeError::PublicKey) => Err(EnvelopeError::Form {
            field: FIELD,
            expected: "an X25519 key that a secret can be agreed on with: it is of small order",
        }),
        Err(problem) => Err(problem),
    }
}

/// Seals the wrapping key for a paired browser: `b64(iv):b64(ciphertext ‖ tag)` under
/// HKDF(P-256 x-coordinate). `browser` is an SEC1 point.
///
/// # Errors
///
/// When a key is not on the curve, or the library fails.
pub fn seal_for_browser(
    browser: &[u8],
    private: &EcKey<Private>,
    iv: &[u8; IV],
    wrapping_key: &Secret,
) -> Result<String, EnvelopeError> {
    Ok(join(iv, &aead::seal(&*pairing_key(browser, private)?, iv, b"", key_bytes(wrapping_key)?)?))
}

/// What a browser reads: the wrapping key that was sealed for it.
///
/// # Errors
///
/// When the text has the wrong form or was made for another key.
pub fn open_in_browser(
    client: &[u8],
    private: &EcKey<Private>,
    sealed: &str,
) -> Result<Secret, EnvelopeError> {
    const FIELD: &str = "encryptedWrappingKey";
    const FORM: &str = "`base64(iv):base64(wrapped key)` of 81 characters";
    let (iv, sealed) = split_sealed_key(sealed, FIELD, FORM)?;
    aead::open(&*pairing_key(client, private)?, &iv, b"", &sealed)
}

fn pairing_key(
    public: &[u8],
    private: &EcKey<Private>,
) -> Result<zeroize::Zeroizing<[u8; KEY]>, EnvelopeError> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let point = EcPoint::from_bytes(&group, public, &mut *BigNumContext::new()?)
        .map_err(|_| EnvelopeError::PublicKey)?;
    let public = PKey::from_ec_key(EcKey::from_public_key(&group, &point)?)?;
    let private = PKey::from_ec_key(private.clone())?;
    let mut deriver = Deriver::new(&private)?;
    deriver.set_peer(&public).map_err(|_| EnvelopeError::PublicKey)?;
    let shared = Secret::new(deriver.derive_to_vec()?);
    aead::hkdf(shared.expose(), b"", PAIR_INFO)
}
