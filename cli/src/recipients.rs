//! Whom this machine has shared with: the members' fingerprints that its user has accepted, per server and org.
//!
//! The server says whose key is whose. What it said is shown once and kept in `~/.lpm/recipients.json`, so that it
//! cannot slip in another key later without being noticed. Members of the last share only: who left and comes
//! back is shown again.

use crate::error::{Error, Result};
use crate::files;
use crate::local::Home;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use uuid::Uuid;

/// Server, org, member.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Book(BTreeMap<String, BTreeMap<String, Recipients>>);

/// The accepted members of an org.
pub(crate) type Recipients = BTreeMap<Uuid, Recipient>;

/// A member whose key was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recipient {
    /// The handle at that time.
    pub handle: String,
    /// The key's fingerprint.
    pub fingerprint: String,
}

impl Home {
    fn recipients_path(&self) -> PathBuf {
        self.path("recipients.json")
    }

    fn book(&self) -> Result<Book> {
        let path = self.recipients_path();
        let Some(bytes) = files::read(&path)? else { return Ok(Book::default()) };
        serde_json::from_slice(&bytes).map_err(|_| {
            Error::failure(format!("`{}` is not what lpm wrote there", path.display()))
                .hint("move it away: the next share then shows every member's fingerprint again")
        })
    }

    /// Whom this machine's last share with the org was for.
    pub(crate) fn recipients(&self, registry: &str, org: &str) -> Result<Recipients> {
        let mut book = self.book()?;
        Ok(book.0.get_mut(registry).and_then(|orgs| orgs.remove(org)).unwrap_or_default())
    }

    /// Keeps whom a share with the org was for.
    pub(crate) fn set_recipients(&self, registry: &str, org: &str, recipients: Recipients) -> Result<()> {
        self.make()?;
        let _lock = files::lock(&self.path(".recipients.lock"))?;
        let mut book = self.book()?;
        book.0.entry(registry.to_owned()).or_default().insert(org.to_owned(), recipients);
        let text = serde_json::to_vec_pretty(&book).map_err(|error| Error::failure(error.to_string()))?;
        files::write(&self.recipients_path(), &text, files::PRIVATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fingerprint: &str) -> Recipients {
        let recipient = Recipient { handle: "bob".into(), fingerprint: fingerprint.into() };
        [(Uuid::nil(), recipient)].into()
    }

    #[test]
    fn they_are_kept_per_server_and_org() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let home = Home::at(directory.path().join(".lpm"));
        assert!(home.recipients("https://a", "acme").expect("nothing yet").is_empty());
        home.set_recipients("https://a", "acme", of("SHA256:1")).expect("kept");
        home.set_recipients("https://a", "other", of("SHA256:2")).expect("kept");
        assert_eq!(home.recipients("https://a", "acme").expect("read"), of("SHA256:1"));
        assert!(home.recipients("https://b", "acme").expect("read").is_empty());
        home.set_recipients("https://a", "acme", Recipients::new()).expect("kept");
        assert!(home.recipients("https://a", "acme").expect("read").is_empty(), "who left is forgotten");
        assert_eq!(home.recipients("https://a", "other").expect("read"), of("SHA256:2"));
    }

    #[test]
    fn a_file_that_cannot_be_read_accepts_nobody() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let home = Home::at(directory.path().join(".lpm"));
        home.set_recipients("https://a", "acme", of("SHA256:1")).expect("kept");
        for text in ["", "[]", r#"{"https://a":{"acme":{"x":1}}}"#] {
            std::fs::write(home.recipients_path(), text).expect("written");
            let error = home.recipients("https://a", "acme").expect_err("it is refused");
            assert!(error.lines().join("; ").contains("shows every member's fingerprint again"), "{text}");
        }
    }
}
