//! `X-LPM-Signature`: base64 of HMAC-SHA256 over the body's bytes, keyed by SHA-256 of the bearer token.
//!
//! It tells a client that the answer comes from somebody who saw its token, byte for byte as sent. Every
//! 2xx of the sync endpoints carries it; errors do not.

use super::encode;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;
use zeroize::Zeroizing;

/// The header's value for `body`: 44 characters. The key is the raw digest, not its hexadecimal digits.
#[must_use]
pub fn signature(bearer_token: &[u8], body: &[u8]) -> String {
    let key = Zeroizing::new(sha256(bearer_token));
    let key = PKey::hmac(&*key).expect("any 32 bytes are an HMAC key");
    let mac = Signer::new(MessageDigest::sha256(), &key)
        .and_then(|mut signer| signer.sign_oneshot_to_vec(body))
        .expect("HMAC-SHA256 accepts any input");
    encode(&mac)
}

/// Whether `header` is the signature of `body`; compared in constant time. The white space that HTTP allows
/// around a header's value is passed over.
#[must_use]
pub fn signature_holds(bearer_token: &[u8], body: &[u8], header: &str) -> bool {
    let (expected, given) = (signature(bearer_token, body), header.trim());
    expected.len() == given.len() && openssl::memcmp::eq(expected.as_bytes(), given.as_bytes())
}
