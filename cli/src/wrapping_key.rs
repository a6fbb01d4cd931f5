//! Where this machine's wrapping key is: in a file or in the keychain, never in both.
//!
//! | place | looked at |
//! | --- | --- |
//! | `~/.lpm/.vault-key`, 64 hex digits | first: what is there stays there |
//! | the keychain's item `dev.lpm.vault-key`, `wrapping-key`, the same digits | next |
//! | `~/.lpm/.vault-key-in-keychain`, no secret | says that the keychain had it |
//!
//! The first two are the published client's. A new key is made in the keychain where there is one. The note
//! keeps a machine whose keychain is out of reach (over ssh, say) from making a second key, which would open
//! nothing of what the first has sealed.

use crate::error::{Error, Result};
use crate::files;
use crate::keychain::{Found, Item, Keychain};
use crate::local::library;
use lpm_core::envelope::aead;
use lpm_core::secret::Secret;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const ITEM: Item<'static> = Item { service: "dev.lpm.vault-key", account: "wrapping-key" };

fn file(directory: &Path) -> PathBuf {
    directory.join(".vault-key")
}

fn note(directory: &Path) -> PathBuf {
    directory.join(".vault-key-in-keychain")
}

/// The key, where there is one.
pub(crate) fn find(directory: &Path, keychain: Keychain) -> Result<Option<Secret>> {
    if let Some(key) = in_file(&file(directory))? {
        return Ok(Some(key));
    }
    match keychain.get(ITEM)? {
        Found::Secret(text) => {
            let key = parse(text.expose(), "the keychain's item `dev.lpm.vault-key`")?;
            files::private_directory(directory)?;
            files::create(&note(directory), b"The wrapping key is in the keychain: dev.lpm.vault-key\n")?;
            Ok(Some(key))
        }
        Found::Nothing if note(directory).exists() => Err(out_of_reach("which has it no longer")),
        Found::NoKeychain if note(directory).exists() => Err(out_of_reach("which cannot be asked now")),
        Found::Nothing | Found::NoKeychain => Ok(None),
    }
}

/// The key, made now if there is none.
pub(crate) fn find_or_make(directory: &Path, keychain: Keychain) -> Result<Secret> {
    if let Some(key) = find(directory, keychain)? {
        return Ok(key);
    }
    files::private_directory(directory)?;
    // A keychain replaces items, so whoever comes second must wait and look again; a file is made once.
    let lock = directory.join(".vault-key.lock");
    let _lock = keychain.may_ask().then(|| files::lock(&lock)).transpose()?;
    if let Some(key) = find(directory, keychain)? {
        return Ok(key);
    }
    let key = Zeroizing::new(aead::random::<32>().map_err(library)?);
    let text = Secret::from(hex::encode(*key));
    if !keychain.put(ITEM, &text)? {
        files::create(&file(directory), text.expose())?;
    }
    // Whoever was first: that key counts.
    find(directory, keychain)?.ok_or_else(|| Error::failure("the vault key has vanished"))
}

/// Puts the key in the file `next`, one of the same directory, in the place of the present one; the file is gone
/// then. Interrupted, both are there, and it can be done again.
pub(crate) fn replace(directory: &Path, keychain: Keychain, next: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::file("write", &file(directory), &error);
    if file(directory).exists() {
        return std::fs::rename(next, file(directory)).map_err(failed);
    }
    let Some(key) = in_file(next)? else { return Ok(()) };
    if !keychain.put(ITEM, &Secret::from(hex::encode(key.expose())))? {
        return Err(out_of_reach("which cannot be asked now"));
    }
    files::remove(next)
}

fn out_of_reach(why: &str) -> Error {
    Error::failure(format!("this machine's vault key is in its keychain, {why}")).hint(
        "run it in the desktop's session, without LPM_KEYCHAIN=off; if that keychain is gone for good, delete ~/.lpm/.vault-key-in-keychain",
    )
}

/// The key in a file.
pub(crate) fn in_file(path: &Path) -> Result<Option<Secret>> {
    let Some(text) = files::read_private(path)? else { return Ok(None) };
    parse(text.expose(), &format!("`{}`", path.display())).map(Some)
}

fn parse(text: &[u8], place: &str) -> Result<Secret> {
    let mut key = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_ascii(), &mut *key)
        .map_err(|_| Error::failure(format!("{place} is not a vault key of 64 hex digits")))?;
    Ok(Secret::new(key.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().expect("a directory can be made");
        let directory = root.path().join(".lpm");
        (root, directory)
    }

    fn made(directory: &Path) -> Secret {
        find_or_make(directory, Keychain::Off).expect("made")
    }

    fn refused(directory: &Path) -> String {
        find(directory, Keychain::Off).err().expect("it is refused").lines().join("; ")
    }

    #[test]
    fn without_a_keychain_the_key_is_the_published_clients_file() {
        let (_root, directory) = directory();
        assert!(find(&directory, Keychain::Off).expect("no key yet").is_none());
        let made = made(&directory);
        let text = fs::read_to_string(file(&directory)).expect("read");
        assert_eq!(text, hex::encode(made.expose()));
        assert_eq!(text.len(), 64);
        assert_eq!(fs::metadata(file(&directory)).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(self::made(&directory).expose(), made.expose());
        assert!(!note(&directory).exists());
    }

    #[test]
    fn a_key_of_the_wrong_form_is_refused_without_being_shown() {
        let (_root, directory) = directory();
        made(&directory);
        for text in ["", "beef", &"zz".repeat(32), &"ab".repeat(33)] {
            fs::write(file(&directory), text).expect("written");
            let said = refused(&directory);
            assert!(said.contains("is not a vault key of 64 hex digits") && !said.contains("beef"), "{said}");
        }
        fs::write(file(&directory), format!("{}\n", "ab".repeat(32))).expect("written");
        assert!(find(&directory, Keychain::Off).is_ok(), "a line's end is fine");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let (_root, directory) = directory();
        made(&directory);
        fs::set_permissions(file(&directory), fs::Permissions::from_mode(0o640)).expect("set");
        assert!(refused(&directory).contains("can be read by others (mode 640)"));
    }

    #[test]
    fn a_key_that_a_keychain_had_is_not_made_anew_elsewhere() {
        let (_root, directory) = directory();
        fs::create_dir(&directory).expect("made");
        fs::write(note(&directory), "").expect("written");
        assert!(refused(&directory).contains("is in its keychain, which cannot be asked now"));
        assert!(find_or_make(&directory, Keychain::Off).is_err());
        assert!(!file(&directory).exists());
        // A file that somebody put there is an answer.
        fs::write(file(&directory), "ab".repeat(32)).expect("written");
        fs::set_permissions(file(&directory), fs::Permissions::from_mode(0o600)).expect("set");
        assert!(find(&directory, Keychain::Off).expect("found").is_some());
    }
}
