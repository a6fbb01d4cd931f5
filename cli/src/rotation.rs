//! Two wrapping keys for a while: the present one, and the one that takes its place.
//!
//! | path | content |
//! | --- | --- |
//! | `~/.lpm/.vault-key.next` | the next wrapping key, from before the first vault is encrypted under it until the last is |
//! | `~/.lpm/secrets/….rotated` | that vault's copy on the server is under the next key |
//!
//! While there is a next key, both open what is on the server and on this machine. So whatever ends a rotation
//! halfway, every vault opens with a key that this machine has, and the next `rotate-key` goes on.

use crate::error::{Error, Result};
use crate::files;
use crate::local::{Home, library};
use crate::wrapping_key;
use lpm_core::envelope::aead;
use lpm_core::secret::Secret;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use zeroize::Zeroizing;

impl Home {
    fn next_key_path(&self) -> PathBuf {
        self.path(".vault-key.next")
    }

    /// The key that takes the present one's place, while a rotation is under way.
    pub(crate) fn next_key(&self) -> Result<Option<Secret>> {
        wrapping_key::in_file(&self.next_key_path())
    }

    /// The next key, made now if no rotation is under way.
    pub(crate) fn next_key_or_new(&self) -> Result<Secret> {
        if let Some(key) = self.next_key()? {
            return Ok(key);
        }
        let key = Zeroizing::new(aead::random::<32>().map_err(library)?);
        files::create(&self.next_key_path(), Zeroizing::new(hex::encode(*key)).as_bytes())?;
        self.sync()?;
        self.next_key()?.ok_or_else(|| Error::failure("the next vault key has vanished"))
    }

    /// The keys that open this machine's vaults: its wrapping key, and during a rotation the next one.
    pub(crate) fn opening_keys(&self) -> Result<Vec<Secret>> {
        Ok(self.wrapping_key()?.into_iter().chain(self.next_key()?).collect())
    }

    /// Until it is dropped, nobody uses the wrapping key but the caller.
    pub(crate) fn own_key(&self) -> Result<File> {
        let failed = |error: std::io::Error| Error::file("lock", &self.path(""), &error);
        self.make()?;
        let directory = File::open(self.path("")).map_err(failed)?;
        match directory.try_lock() {
            Ok(()) => Ok(directory),
            Err(TryLockError::WouldBlock) => {
                Err(Error::failure("another lpm is using this machine's vault key")
                    .hint("try again when it is done"))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Puts the next key in the present one's place: the last step of a rotation.
    pub(crate) fn finish_rotation(&self) -> Result<()> {
        self.replace_wrapping_key(&self.next_key_path())?;
        self.sync()
    }

    /// Has the directory's entries outlive a crash.
    fn sync(&self) -> Result<()> {
        let directory = File::open(self.path("")).and_then(|directory| directory.sync_all());
        directory.map_err(|error| Error::file("write", &self.path(""), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lpm_core::environment::{Environments, Text};

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let home = Home::at(directory.path().join(".lpm"));
        home.wrapping_key_or_new().expect("made");
        (directory, home)
    }

    fn one(value: &str) -> Environments {
        let mut all = Environments::default();
        all.0.entry("default".into()).or_default().insert("KEY".into(), Text::from(value));
        all
    }

    fn value(home: &Home, id: &str) -> String {
        home.vault(id).load().expect("it opens").0["default"]["KEY"].expose().to_owned()
    }

    #[test]
    fn at_every_step_each_vault_opens_with_a_key_of_this_machine() {
        let (_directory, home) = home();
        for id in ["a", "b/../c"] {
            home.vault(id).save(&one(id)).expect("saved");
        }
        let old = home.wrapping_key().expect("read").expect("there");
        let next = home.next_key_or_new().expect("made");
        assert_ne!(old.expose(), next.expose());
        assert_eq!(home.next_key_or_new().expect("the same").expose(), next.expose());
        assert_eq!(home.opening_keys().expect("read").len(), 2);
        let (ids, unknown) = home.local_vaults(&[]).expect("listed");
        assert_eq!((ids, unknown), (vec!["a".to_owned(), "b/../c".to_owned()], 0));
        assert_eq!(value(&home, "a"), "a", "under the old key");
        home.vault("a").seal_anew(&next).expect("sealed");
        assert_eq!(value(&home, "a"), "a", "under the next key");
        assert_eq!(value(&home, "b/../c"), "b/../c", "still under the old key");
        home.vault("a").seal_anew(&next).expect("a second time is fine");
        home.vault("b/../c").seal_anew(&next).expect("sealed");
        home.finish_rotation().expect("finished");
        assert_eq!(home.wrapping_key().expect("read").expect("there").expose(), next.expose());
        assert!(home.next_key().expect("read").is_none());
        assert_eq!(value(&home, "a"), "a");
        assert_eq!(value(&home, "b/../c"), "b/../c");
        assert_eq!(home.local_vaults(&[]).expect("listed").1, 0);
    }

    #[test]
    fn nobody_uses_the_key_while_it_is_replaced() {
        let (_directory, home) = home();
        let used = home.use_key().expect("free");
        let _also = home.use_key().expect("shared");
        assert!(home.own_key().is_err(), "somebody uses it");
        drop(used);
        drop(_also);
        let _owned = home.own_key().expect("free");
        assert!(home.own_key().is_err(), "one rotation at a time");
    }
}
