//! Credentials that are made in SQL: bearer tokens and the passwords of gateway logins.
//!
//! Randomness comes from pgcrypto as an argument within one statement, and what is stored or logged is
//! derived here, so that neither token nor password is ever an argument of a statement.

use lpm_core::bearer::{self, Kind};
use openssl::base64::encode_block;
use openssl::hash::MessageDigest;
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// PostgreSQL's own default (`SCRAM_DEFAULT_ITERATIONS`).
const SCRAM_ITERATIONS: usize = 4096;

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ErrorReport> {
    bytes.try_into().map_err(|_| {
        let message = format!("expected {N} random bytes, got {}", bytes.len());
        ErrorReport::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, "")
    })
}

/// A personal access token from 32 random bytes, and what is stored of it.
#[pg_extern(immutable, strict, parallel_safe)]
fn new_token(
    random: &[u8],
) -> Result<TableIterator<'static, (name!(token, String), name!(stored_hash, Vec<u8>))>, ErrorReport> {
    let token = bearer::token(Kind::PersonalAccess, &array(random)?);
    let stored = bearer::stored_hash(&bearer::hash(token.expose()));
    Ok(TableIterator::once((token.expose_str().unwrap_or_default().to_owned(), stored.to_vec())))
}

/// A password from 32 random bytes and its SCRAM-SHA-256 verifier with 16 more as salt.
///
/// The verifier's form is `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (RFC 5803, as
/// `pg_authid.rolpassword` has it). The password is ASCII, so `SASLprep` leaves it as it is.
#[pg_extern(immutable, strict, parallel_safe)]
fn new_login_password(
    random: &[u8],
) -> Result<TableIterator<'static, (name!(password, String), name!(verifier, String))>, ErrorReport> {
    let random: [u8; 48] = array(random)?;
    let (seed, salt) = random.split_at(32);
    let password = zeroize::Zeroizing::new(
        seed.iter()
            .flat_map(|byte| {
                [b"abcdefghijklmnop"[usize::from(byte >> 4)], b"qrstuvwxyz234567"[usize::from(byte & 15)]]
            })
            .collect::<Vec<u8>>(),
    );
    let verifier = scram_verifier(&password, salt).map_err(|_| {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            "OpenSSL could not derive a SCRAM verifier",
            "",
        )
    })?;
    Ok(TableIterator::once((String::from_utf8_lossy(&password).into_owned(), verifier)))
}

fn scram_verifier(password: &[u8], salt: &[u8]) -> Result<String, openssl::error::ErrorStack> {
    let mut salted = zeroize::Zeroizing::new([0_u8; 32]);
    pbkdf2_hmac(password, salt, SCRAM_ITERATIONS, MessageDigest::sha256(), &mut *salted)?;
    let key = PKey::hmac(&*salted)?;
    let hmac = |text: &[u8]| Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(text);
    let stored_key = sha256(&hmac(b"Client Key")?);
    let server_key = hmac(b"Server Key")?;
    Ok(format!(
        "SCRAM-SHA-256${SCRAM_ITERATIONS}:{}${}:{}",
        encode_block(salt),
        encode_block(&stored_key),
        encode_block(&server_key)
    ))
}
