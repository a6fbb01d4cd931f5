//! The desktop's keychain: the Secret Service of freedesktop.org, asked over the session's D-Bus.
//!
//! | service | account | secret |
//! | --- | --- | --- |
//! | `dev.lpm.vault-key` | `wrapping-key` | the wrapping key, 64 hex digits; shared with the published client |
//! | `dev.lpm.session` | a gateway's address | the tokens of the login there |
//!
//! Items carry the attributes that the published client's library gives and looks for. What travels over
//! the bus is encrypted for it. A machine without a keychain keeps files instead; one whose keychain is locked
//! asks its user, because a second key beside the first would open nothing.

use crate::error::{Error, Result};
use crate::output::printable;
use lpm_core::secret::Secret;
use secret_service::{EncryptionType, SecretService};
use std::collections::HashMap;
use std::time::Duration;

const NAME: &str = "org.freedesktop.secrets";
/// How long the bus may take to say whether there is a service, before there is none.
const BUS: Duration = Duration::from_secs(1);
/// How long a service that is there may take to answer; it may have to be started first.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the user may take to unlock it.
const UNLOCK: Duration = Duration::from_secs(60);

/// Whether secrets go to the keychain: `LPM_KEYCHAIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keychain {
    /// Never.
    Off,
    /// Where there is one.
    Auto,
    /// Always; without one nothing works.
    On,
}

/// What an item is found by.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    /// What it is for.
    pub service: &'a str,
    /// Whose it is.
    pub account: &'a str,
}

/// What a keychain said.
pub(crate) enum Found {
    /// There is no keychain, or it may not be asked.
    NoKeychain,
    /// It has no such item.
    Nothing,
    /// The item's secret.
    Secret(Secret),
}

impl Keychain {
    /// As `LPM_KEYCHAIN` has it; without it, where there is one.
    pub(crate) fn of_environment() -> Result<Self> {
        match std::env::var("LPM_KEYCHAIN").unwrap_or_default().as_str() {
            "" | "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err(Error::usage("LPM_KEYCHAIN must be `auto`, `on` or `off`")),
        }
    }

    /// An item's secret.
    pub(crate) fn get(self, item: Item<'_>) -> Result<Found> {
        let found = self.ask(async |service: &SecretService<'_>| {
            let found = service.search_items(item.search()).await?;
            if found.unlocked.is_empty() && found.locked.is_empty() {
                return Ok(Found::Nothing);
            }
            let locked: Vec<_> = found.locked.iter().collect();
            if found.unlocked.is_empty() {
                service.unlock_all(&locked).await?;
            }
            let mut secrets = Vec::new();
            for item in if found.unlocked.is_empty() { found.locked } else { found.unlocked } {
                secrets.push(Secret::new(item.get_secret().await?));
            }
            match secrets.iter().all(|other| other.expose() == secrets[0].expose()) {
                true => Ok(Found::Secret(secrets.swap_remove(0))),
                false => Err(Trouble::Several(secrets.len())),
            }
        });
        found.map_err(|error| error.said(item)).map(|found| found.unwrap_or(Found::NoKeychain))
    }

    /// Keeps an item's secret, in place of an older one. `false`: there is no keychain.
    pub(crate) fn put(self, item: Item<'_>, secret: &Secret) -> Result<bool> {
        let label = item.label();
        let done = self.ask(async |service: &SecretService<'_>| {
            let collection = service.get_default_collection().await?;
            if collection.is_locked().await? {
                collection.unlock().await?;
            }
            collection.create_item(&label, item.attributes(), secret.expose(), true, "text/plain").await?;
            Ok(())
        });
        done.map_err(|error| error.said(item)).map(|done| done.is_some())
    }

    /// Forgets an item. `false`: there is no keychain.
    pub(crate) fn remove(self, item: Item<'_>) -> Result<bool> {
        let done = self.ask(async |service: &SecretService<'_>| {
            let found = service.search_items(item.search()).await?;
            let locked: Vec<_> = found.locked.iter().collect();
            if !locked.is_empty() {
                service.unlock_all(&locked).await?;
            }
            for item in found.unlocked.iter().chain(&found.locked) {
                item.delete().await?;
            }
            Ok(())
        });
        done.map_err(|error| error.said(item)).map(|done| done.is_some())
    }

    /// Whether this process may look for a keychain: without a session bus of its own there is none, and
    /// nobody starts one.
    pub(crate) fn may_ask(self) -> bool {
        let bus = std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some_and(|bus| !bus.is_empty());
        self == Self::On || (self == Self::Auto && bus)
    }

    /// Does `work` with the service; `None` where there is none.
    fn ask<T: Send>(
        self,
        work: impl AsyncFnOnce(&SecretService<'_>) -> Result<T, Trouble> + Send,
    ) -> Result<Option<T>, Trouble> {
        if !self.may_ask() {
            return Ok(None);
        }
        let asked = async || {
            let Some(service) = open().await? else {
                return if self == Self::On { Err(Trouble::Missing) } else { Ok(None) };
            };
            let done = tokio::time::timeout(UNLOCK, work(&service)).await;
            done.map_err(|_| Trouble::Silent)?.map(Some)
        };
        // A thread of its own, because a caller may be in the middle of a request: runtimes do not nest.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map_err(|_| Trouble::Silent)?.block_on(asked())
            });
            thread.join().unwrap_or(Err(Trouble::Silent))
        })
    }
}

