//! An issuer's published keys.
//!
//! A bad key is skipped by itself, so that one mistake of the issuer does not stop every job; a document
//! without a single good key is an error, so that the caller keeps the keys it has.

use crate::failure::{Code, Failure};
use crate::json::{self, JsonError, Limits, Value};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, DecodingKey};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use std::collections::HashMap;

/// Largest document, in bytes.
pub const MAX_KEY_SET: usize = 100 * 1024;

/// Most keys in one document.
pub const MAX_KEYS: usize = 100;

/// Sizes of an RSA modulus, in bits: shorter ones can be factored, longer ones only burn time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// RSA exponents: at least 65537, and within what the verifier takes.
const RSA_EXPONENTS: std::ops::Range<u64> = 65537..1 << 33;

/// Length of an Ed25519 public key.
const ED25519_BYTES: usize = 32;

/// Ed25519 points of small order, the sign left out; the last two spell 0 and 1 beyond the field's prime.
///
/// Their few multiples are known, so anybody can sign for such a key, and verifying does not notice.
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// What only the private half of a key has (RFC 7518, section 6): any of them gives the rest away.
const PRIVATE: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];

/// The usable keys of one issuer, by id.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: HashMap<String, Key>,
    skipped: Vec<(usize, KeyError)>,
}

/// A key with the algorithms that it may verify.
#[derive(Clone, Debug)]
pub(super) struct Key {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// Why a whole document was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Larger than [`MAX_KEY_SET`].
    #[error("the key set is larger than 100 KiB")]
    TooLarge,
    /// The document breaks a rule of strict JSON.
    #[error("the key set {0}")]
    Json(#[from] JsonError),
    /// There is no list `keys`.
    #[error("the key set must be an object with a list `keys`")]
    NoKeys,
    /// More than [`MAX_KEYS`].
    #[error("the key set has more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// Every key was skipped, or there was none.
    #[error("the key set has no usable key")]
    NoUsableKey,
}

impl KeySetError {
    /// The row of the failure table, for a document that someone hands in.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::new(Code::BadRequest).with("reason", self.to_string())
    }
}

/// Why one key was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not an object.
    #[error("it must be an object")]
    NotAnObject,
    /// A parameter is absent, of another type, or not canonical base64url.
    #[error("its `{0}` must be {1}")]
    Parameter(&'static str, &'static str),
    /// Another type, such as a symmetric key.
    #[error("its `kty` must be `RSA`, `EC` or `OKP`")]
    Type,
    /// Not for verifying signatures.
    #[error("it is not for verifying signatures")]
    Use,
    /// `alg` does not go with the key's type.
    #[error("its `alg` does not go with its type")]
    Algorithm,
    /// The private half is published, so anybody can sign with it.
    #[error("it contains its private half")]
    Private,
    /// An RSA key that is too short, too long or malformed.
    #[error("its modulus must be an odd number of 2048 to 8192 bits")]
    Modulus,
    /// A small or even RSA exponent.
    #[error("its exponent must be an odd number from 65537 to 2^33")]
    Exponent,
    /// Another curve.
    #[error("its curve must be `P-256`, `P-384` or `Ed25519`")]
    Curve,
    /// Not a point of its curve, or one whose multiples everybody knows.
    #[error("it is not a point of its curve, or one of small order")]
    Point,
    /// Another key before it has the same id.
    #[error("an earlier key has the same `kid`")]
    DuplicateId,
}

impl KeySet {
    /// Reads a JWK set.
    ///
    /// # Errors
    ///
    /// A document that is too large, no JWK set, or without a usable key.
    pub fn parse(jwks: &[u8]) -> Result<Self, KeySetError> {
        if jwks.len() > MAX_KEY_SET {
            return Err(KeySetError::TooLarge);
        }
        let document = json::parse(jwks, &Limits::KEYS)?;
        let list = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::NoKeys)?;
        if list.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut set = Self { keys: HashMap::with_capacity(list.len()), skipped: Vec::new() };
        for (at, jwk) in list.iter().enumerate() {
            if let Err(error) = set.add(jwk) {
                set.skipped.push((at, error));
            }
        }
        if set.keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(set) }
    }

    /// Whether there is a usable key of this id.
    #[must_use]
    pub fn contains(&self, key_id: &str) -> bool {
        self.keys.contains_key(key_id)
    }

    /// How many usable keys there are; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a set without keys cannot be made")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys that were skipped, by their place in the document, for the log.
    #[must_use]
    pub fn skipped(&self) -> &[(usize, KeyError)] {
        &self.skipped
    }

    pub(super) fn get(&self, key_id: &str) -> Option<&Key> {
        self.keys.get(key_id)
    }

    fn add(&mut self, jwk: &Value) -> Result<(), KeyError> {
        let key = Key::parse(jwk)?;
        let key_id = text(jwk, "kid")?;
        if self.keys.contains_key(key_id) {
            return Err(KeyError::DuplicateId);
        }
        self.keys.insert(key_id.to_owned(), key);
        Ok(())
    }
}

