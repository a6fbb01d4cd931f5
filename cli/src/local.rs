//! What stays on this machine: the wrapping key and the variables themselves.
//!
//! | path | content |
//! | --- | --- |
//! | `~/.lpm/.vault-key` | the wrapping key, 64 hex digits; shared with the published client, see `wrapping_key` |
//! | `~/.lpm/secrets/<SHA-256 of the vault id>` | `lpm-local-v1`, line feed, IV, AES-256-GCM of the payload |
//! | the same with `.version` | the server's version that those variables were last equal to |
//!
//! The key of the variables is a sub-key of the wrapping key (HKDF-SHA256, info `lpm-local-v1`), so the
//! wrapping key itself encrypts nothing here; the AAD binds a file to its vault.

use crate::error::{Error, Result};
use crate::files;
use crate::keychain::Keychain;
use crate::wrapping_key;
use lpm_core::envelope::{EnvelopeError, aead, lp};
use lpm_core::environment::Environments;
use lpm_core::secret::Secret;
use openssl::sha::sha256;
use std::fs::File;
use std::path::PathBuf;
use zeroize::Zeroizing;

const LABEL: &[u8] = b"lpm-local-v1";
const HEADER: &[u8] = b"lpm-local-v1\n";

/// `~/.lpm`.
pub(crate) struct Home(PathBuf, Keychain);

impl Home {
    /// The directory of the user that runs this.
    pub(crate) fn find() -> Result<Self> {
        match std::env::var_os("HOME") {
            Some(home) if !home.is_empty() => {
                Ok(Self(PathBuf::from(home).join(".lpm"), Keychain::of_environment()?))
            }
            _ => Err(Error::failure("HOME is not set, so there is no place for the vault's key")
                .hint("set HOME; a CI job needs no vault key: `lpm env pull --oidc`")),
        }
    }

    /// Another directory, and no keychain.
    #[cfg(test)]
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self(directory, Keychain::Off)
    }

    /// A file or directory of it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where this machine's secrets may be kept besides.
    pub(crate) fn keychain(&self) -> Keychain {
        self.1
    }

    /// This machine's wrapping key, where it has one.
    pub(crate) fn wrapping_key(&self) -> Result<Option<Secret>> {
        wrapping_key::find(&self.0, self.1)
    }

    /// This machine's wrapping key, made now if it has none.
    pub(crate) fn wrapping_key_or_new(&self) -> Result<Secret> {
        wrapping_key::find_or_make(&self.0, self.1)
    }

    /// The variables of a vault on this machine.
    pub(crate) fn vault(&self, id: &str) -> LocalVault<'_> {
        LocalVault { home: self, id: id.to_owned() }
    }
}

/// The variables of one vault on this machine.
pub(crate) struct LocalVault<'h> {
    home: &'h Home,
    id: String,
}

