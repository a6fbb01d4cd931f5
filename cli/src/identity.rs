//! The key that orgs share vaults to: X25519, `~/.lpm/.x25519_key`, 32 raw bytes, the published client's file.

use crate::error::{Error, Result};
use crate::files;
use crate::local::{Home, library};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::{aead, fingerprint, share};
use lpm_core::secret::Secret;
use zeroize::Zeroizing;

const FILE: &str = ".x25519_key";

/// This machine's org key.
pub(crate) struct Identity {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Home {
    /// This machine's org key, where it has one.
    pub(crate) fn identity(&self) -> Result<Option<Identity>> {
        let path = self.path(FILE);
        let Some(bytes) = files::read_private(&path)? else { return Ok(None) };
        let private = Zeroizing::new(bytes.expose().try_into().map_err(|_| {
            Error::failure(format!("`{}` is not an org key of 32 bytes", path.display())).hint(
                "bring the file back from a backup; without it, move it away, and `lpm env pull --org` makes a new key",
            )
        })?);
        let public = aead::public_key(&private).map_err(library)?;
        Ok(Some(Identity { private, public }))
    }

    /// This machine's org key, made now if it has none.
    pub(crate) fn identity_or_new(&self) -> Result<Identity> {
        if let Some(identity) = self.identity()? {
            return Ok(identity);
        }
        self.make()?;
        let key = Zeroizing::new(aead::random::<32>().map_err(library)?);
        files::create(&self.path(FILE), &*key)?;
        // Whoever was first: that key counts.
        self.identity()?.ok_or_else(|| Error::failure("the org key has vanished"))
    }
}

impl Identity {
    /// The public key as the server keeps it.
    pub(crate) fn public(&self) -> String {
        STANDARD.encode(self.public)
    }

    /// What people compare.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(&self.public)
    }

    /// The AES key that was wrapped for this machine; `None` where it was wrapped for another key.
    pub(crate) fn open(&self, wrapped: &str) -> Option<Secret> {
        share::open_from_member(&self.private, wrapped).ok()
    }
}

/// A public key as the server keeps it.
pub(crate) fn public_key(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let home = Home::at(directory.path().join(".lpm"));
        (directory, home)
    }

    fn said(result: Result<Option<Identity>>) -> String {
        result.err().expect("it is refused").lines().join("; ")
    }

    #[test]
    fn the_org_key_is_the_published_clients_file() {
        let (_directory, home) = home();
        assert!(home.identity().expect("no key yet").is_none());
        let made = home.identity_or_new().expect("made");
        let path = home.path(FILE);
        assert_eq!(fs::read(&path).expect("read"), *made.private);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(home.identity_or_new().expect("found").public(), made.public());
    }

    #[test]
    fn the_published_clients_known_answer_opens() {
        let (_directory, home) = home();
        home.make().expect("made");
        files::create(&home.path(FILE), &[1; 32]).expect("written");
        let identity = home.identity().expect("read").expect("there");
        assert_eq!(identity.public(), "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=");
        let wrapped = "zo060cy2M+x7cMF4FKXHbs0CloUFDTRHRboFhw5YfVk=:DA0ODxAREhMUFRYX:IGEwoXL4oXGmuIv8U7Nxc7/Yw/hu9/rq1tUMOkQbam2b5sQHxpL+NgP1qmLlQEZ7";
        let key = identity.open(wrapped).expect("it opens");
        assert_eq!(key.expose(), (0x20..0x40).collect::<Vec<u8>>());
        assert!(identity.open(&wrapped.replace("IGEw", "IGEx")).is_none());
        assert!(identity.open("nonsense").is_none());
    }

    #[test]
    fn a_key_of_another_length_or_open_to_others_is_refused() {
        let (_directory, home) = home();
        home.identity_or_new().expect("made");
        for bytes in [&[][..], &[7; 31], &[7; 33], b"hex digits are another file's form"] {
            fs::write(home.path(FILE), bytes).expect("written");
            assert!(said(home.identity()).contains("is not an org key of 32 bytes"));
        }
        fs::write(home.path(FILE), [7; 32]).expect("written");
        fs::set_permissions(home.path(FILE), fs::Permissions::from_mode(0o604)).expect("set");
        assert!(said(home.identity()).contains("can be read by others (mode 604)"));
    }

    #[test]
    fn what_is_no_key_is_none() {
        assert!(public_key("pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=").is_some());
        for text in ["", "AAEC", "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk", "hush"] {
            assert!(public_key(text).is_none(), "{text}");
        }
    }
}
