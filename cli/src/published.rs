//! The published client's variables on this machine: read once, where we have none of that vault. Never written.
//!
//! | path | content |
//! | --- | --- |
//! | `~/.lpm/vaults/<vault id>.enc` | `b64(iv):b64(tag):b64(ciphertext)`, AES-256-GCM of the payload, no AAD |
//! | `~/.lpm/.vault-fallback-key`, `.vault-salt` | password and salt: scrypt, N = 2^20, r = 8, p = 4, 32 bytes |

use crate::error::{Error, Result};
use crate::files;
use crate::local::Home;
use crate::output::note;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::aead;
use lpm_core::environment::Environments;
use lpm_core::secret::Secret;
use zeroize::Zeroizing;

/// What that client spends on its random key: about a gibibyte, and some seconds.
const COST: u64 = 1 << 20;
const PARALLEL: u64 = 4;
/// 128 · N · r bytes, and a little more.
const MEMORY: u64 = 128 * COST * 8 + (64 << 20);

impl Home {
    /// The published client's variables of a vault; `None` where it has none.
    pub(crate) fn published(&self, id: &str) -> Result<Option<Environments>> {
        // That client makes a file's name of the id as it is: what could leave the directory is no file of it.
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if id.is_empty() || id.starts_with('.') || !id.bytes().all(safe) {
            return Ok(None);
        }
        let path = self.path("vaults").join(format!("{id}.enc"));
        let Some(sealed) = files::read(&path)? else { return Ok(None) };
        note(
            "reading this vault's variables from the published client's file once; that takes a few seconds",
        );
        let unreadable = |why: &str| {
            Error::failure(format!("the published client's variables of this vault {why}")).hint(format!(
                "they stand in {}; `lpm env pull --force` takes the server's copy instead",
                path.display()
            ))
        };
        let password = files::read_private(&self.path(".vault-fallback-key"))?
            .ok_or_else(|| unreadable("are there, but not its `.vault-fallback-key`"))?;
        let salt = files::read(&self.path(".vault-salt"))?
            .ok_or_else(|| unreadable("are there, but not its `.vault-salt`"))?;
        let key = derive(&password, &salt, COST)?;
        let payload = open(&key, &sealed).ok_or_else(|| unreadable("do not open with its key"))?;
        let all = Environments::parse(&payload)
            .map_err(|error| Error::failure(format!("the published client's variables: {error}")))?;
        Ok(Some(all))
    }
}

fn derive(password: &Secret, salt: &[u8], cost: u64) -> Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    openssl::pkcs5::scrypt(password.expose(), salt, cost, 8, PARALLEL, MEMORY, &mut *key).map_err(|_| {
        Error::failure("the published client's key cannot be derived: that takes a gibibyte of memory")
    })?;
    Ok(key)
}

fn open(key: &[u8; 32], sealed: &[u8]) -> Option<Secret> {
    let mut parts = std::str::from_utf8(sealed).ok()?.trim().split(':');
    let mut part = || STANDARD.decode(parts.next()?).ok();
    let (iv, tag, ciphertext) = (part()?, part()?, part()?);
    aead::open(key, &iv.try_into().ok()?, b"", &[ciphertext, tag].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by Python's hashlib and cryptography, with N = 2^10.
    const SMALL: &str = "AAECAwQFBgcICQoL:9WzLUPlKJR+01KksBQtExA==:zJ/ai2UgP6h21qbhyu2Vy3CxCaYXfCpS0GKG8SzGoTtdAUJmy8cZgWeirzjD";

    fn password() -> Secret {
        Secret::from("A1b2C3d4".repeat(8))
    }

    #[test]
    fn another_implementations_file_opens() {
        let salt: Vec<u8> = (0..32).collect();
        let key = derive(&password(), &salt, 1 << 10).expect("derived");
        let payload = open(&key, SMALL.as_bytes()).expect("it opens");
        assert_eq!(payload.expose(), br#"{"environments":{"default":{"OLD":"s3cret"}}}"#);
        assert!(open(&key, format!("{SMALL}\n").as_bytes()).is_some(), "a line's end is fine");
    }

    #[test]
    fn another_key_or_a_changed_file_does_not_open() {
        let salt: Vec<u8> = (0..32).collect();
        let key = derive(&password(), &salt, 1 << 10).expect("derived");
        let other = derive(&password(), &salt[..31], 1 << 10).expect("derived");
        assert!(open(&other, SMALL.as_bytes()).is_none());
        for bad in ["", "a", "a:b", &SMALL[1..], &SMALL[..SMALL.len() - 4], &SMALL.replace(':', ";")] {
            assert!(open(&key, bad.as_bytes()).is_none(), "{bad}");
        }
        let (iv, rest) = SMALL.split_once(':').expect("parts");
        let (tag, ciphertext) = rest.split_once(':').expect("parts");
        assert!(open(&key, format!("{iv}:{ciphertext}:{tag}").as_bytes()).is_none());
    }

    #[test]
    fn an_id_that_leaves_the_directory_is_no_file_of_it() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let home = Home::at(directory.path().join(".lpm"));
        home.make().expect("made");
        files::write(&home.path("x.enc"), SMALL.as_bytes(), files::PRIVATE).expect("written");
        std::fs::create_dir(home.path("vaults")).expect("made");
        for id in ["", ".", "..", "../x", "vaults/../../x", "a/b", "a\0b"] {
            assert!(home.published(id).expect("nothing").is_none(), "{id}");
        }
    }

    #[test]
    fn a_file_without_its_key_is_said() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let home = Home::at(directory.path().join(".lpm"));
        files::private_directory(&home.path("vaults")).expect("made");
        files::write(&home.path("vaults/v1.enc"), SMALL.as_bytes(), files::PRIVATE).expect("written");
        let said = |home: &Home| home.published("v1").err().expect("refused").lines().join("; ");
        assert!(said(&home).contains("not its `.vault-fallback-key`"));
        files::write(&home.path(".vault-fallback-key"), password().expose(), files::PRIVATE)
            .expect("written");
        assert!(said(&home).contains("not its `.vault-salt`"));
    }
}