impl LocalVault<'_> {
    fn directory(&self) -> PathBuf {
        self.home.0.join("secrets")
    }

    fn path(&self) -> PathBuf {
        // An id is any text: hashed, it is a file's name and tells nothing in a backup.
        self.directory().join(hex::encode(sha256(self.id.as_bytes())))
    }

    fn aad(&self) -> Vec<u8> {
        lp(&[LABEL, self.id.as_bytes()])
    }

    /// Until it is dropped, nobody else changes variables.
    pub(crate) fn lock(&self) -> Result<File> {
        files::private_directory(&self.directory())?;
        files::lock(&self.directory().join(".lock"))
    }

    /// All variables; none where there is no file yet.
    pub(crate) fn load(&self) -> Result<Environments> {
        let Some(bytes) = files::read(&self.path())? else { return Ok(Environments::default()) };
        let unreadable = || {
            Error::failure("the variables on this machine do not open with its vault key").hint(
                "if the key was replaced on purpose, `lpm env pull --force` replaces them by the server's",
            )
        };
        let sealed = bytes.strip_prefix(HEADER).ok_or_else(unreadable)?;
        let (iv, sealed) = sealed.split_first_chunk().ok_or_else(unreadable)?;
        let key = sub_key(&self.home.wrapping_key()?.ok_or_else(unreadable)?)?;
        let payload = aead::open(&*key, iv, &self.aad(), sealed).map_err(|_| unreadable())?;
        Environments::parse(&payload)
            .map_err(|error| Error::failure(format!("the variables on this machine: {error}")))
    }

    /// Replaces all variables.
    pub(crate) fn save(&self, all: &Environments) -> Result<()> {
        files::private_directory(&self.directory())?;
        let key = sub_key(&self.home.wrapping_key_or_new()?)?;
        let iv = aead::random().map_err(library)?;
        let sealed = aead::seal(&*key, &iv, &self.aad(), all.to_payload().expose()).map_err(library)?;
        files::write(&self.path(), &[HEADER, &iv, &sealed].concat(), files::PRIVATE)
    }

    fn version_path(&self) -> PathBuf {
        self.path().with_extension("version")
    }

    /// The server's version that this machine has seen: what a push may replace.
    ///
    /// Not the one in `lpm.json`, which comes to machines that never pulled, by git.
    pub(crate) fn version(&self) -> Result<Option<i32>> {
        let text = files::read(&self.version_path())?;
        Ok(text.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok()))
    }

    /// Notes that the variables are those of the server's `version`.
    pub(crate) fn set_version(&self, version: i32) -> Result<()> {
        files::private_directory(&self.directory())?;
        files::write(&self.version_path(), format!("{version}\n").as_bytes(), files::PRIVATE)
    }

    /// Forgets the variables.
    pub(crate) fn remove(&self) -> Result<()> {
        for path in [self.path(), self.version_path()] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::file("delete", &path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn sub_key(wrapping_key: &Secret) -> Result<Zeroizing<[u8; 32]>> {
    aead::hkdf(wrapping_key.expose(), b"", LABEL).map_err(library)
}

/// For what fails only where the cryptographic library or the system's randomness does.
pub(crate) fn library(error: EnvelopeError) -> Error {
    Error::failure(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lpm_core::environment::Text;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let home = Home::at(directory.path().join(".lpm"));
        (directory, home)
    }

    fn one(value: &str) -> Environments {
        let mut all = Environments::default();
        all.0.entry("default".into()).or_default().insert("KEY".into(), Text::from(value));
        all
    }

    fn refused<T>(result: Result<T>) -> String {
        result.err().expect("it is refused").lines().join("; ")
    }

    #[test]
    fn variables_are_found_again_and_lie_encrypted() {
        let (_directory, home) = home();
        let vault = home.vault("../odd/id");
        assert_eq!(vault.load().expect("nothing yet").count(), 0);
        vault.save(&one("s3cret")).expect("saved");
        assert_eq!(vault.load().expect("loaded").0["default"]["KEY"].expose(), "s3cret");
        let bytes = fs::read(vault.path()).expect("read");
        assert!(!String::from_utf8_lossy(&bytes).contains("s3cret"));
        assert_eq!(fs::metadata(vault.path()).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(vault.directory()).expect("there").permissions().mode() & 0o777, 0o700);
        vault.remove().expect("removed");
        vault.remove().expect("removing nothing is fine");
        assert_eq!(vault.load().expect("loaded").count(), 0);
    }

    #[test]
    fn a_file_opens_for_its_own_vault_only() {
        let (_directory, home) = home();
        home.vault("a").save(&one("x")).expect("saved");
        fs::copy(home.vault("a").path(), home.vault("b").path()).expect("copied");
        assert!(refused(home.vault("b").load()).contains("do not open"));
    }

    #[test]
    fn a_changed_or_cut_file_is_refused() {
        let (_directory, home) = home();
        let vault = home.vault("a");
        vault.save(&one("x")).expect("saved");
        let good = fs::read(vault.path()).expect("read");
        for length in [0, 5, HEADER.len(), HEADER.len() + 11, good.len() - 1] {
            fs::write(vault.path(), &good[..length]).expect("written");
            assert!(refused(vault.load()).contains("do not open"), "{length} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(vault.path(), &bad).expect("written");
            assert!(vault.load().is_err(), "byte {at}");
        }
    }

    #[test]
    fn another_wrapping_key_opens_nothing() {
        let (_directory, home) = home();
        home.vault("a").save(&one("x")).expect("saved");
        fs::write(home.path(".vault-key"), "ab".repeat(32)).expect("written");
        assert!(refused(home.vault("a").load()).contains("do not open"));
        fs::remove_file(home.path(".vault-key")).expect("removed");
        assert!(refused(home.vault("a").load()).contains("do not open"));
    }
}
