//! The copy of a vault that the server has: made here, uploaded, fetched, opened here.

use super::escrow::Ci;
use crate::client::{Bearer, Client, Request};
use crate::error::{Error, Result};
use crate::local::library;
use lpm_core::envelope::share::legacy_wrapping_key;
use lpm_core::envelope::{aead, vault};
use lpm_core::environment::Environments;
use lpm_core::failure::exit;
use lpm_core::secret::Secret;
use lpm_core::wire::{PullReply, PushReply, PushRequest};
use reqwest::Method;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// A payload under an AES key of its own.
pub(super) struct Sealed {
    pub(super) blob: String,
    pub(super) key: Secret,
}

/// Encrypts a payload; every time under a fresh key.
pub(super) fn seal(payload: &Secret) -> Result<Sealed> {
    let key = Zeroizing::new(aead::random::<32>().map_err(library)?);
    let key = Secret::new(key.to_vec());
    let blob =
        vault::seal_blob(&key, &aead::random().map_err(library)?, payload.expose()).map_err(library)?;
    Ok(Sealed { blob, key })
}

/// What a push brings.
pub(super) struct Upload<'a> {
    pub(super) id: &'a str,
    pub(super) payload: &'a Secret,
    pub(super) wrapping_key: &'a Secret,
    /// The version that it may replace.
    pub(super) expected: Option<i32>,
    pub(super) force: bool,
    /// Name and schema of the project, where the push is about them.
    pub(super) about: Option<(Option<String>, Box<RawValue>)>,
    pub(super) ci: &'a Ci,
}

/// Encrypts and uploads a vault.
pub(super) async fn upload(client: &Client, token: &Secret, upload: Upload<'_>) -> Result<PushReply> {
    let Sealed { blob, key } = seal(upload.payload)?;
    let iv = aead::random().map_err(library)?;
    let wrapped_key = vault::wrap_key(upload.wrapping_key, &iv, &key).map_err(library)?;
    let escrow = upload.ci.seal(upload.id, &blob, &key)?;
    let (name, schema) = upload.about.map_or((None, None), |(name, schema)| (name, Some(schema)));
    let request = PushRequest {
        encrypted_blob: blob,
        wrapped_key,
        expected_version: upload.expected,
        force: upload.force,
        name,
        schema,
        escrow,
    };
    let (path, bearer) = (["api", "vaults", upload.id, "sync"], Bearer::Signed(token));
    client.send(&Request::change(Method::POST, &path, Some(encode(&request)?), bearer)).await
}

/// The server's copy of a vault.
pub(super) async fn fetch(client: &Client, token: &Secret, id: &str) -> Result<PullReply> {
    client.send(&Request::read(&["api", "vaults", id, "sync"], &[], Bearer::Signed(token))).await
}

/// Opens a blob and reads what it holds.
pub(super) fn read_blob(key: &Secret, blob: &str) -> Result<Environments> {
    Environments::parse(&open_blob(key, blob)?).map_err(|error| error.failure().into())
}

/// Opens a blob.
pub(super) fn open_blob(key: &Secret, blob: &str) -> Result<Secret> {
    let damaged =
        |_| Error::failure("the server's copy of the vault is damaged: it does not open with its own key");
    vault::open_blob(key, blob).map_err(damaged)
}

/// The key of a copy, and what it proves.
pub(super) struct CopyKey {
    pub(super) key: Secret,
    /// Anybody with the token can have made the copy.
    pub(super) legacy: bool,
}

/// The key of the server's copy, with this machine's keys.
///
/// Only that key shows that the copy comes from one of the account's machines. The one that very old clients
/// derived shows that somebody had the token, whoever that is, so it counts only where the user says so.
pub(super) fn key_of_copy(
    reply: &PullReply,
    wrapping_keys: &[Secret],
    token: &Secret,
    accept_legacy: bool,
) -> Result<CopyKey> {
    let opened = |key: &Secret| vault::open_wrapped_key(key, &reply.wrapped_key).ok();
    if let Some(key) = wrapping_keys.iter().find_map(opened) {
        return Ok(CopyKey { key, legacy: false });
    }
    let key = opened(&legacy_wrapping_key(token)).ok_or_else(|| does_not_open(!wrapping_keys.is_empty()))?;
    if !accept_legacy {
        return Err(anybody_with_the_token());
    }
    Ok(CopyKey { key, legacy: true })
}

/// The key of the server's copy proves nothing about who made it.
fn anybody_with_the_token() -> Error {
    let message = "the server's copy of the vault is sealed under the old key, which anybody with the token can make, so it may be forged";
    Error::answered(message, Some("legacy_key".to_owned()), exit::DENIED).hint(
        "if an older client of yours pushed it on purpose: `lpm env pull --accept-legacy-key`; if none did, the token is in other hands: have it revoked, then `lpm env push --force` from a machine whose variables are right",
    )
}

/// Another machine's key has encrypted the vault.
fn does_not_open(has_key: bool) -> Error {
    let what = if has_key {
        "this machine's vault key does not open the server's copy"
    } else {
        "this machine has no vault key"
    };
    Error::failure(what).hint("copy ~/.lpm/.vault-key from the machine that pushed last, or push from there")
}

