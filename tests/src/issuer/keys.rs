//! The issuer's keys: what it signs with and what it publishes.

use super::request::{SignWith, TokenRequest};
use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sha::sha256;
use openssl::sign::{RsaPssSaltlen, Signer};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a token is signed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// What both providers use.
    #[default]
    RS256,
    /// RSA with SHA-384.
    RS384,
    /// RSA with SHA-512.
    RS512,
    /// RSA-PSS with SHA-256.
    PS256,
    /// ECDSA over P-256.
    ES256,
    /// HMAC, which no issuer uses.
    HS256,
    /// No signature at all.
    #[serde(rename = "none")]
    None,
}

impl Algorithm {
    fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
            Self::HS256 => "HS256",
            Self::None => "none",
        }
    }
}

/// One key pair with its id.
struct SigningKey {
    id: String,
    algorithm: Algorithm,
    pair: PKey<Private>,
}

impl SigningKey {
    fn generate(algorithm: Algorithm) -> Result<Self> {
        let pair = match algorithm {
            Algorithm::ES256 => PKey::from_ec_key(EcKey::generate(
                EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?.as_ref(),
            )?)?,
            Algorithm::HS256 | Algorithm::None => bail!("{} has no key to publish", algorithm.as_str()),
            _ => PKey::from_rsa(Rsa::generate(2048)?)?,
        };
        let id = BASE64_URL_SAFE_NO_PAD.encode(sha256(&pair.public_key_to_der()?));
        Ok(Self { id, algorithm, pair })
    }

    fn jwk(&self) -> Result<Value> {
        let mut jwk = json!({ "kid": self.id, "use": "sig", "alg": self.algorithm.as_str() });
        let numbers = if self.pair.id() == Id::EC {
            let key = self.pair.ec_key()?;
            let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
            key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut *BigNumContext::new()?)?;
            json!({ "kty": "EC", "crv": "P-256", "x": encode(&x.to_vec_padded(32)?), "y": encode(&y.to_vec_padded(32)?) })
        } else {
            let key = self.pair.rsa()?;
            json!({ "kty": "RSA", "n": encode(&key.n().to_vec()), "e": encode(&key.e().to_vec()) })
        };
        for (name, value) in numbers.as_object().into_iter().flatten() {
            jwk[name] = value.clone();
        }
        Ok(jwk)
    }

    fn signature(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        let digest = match algorithm {
            Algorithm::RS384 => MessageDigest::sha384(),
            Algorithm::RS512 => MessageDigest::sha512(),
            _ => MessageDigest::sha256(),
        };
        let mut signer = Signer::new(digest, &self.pair)?;
        if algorithm == Algorithm::PS256 {
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        let signature = signer.sign_oneshot_to_vec(message)?;
        if algorithm != Algorithm::ES256 {
            return Ok(signature);
        }
        let signature = EcdsaSig::from_der(&signature)?;
        Ok([signature.r().to_vec_padded(32)?, signature.s().to_vec_padded(32)?].concat())
    }
}

/// An issuer's keys, newest first.
pub(super) struct KeyRing {
    /// Everything that ever signed here.
    keys: Vec<SigningKey>,
    /// How many of the newest are published.
    published: usize,
}

impl KeyRing {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { keys: vec![SigningKey::generate(Algorithm::RS256)?], published: 1 })
    }

    /// A new current key; the older ones stay published unless withdrawn.
    pub(super) fn rotate(&mut self, algorithm: Algorithm, withdraw: bool) -> Result<()> {
        self.keys.insert(0, SigningKey::generate(algorithm)?);
        self.published = if withdraw { 1 } else { self.published + 1 };
        Ok(())
    }

    pub(super) fn published_ids(&self) -> Vec<&str> {
        self.keys[..self.published].iter().map(|key| key.id.as_str()).collect()
    }

    pub(super) fn jwks(&self) -> Value {
        let keys =
            self.keys[..self.published].iter().map(|key| key.jwk().expect("a key that was made has numbers"));
        json!({ "keys": keys.collect::<Vec<_>>() })
    }

    /// The compact token of `request` over `defaults`.
    pub(super) fn sign(&self, request: &TokenRequest, defaults: &Map<String, Value>) -> Result<String> {
        let current = &self.keys[0];
        let named = match request.key {
            SignWith::Previous => self.keys.get(1).context("there was no rotation yet")?,
            _ => current,
        };
        let confused = matches!(request.key, SignWith::PublicPem | SignWith::PublicDer);
        let algorithm =
            request.algorithm.unwrap_or(if confused { Algorithm::HS256 } else { named.algorithm });
        let header = request.header_text.clone().unwrap_or_else(|| {
            let own = json!({ "typ": "JWT", "alg": algorithm.as_str(), "kid": named.id, "x5t": named.id });
            changed(own.as_object().cloned().unwrap_or_default(), &request.header, &request.without_header)
        });
        let payload = request
            .payload
            .clone()
            .unwrap_or_else(|| changed(defaults.clone(), &request.claims, &request.without));
        let message = format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()));
        let signature = match algorithm {
            Algorithm::None => Vec::new(),
            Algorithm::HS256 => hmac(&self.hmac_secret(request.key)?, message.as_bytes())?,
            Algorithm::ES256 if named.pair.id() != Id::EC => {
                SigningKey::generate(Algorithm::ES256)?.signature(algorithm, message.as_bytes())?
            }
            _ if request.key == SignWith::Stranger => {
                SigningKey::generate(named.algorithm)?.signature(algorithm, message.as_bytes())?
            }
            _ => named.signature(algorithm, message.as_bytes())?,
        };
        Ok(format!("{message}.{}", encode(&signature)))
    }

    /// A token of the current key over exactly these bytes.
    pub(super) fn sign_bytes(&self, payload: &[u8]) -> Result<String> {
        let key = &self.keys[0];
        let header = json!({ "typ": "JWT", "alg": key.algorithm.as_str(), "kid": key.id }).to_string();
        let message = format!("{}.{}", encode(header.as_bytes()), encode(payload));
        Ok(format!("{message}.{}", encode(&key.signature(key.algorithm, message.as_bytes())?)))
    }

    fn hmac_secret(&self, key: SignWith) -> Result<Vec<u8>> {
        let pair = &self.keys[0].pair;
        Ok(match key {
            SignWith::PublicPem => pair.public_key_to_pem()?,
            SignWith::PublicDer => pair.public_key_to_der()?,
            _ => b"a secret that nobody shares".to_vec(),
        })
    }
}

fn hmac(secret: &[u8], message: &[u8]) -> Result<Vec<u8>> {
    let key = PKey::hmac(secret)?;
    Ok(Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(message)?)
}

fn changed(mut members: Map<String, Value>, set: &Map<String, Value>, without: &[String]) -> String {
    members.extend(set.clone());
    members.retain(|name, _| !without.contains(name));
    Value::Object(members).to_string()
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