impl Key {
    fn parse(jwk: &Value) -> Result<Self, KeyError> {
        if jwk.as_object().is_none() {
            return Err(KeyError::NotAnObject);
        }
        if PRIVATE.iter().any(|name| jwk.get(name).is_some()) {
            return Err(KeyError::Private);
        }
        if jwk.get("use").is_some_and(|value| value.as_str() != Some("sig")) {
            return Err(KeyError::Use);
        }
        let has_verify = |ops: &Value| {
            ops.as_array().is_some_and(|ops| ops.iter().any(|op| op.as_str() == Some("verify")))
        };
        if jwk.get("key_ops").is_some_and(|ops| !has_verify(ops)) {
            return Err(KeyError::Use);
        }
        let (key, family) = match text(jwk, "kty")? {
            "RSA" => rsa(jwk)?,
            "EC" => ec(jwk)?,
            "OKP" => okp(jwk)?,
            _ => return Err(KeyError::Type),
        };
        let algorithms = match jwk.get("alg") {
            None => family.to_vec(),
            // A key that says its algorithm is for that one only.
            Some(alg) => {
                let alg = alg.as_str().and_then(super::algorithm);
                let alg = alg.filter(|alg| family.contains(alg)).ok_or(KeyError::Algorithm)?;
                vec![alg]
            }
        };
        Ok(Self { key, algorithms })
    }

    /// Whether `signature` is one of this key over `message`.
    ///
    /// The provider is named, not jsonwebtoken's process-wide default: that one can be set only once, by
    /// whoever comes first, and panics where a build happens to enable two.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &Vec<u8>) -> bool {
        self.algorithms.contains(&algorithm)
            && (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&algorithm, &self.key)
                .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }
}

fn rsa(jwk: &Value) -> Result<(DecodingKey, &'static [Algorithm]), KeyError> {
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
    let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
    let bits = n.len() * 8 - n[0].leading_zeros() as usize;
    if !RSA_BITS.contains(&bits) || n[n.len() - 1].is_multiple_of(2) {
        return Err(KeyError::Modulus);
    }
    let exponent = (e.len() <= 8).then(|| e.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)));
    if !exponent.is_some_and(|e| RSA_EXPONENTS.contains(&e) && !e.is_multiple_of(2)) {
        return Err(KeyError::Exponent);
    }
    Ok((DecodingKey::from_rsa_raw_components(&n, &e), &[RS256, RS384, RS512, PS256, PS384, PS512]))
}

fn ec(jwk: &Value) -> Result<(DecodingKey, &'static [Algorithm]), KeyError> {
    let (curve, size, algorithms): (_, _, &[Algorithm]) = match text(jwk, "crv")? {
        "P-256" => (Nid::X9_62_PRIME256V1, 32, &[Algorithm::ES256]),
        "P-384" => (Nid::SECP384R1, 48, &[Algorithm::ES384]),
        _ => return Err(KeyError::Curve),
    };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != size || y.len() != size || !is_point(curve, &x, &y) {
        return Err(KeyError::Point);
    }
    // An uncompressed point (SEC 1, section 2.3.3).
    let key = DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat());
    Ok((key, algorithms))
}

fn okp(jwk: &Value) -> Result<(DecodingKey, &'static [Algorithm]), KeyError> {
    if text(jwk, "crv")? != "Ed25519" {
        return Err(KeyError::Curve);
    }
    let x = bytes(jwk, "x")?;
    if x.len() != ED25519_BYTES || is_of_small_order(&x) {
        return Err(KeyError::Point);
    }
    Ok((DecodingKey::from_ed_der(&x), &[Algorithm::EdDSA]))
}

fn is_of_small_order(point: &[u8]) -> bool {
    let mut unsigned = point.to_vec();
    unsigned[ED25519_BYTES - 1] &= 0x7F;
    SMALL_ORDER.contains(&hex::encode(unsigned).as_str())
}

fn is_point(curve: Nid, x: &[u8], y: &[u8]) -> bool {
    let check = || {
        let group = EcGroup::from_curve_name(curve)?;
        let (x, y) = (BigNum::from_slice(x)?, BigNum::from_slice(y)?);
        EcKey::from_public_key_affine_coordinates(&group, &x, &y)?.check_key()
    };
    check().is_ok()
}

fn text<'a>(jwk: &'a Value, name: &'static str) -> Result<&'a str, KeyError> {
    let text = jwk.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or(KeyError::Parameter(name, "a string"))
}

fn bytes(jwk: &Value, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let decoded = URL_SAFE_NO_PAD.decode(text(jwk, name)?);
    decoded.map_err(|_| KeyError::Parameter(name, "canonical base64url"))
}

/// A positive number without leading zeros (RFC 7518, section 2).
fn number(jwk: &Value, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let number = bytes(jwk, name)?;
    if number.first().is_none_or(|first| *first == 0) {
        return Err(KeyError::Parameter(name, "a positive number without leading zeros"));
    }
    Ok(number)
}