/// The service, with a default collection to put things in; `None` where there is none, or none that starts.
///
/// One that is there and only slow is an error: a key that it has would get a second one beside it.
async fn open() -> Result<Option<SecretService<'static>>, Trouble> {
    let Ok(Ok(bus)) = tokio::time::timeout(BUS, bus_with_service()).await else { return Ok(None) };
    let Some(bus) = bus else { return Ok(None) };
    let opened = tokio::time::timeout(ANSWER, async {
        let service = SecretService::connect_with_existing(EncryptionType::Dh, bus).await?;
        service.get_default_collection().await?;
        Ok::<_, secret_service::Error>(service)
    });
    Ok(opened.await.map_err(|_| Trouble::Silent)?.ok())
}

/// The session's bus, where the service is on it or can be started.
async fn bus_with_service() -> zbus::Result<Option<zbus::Connection>> {
    let connection = zbus::Connection::session().await?;
    let bus = zbus::fdo::DBusProxy::new(&connection).await?;
    let there = bus.name_has_owner(NAME.try_into()?).await?
        || bus.list_activatable_names().await?.iter().any(|name| name.as_str() == NAME);
    drop(bus);
    Ok(there.then_some(connection))
}

impl<'a> Item<'a> {
    fn search(self) -> HashMap<&'a str, &'a str> {
        [("service", self.service), ("username", self.account)].into()
    }

    fn attributes(self) -> HashMap<&'a str, &'a str> {
        let mut attributes = self.search();
        attributes.extend([("target", "default"), ("application", "rust-keyring")]);
        attributes
    }

    fn label(self) -> String {
        format!("{} ({})", self.service, self.account)
    }
}

/// Why a keychain that is there did not do it.
#[derive(Debug)]
enum Trouble {
    /// There is none, and there must be.
    Missing,
    /// It has several secrets for one item.
    Several(usize),
    /// It did not answer.
    Silent,
    /// It said why.
    Said(secret_service::Error),
}

impl From<secret_service::Error> for Trouble {
    fn from(error: secret_service::Error) -> Self {
        Self::Said(error)
    }
}

impl Trouble {
    fn said(self, item: Item<'_>) -> Error {
        use secret_service::Error as Service;
        const FILES: &str = "unlock it and try again; `LPM_KEYCHAIN=off` keeps secrets in files instead";
        let what = match self {
            Self::Missing => {
                return Error::failure("LPM_KEYCHAIN is `on`, but no keychain answers")
                    .hint("start the desktop's secret service, or unset LPM_KEYCHAIN");
            }
            Self::Several(count) => {
                return Error::failure(format!(
                    "the keychain has {count} different items `{}`",
                    item.label()
                ))
                .hint("delete those that are wrong with the desktop's program for passwords");
            }
            Self::Silent => "does not answer".to_owned(),
            Self::Said(Service::Locked | Service::Prompt | Service::PromptDisconnected) => {
                "is locked".to_owned()
            }
            Self::Said(error) => format!("failed: {}", printable(&error.to_string())),
        };
        Error::failure(format!("the keychain {what}")).hint(FILES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: Item<'_> = Item { service: "dev.lpm.test", account: "a" };

    #[test]
    fn a_keychain_that_is_off_is_not_asked() {
        assert!(matches!(Keychain::Off.get(ITEM), Ok(Found::NoKeychain)));
        assert!(matches!(Keychain::Off.put(ITEM, &Secret::new(vec![1])), Ok(false)));
        assert!(matches!(Keychain::Off.remove(ITEM), Ok(false)));
    }

    #[test]
    fn items_are_those_of_the_published_clients_library() {
        let attributes = ITEM.attributes();
        for (name, value) in [
            ("service", "dev.lpm.test"),
            ("username", "a"),
            ("target", "default"),
            ("application", "rust-keyring"),
        ] {
            assert_eq!(attributes.get(name), Some(&value));
        }
        assert!(ITEM.search().iter().all(|(name, value)| attributes.get(name) == Some(value)));
    }

    #[test]
    fn what_a_locked_keychain_is_told_about_names_the_way_out() {
        for error in [secret_service::Error::Locked, secret_service::Error::Prompt] {
            let said = Trouble::Said(error).said(ITEM).lines().join("; ");
            assert!(said.contains("the keychain is locked") && said.contains("LPM_KEYCHAIN=off"), "{said}");
        }
    }
}
