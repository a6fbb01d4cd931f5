//! What stays on this machine: the wrapping key and the variables themselves.
//!
//! | path | content |
//! | --- | --- |
//! | `~/.lpm/.vault-key` | the wrapping key, 64 hex digits; shared with the published client, see `wrapping_key` |
//! | `~/.lpm/secrets/<SHA-256 of the vault id>` | `lpm-local-v1`, line feed, IV, AES-256-GCM of the payload |
//! | the same with `.id` | the vault's id, sealed in the same way, so that a rotation finds every vault |
//! | the same with `.escrow` | the fingerprint of the escrow key that the vault's key may be sealed to |
//! | the same with `.version` | the server's version that those variables were last equal to |
//! | the same with `.<SHA-256 of the org, 16 digits>.version` | the org's version that they hold |
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
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const LABEL: &[u8] = b"lpm-local-v1";
const HEADER: &[u8] = b"lpm-local-v1\n";
const ID_LABEL: &[u8] = b"lpm-local-id-v1";
const DIRECTORY: &str = "secrets";

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

    /// Makes the directory itself, closed to others.
    pub(crate) fn make(&self) -> Result<()> {
        files::private_directory(&self.0)
    }

    /// This machine's wrapping key, where it has one.
    pub(crate) fn wrapping_key(&self) -> Result<Option<Secret>> {
        wrapping_key::find(&self.0, self.1)
    }

    /// This machine's wrapping key, made now if it has none.
    pub(crate) fn wrapping_key_or_new(&self) -> Result<Secret> {
        wrapping_key::find_or_make(&self.0, self.1)
    }

    /// Puts the key in `file`, one of this directory, in the wrapping key's place.
    pub(crate) fn replace_wrapping_key(&self, file: &Path) -> Result<()> {
        wrapping_key::replace(&self.0, self.1, file)
    }

    /// The ids of the vaults that have variables on this machine, and how many more there are whose id is neither
    /// noted nor among `candidates`.
    pub(crate) fn local_vaults(&self, candidates: &[String]) -> Result<(Vec<String>, usize)> {
        let directory = self.path(DIRECTORY);
        let failed = |error: std::io::Error| Error::file("read", &directory, &error);
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            entries => entries.map_err(failed)?,
        };
        let keys = self.opening_keys()?;
        let (mut ids, mut unknown) = (Vec::new(), 0);
        for entry in entries {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name.len() != 64 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
                continue;
            }
            let noted = files::read(&directory.join(format!("{name}.id")))?;
            let noted = noted.and_then(|sealed| open_id(&keys, &name, &sealed));
            match noted.or_else(|| candidates.iter().find(|id| stem(id) == name).cloned()) {
                Some(id) => ids.push(id),
                None => unknown += 1,
            }
        }
        ids.sort();
        Ok((ids, unknown))
    }

    /// Until it is dropped, the wrapping key is not replaced by another one: for what encrypts under it elsewhere.
    pub(crate) fn use_key(&self) -> Result<File> {
        self.make()?;
        let failed = |error: std::io::Error| Error::file("lock", &self.0, &error);
        // The directory itself, so that nothing is left behind.
        let directory = File::open(&self.0).map_err(failed)?;
        directory.lock_shared().map_err(failed)?;
        Ok(directory)
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
        self.home.path(DIRECTORY)
    }

    fn path(&self) -> PathBuf {
        self.directory().join(stem(&self.id))
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
        let Some(bytes) = files::read(&self.path())? else { return self.published() };
        let unreadable = || {
            Error::failure("the variables on this machine do not open with its vault key").hint(
                "if the key was replaced on purpose, `lpm env pull --force` replaces them by the server's",
            )
        };
        let sealed = bytes.strip_prefix(HEADER).ok_or_else(unreadable)?;
        let keys = self.home.opening_keys()?;
        let payload = open(&keys, &self.aad(), sealed).ok_or_else(unreadable)?;
        if !self.id_path().exists() {
            // Files of versions that noted no ids; a read-only home is no reason to fail.
            let _ = self.home.wrapping_key()?.map(|key| self.note_id(&key));
        }
        Environments::parse(&payload)
            .map_err(|error| Error::failure(format!("the variables on this machine: {error}")))
    }

    /// The published client's variables, which are ours from then on; none where it has none.
    fn published(&self) -> Result<Environments> {
        let Some(all) = self.home.published(&self.id)? else { return Ok(Environments::default()) };
        self.save(&all)?;
        Ok(all)
    }

    /// Replaces all variables.
    pub(crate) fn save(&self, all: &Environments) -> Result<()> {
        files::private_directory(&self.directory())?;
        let key = self.home.wrapping_key_or_new()?;
        if !self.id_path().exists() {
            self.note_id(&key)?;
        }
        self.write(&key, &all.to_payload())
    }

    /// Encrypts the same variables under another wrapping key.
    pub(crate) fn seal_anew(&self, wrapping_key: &Secret) -> Result<()> {
        let payload = self.load()?.to_payload();
        self.note_id(wrapping_key)?;
        self.write(wrapping_key, &payload)
    }

    fn write(&self, wrapping_key: &Secret, payload: &Secret) -> Result<()> {
        let sealed = seal(wrapping_key, &self.aad(), payload.expose())?;
        files::write(&self.path(), &[HEADER, &sealed].concat(), files::PRIVATE)
    }

    fn id_path(&self) -> PathBuf {
        self.path().with_extension("id")
    }

    fn note_id(&self, wrapping_key: &Secret) -> Result<()> {
        let sealed = seal(wrapping_key, &id_aad(&stem(&self.id)), self.id.as_bytes())?;
        files::write(&self.id_path(), &sealed, files::PRIVATE)
    }

    /// The fingerprint of the escrow key that this machine may seal the key of the account's own copy to.
    pub(crate) fn escrow_key(&self) -> Result<Option<String>> {
        let text = files::read(&self.path().with_extension("escrow"))?;
        Ok(text.and_then(|text| String::from_utf8(text).ok()).map(|text| text.trim().to_owned()))
    }

    /// Notes that fingerprint; `None` forgets it.
    pub(crate) fn set_escrow_key(&self, fingerprint: Option<&str>) -> Result<()> {
        let path = self.path().with_extension("escrow");
        match fingerprint {
            Some(fingerprint) => {
                files::private_directory(&self.directory())?;
                files::write(&path, format!("{fingerprint}\n").as_bytes(), files::PRIVATE)
            }
            None => files::remove(&path),
        }
    }

    /// Whether a rotation that is under way has found or put the server's copy under the next key.
    pub(crate) fn is_rotated(&self) -> bool {
        self.path().with_extension("rotated").exists()
    }

    /// Notes that, or that the rotation is over.
    pub(crate) fn set_rotated(&self, rotated: bool) -> Result<()> {
        let path = self.path().with_extension("rotated");
        if !rotated {
            return files::remove(&path);
        }
        files::private_directory(&self.directory())?;
        files::write(&path, b"", files::PRIVATE)
    }

    fn version_path(&self, org: Option<&str>) -> PathBuf {
        match org {
            None => self.path().with_extension("version"),
            Some(org) => {
                let org = hex::encode(&sha256(org.as_bytes())[..8]);
                self.path().with_extension(format!("{org}.version"))
            }
        }
    }

    /// The server's version that this machine has seen, of the own row or an org's: what a push may replace.
    ///
    /// Not the one in `lpm.json`, which comes to machines that never pulled, by git.
    pub(crate) fn version(&self, org: Option<&str>) -> Result<Option<i32>> {
        let text = files::read(&self.version_path(org))?;
        Ok(text.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok()))
    }

    /// Notes that the variables are, or hold, those of the server's `version`.
    pub(crate) fn set_version(&self, org: Option<&str>, version: i32) -> Result<()> {
        files::private_directory(&self.directory())?;
        files::write(&self.version_path(org), format!("{version}\n").as_bytes(), files::PRIVATE)
    }

    /// Forgets the variables, and which versions they were.
    pub(crate) fn remove(&self) -> Result<()> {
        let (directory, stem) = (self.directory(), stem(&self.id));
        let failed = |error: std::io::Error| Error::file("read", &directory, &error);
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let rest = name.to_string_lossy().strip_prefix(&stem).map(str::to_owned);
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
                files::remove(&directory.join(name))?;
            }
        }
        Ok(())
    }
}

/// The name of a vault's file. An id is any text: hashed, it is a file's name and tells nothing in a backup.
fn stem(id: &str) -> String {
    hex::encode(sha256(id.as_bytes()))
}

fn id_aad(stem: &str) -> Vec<u8> {
    lp(&[ID_LABEL, stem.as_bytes()])
}

/// The id in an `.id` file.
fn open_id(keys: &[Secret], stem: &str, sealed: &[u8]) -> Option<String> {
    Some(open(keys, &id_aad(stem), sealed)?.expose_str()?.to_owned())
}

/// IV and ciphertext under the sub-key of a wrapping key.
fn seal(wrapping_key: &Secret, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let iv = aead::random().map_err(library)?;
    let sealed = aead::seal(&*sub_key(wrapping_key)?, &iv, aad, plaintext).map_err(library)?;
    Ok([&iv, &sealed[..]].concat())
}

/// What IV and ciphertext hold, with whichever key opens them.
fn open(wrapping_keys: &[Secret], aad: &[u8], sealed: &[u8]) -> Option<Secret> {
    let (iv, sealed) = sealed.split_first_chunk()?;
    wrapping_keys.iter().find_map(|key| aead::open(&*sub_key(key).ok()?, iv, aad, sealed).ok())
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