/// A body as JSON.
pub(crate) fn encode(body: &impl serde::Serialize) -> Result<Secret> {
    serde_json::to_vec(body).map(Secret::new).map_err(|error| Error::failure(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lpm_core::environment::Text;
    use uuid::Uuid;

    // Known answers of the published client's formats.
    const WRAPPING_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BLOB: &str = "AAECAwQFBgcICQoL:J3A4yTxcmYPSlKyoUgB8BmhSjQEMcNN9UC/pwZnAm9FzlVdkOSVmloFWy8r/6QaTdkuythUAo6ecH2DGRtwPxyq0/ziL8Z6pIQ7yBjoNkvrpH6XJ4lwCUjSUWFKhY9kyLAs15VMHbvCDJkDi/30SHadPmoLYEpQytCs=";
    const WRAPPED: &str = "DA0ODxAREhMUFRYX:uN9L+1tT2nQfA2L+vaYIyGUy393CSA2do5vA29id/sVYYvcCMp7I31GyTfZG581N";

    fn key(hex_digits: &str) -> Secret {
        Secret::new(hex::decode(hex_digits).expect("hex"))
    }

    fn reply(blob: &str, wrapped: &str) -> PullReply {
        PullReply {
            vault_id: "v".into(),
            encrypted_blob: blob.into(),
            wrapped_key: wrapped.into(),
            version: 1,
            owner: Uuid::nil(),
        }
    }

    fn token() -> Secret {
        Secret::from("lpm_test_token_abc123".to_owned())
    }

    fn open(
        reply: &PullReply,
        wrapping_key: Option<&Secret>,
        token: &Secret,
        accept_legacy: bool,
    ) -> Result<Environments> {
        let keys: Vec<Secret> =
            wrapping_key.map(|key| Secret::new(key.expose().to_vec())).into_iter().collect();
        read_blob(&key_of_copy(reply, &keys, token, accept_legacy)?.key, &reply.encrypted_blob)
    }

    fn sealed(all: &Environments, wrapping_key: &Secret) -> (String, String) {
        let Sealed { blob, key } = seal(&all.to_payload()).expect("sealed");
        let wrapped = vault::wrap_key(wrapping_key, &aead::random().expect("random"), &key).expect("wrapped");
        (blob, wrapped)
    }

    #[test]
    fn the_published_clients_vault_opens() {
        let all = open(&reply(BLOB, WRAPPED), Some(&key(WRAPPING_KEY)), &token(), false).expect("it opens");
        assert_eq!(all.0["production"]["API_KEY"].expose(), "sk-live");
        assert_eq!(all.count(), 3);
    }

    #[test]
    fn what_is_sealed_opens_and_every_push_encrypts_anew() {
        let mut all = Environments::default();
        all.0.entry("production".into()).or_default().insert("A".into(), Text::from("s3cret"));
        let (blob, wrapped) = sealed(&all, &key(WRAPPING_KEY));
        assert!(!blob.contains("s3cret"));
        let opened =
            open(&reply(&blob, &wrapped), Some(&key(WRAPPING_KEY)), &token(), false).expect("it opens");
        assert_eq!(opened.0["production"]["A"].expose(), "s3cret");
        let (again, wrapped_again) = sealed(&all, &key(WRAPPING_KEY));
        assert!(again != blob && wrapped_again != wrapped);
        assert!(
            open(&reply(&again, &wrapped), Some(&key(WRAPPING_KEY)), &token(), false).is_err(),
            "another push's key"
        );
    }

    // The published client's key for this token.
    const LEGACY: &str = "b1cbf2700ebc4414a501b5ddb9614926b5e7e1ea41c17e9d17b1a9744937eb1a";

    #[test]
    fn a_vault_under_the_old_derived_key_opens_only_where_that_is_accepted() {
        let (blob, wrapped) = sealed(&Environments::default(), &key(LEGACY));
        let copy = reply(&blob, &wrapped);
        for (case, own) in [("beside an own key", Some(key(WRAPPING_KEY))), ("without one", None)] {
            let error = open(&copy, own.as_ref(), &token(), false).err().expect(case);
            assert_eq!((error.exit_code(), error.code()), (exit::DENIED, "legacy_key"), "{case}");
            let said = error.lines().join("; ");
            for part in
                ["sealed under the old key", "anybody with the token", "lpm env pull --accept-legacy-key"]
            {
                assert!(said.contains(part), "{case}: {said}");
            }
            assert!(open(&copy, own.as_ref(), &token(), true).is_ok(), "{case}");
            let other = Secret::from("lpm_test_token_other".to_owned());
            let error = open(&copy, own.as_ref(), &other, true).err().expect(case);
            assert_eq!(error.code(), "failure", "{case}: another token's key is nobody's");
        }
    }

    #[test]
    fn another_machines_vault_is_refused_with_what_to_do() {
        let other = key(&"ab".repeat(32));
        let damaged = BLOB.replace("J3A4", "J3A5");
        for accept_legacy in [false, true] {
            let refused = |blob: &str, wrapped: &str, key: Option<&Secret>| {
                let error = open(&reply(blob, wrapped), key, &token(), accept_legacy).err();
                error.expect("it does not open").lines().join("; ")
            };
            let own = key(WRAPPING_KEY);
            assert!(refused(BLOB, WRAPPED, Some(&other)).contains("copy ~/.lpm/.vault-key"));
            assert!(refused(BLOB, WRAPPED, None).contains("has no vault key"));
            assert!(refused(BLOB, "nonsense", Some(&own)).contains("does not open the server's copy"));
            assert!(refused(&damaged, WRAPPED, Some(&own)).contains("is damaged"));
        }
    }
}
