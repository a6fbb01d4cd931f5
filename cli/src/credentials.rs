//! Who is signed in where: one login per gateway, by the address exactly as it is given.
//!
//! | path | content |
//! | --- | --- |
//! | `~/.lpm/sessions/<SHA-256 of the address>.json` | the login; its tokens too, unless the keychain has them |
//! | the same with `.lock` | held while the login changes |
//!
//! The published client's `~/.lpm/.credentials` is another file, which nothing here touches.

use crate::error::{Error, Result};
use crate::files;
use crate::keychain::{Found, Item, Keychain};
use crate::local::Home;
use crate::output::warn;
use lpm_core::environment::Text;
use lpm_core::secret::Secret;
use openssl::sha::sha256;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const SERVICE: &str = "dev.lpm.session";

/// What one gateway knows this machine by.
pub(crate) struct Login {
    /// The account's handle.
    pub handle: String,
    /// What every request carries.
    pub access: Secret,
    /// What buys the next one; a personal access token has none.
    pub refresh: Option<Secret>,
    /// When `access` ends, RFC 3339.
    pub expires_at: Option<String>,
}

impl Login {
    /// Whether it is a login session, not a personal access token.
    pub(crate) fn is_session(&self) -> bool {
        self.refresh.is_some()
    }

    /// Whether the access token ends within `margin` of `now`, where that is known.
    pub(crate) fn ends_within(&self, margin: Duration, now: SystemTime) -> bool {
        let Some(text) = self.expires_at.as_deref() else { return false };
        let utc = text.strip_suffix("+00:00").or(text.strip_suffix("+00")).unwrap_or(text);
        let utc = utc.trim_end_matches('Z');
        // What cannot be read counts as unknown: a 401 tells, too.
        humantime::parse_rfc3339_weak(&format!("{utc}Z")).is_ok_and(|end| end <= now + margin)
    }
}

/// Where tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the file.
    File,
    /// In the keychain.
    Keychain,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<T> {
    registry: String,
    handle: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Absent where the keychain has them.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    tokens: Option<Tokens<T>>,
}

fn none<T>() -> Option<T> {
    None
}

/// What must not be seen.
#[derive(Serialize, Deserialize)]
struct Tokens<T> {
    access: T,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    refresh: Option<T>,
}

/// The login of one gateway on this machine.
pub(crate) struct Store {
    directory: PathBuf,
    address: String,
    keychain: Keychain,
}

impl Store {
    /// The one of the gateway at this address.
    pub(crate) fn new(home: &Home, address: &str) -> Self {
        let (directory, keychain) = (home.path("sessions"), home.keychain());
        Self { directory, address: address.to_owned(), keychain }
    }

    /// The gateway's address.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn path(&self, extension: &str) -> PathBuf {
        let name = hex::encode(sha256(self.address.as_bytes()));
        self.directory.join(name).with_extension(extension)
    }

    fn item(&self) -> Item<'_> {
        Item { service: SERVICE, account: &self.address }
    }

    /// Until it is dropped, nobody else changes the login.
    pub(crate) fn lock(&self) -> Result<File> {
        files::private_directory(&self.directory)?;
        files::lock(&self.path("lock"))
    }

    /// The login, where there is one.
    pub(crate) fn load(&self) -> Result<Option<Login>> {
        let Some(record) = self.record()? else { return Ok(None) };
        let Record { handle, expires_at, tokens, .. } = record;
        let tokens = match tokens {
            Some(tokens) => tokens,
            None => self.tokens_in_keychain()?,
        };
        let secret = |text: Text| Secret::from(text.expose().to_owned());
        let (access, refresh) = (secret(tokens.access), tokens.refresh.map(secret));
        Ok(Some(Login { handle, access, refresh, expires_at }))
    }

    fn record(&self) -> Result<Option<Record<Text>>> {
        let path = self.path("json");
        let Some(bytes) = files::read_private(&path)? else { return Ok(None) };
        // serde's text may quote a token.
        let record: Option<Record<Text>> = serde_json::from_slice(bytes.expose()).ok();
        match record.filter(|record| record.registry == self.address) {
            Some(record) => Ok(Some(record)),
            None => Err(Error::failure(format!("`{}` is not a login at `{}`", path.display(), self.address))
                .hint("`lpm logout` removes it, `lpm login` makes a new one")),
        }
    }

    fn tokens_in_keychain(&self) -> Result<Tokens<Text>> {
        let why = match self.keychain.get(self.item())? {
            Found::Secret(text) => {
                return serde_json::from_slice(text.expose()).map_err(|_| {
                    Error::failure("the keychain's item `dev.lpm.session` holds no login")
                        .hint("`lpm login` makes a new one")
                });
            }
            Found::Nothing => "which has it no longer",
            Found::NoKeychain => "which cannot be asked now",
        };
        Err(Error::failure(format!("the login at `{}` is in this machine's keychain, {why}", self.address))
            .hint("run it in the desktop's session, or `lpm login` here"))
    }

    /// Where the tokens of the present login are.
    pub(crate) fn place(&self) -> Result<Option<Place>> {
        let record = self.record()?;
        Ok(record.map(|record| if record.tokens.is_some() { Place::File } else { Place::Keychain }))
    }

    /// Begins a login, in the keychain where there is one, in place of an older one wherever that was.
    pub(crate) fn begin(&self, login: &Login) -> Result<Place> {
        files::private_directory(&self.directory)?;
        let tokens = encoded(&login.tokens())?;
        if self.keychain.put(self.item(), &tokens)? {
            self.write(login, Place::Keychain)?;
            return Ok(Place::Keychain);
        }
        self.write(login, Place::File)?;
        Ok(Place::File)
    }

    /// Replaces the login by its next tokens, where it is.
    pub(crate) fn update(&self, login: &Login) -> Result<()> {
        let Some(place) = self.place()? else {
            return Err(Error::failure("the login was removed meanwhile").hint("run `lpm login`"));
        };
        if place == Place::Keychain && !self.keychain.put(self.item(), &encoded(&login.tokens())?)? {
            return Err(Error::failure("the keychain does not answer any more, so the new tokens are lost")
                .hint("run `lpm login`"));
        }
        self.write(login, place)
    }

    fn write(&self, login: &Login, place: Place) -> Result<()> {
        let tokens = Some(login.tokens()).filter(|_| place == Place::File);
        let (registry, handle) = (self.address.clone(), login.handle.clone());
        let record = Record { registry, handle, expires_at: login.expires_at.clone(), tokens };
        files::write(&self.path("json"), encoded(&record)?.expose(), files::PRIVATE)
    }

    /// Forgets the login, also one that cannot be read. `false`: there was none.
    pub(crate) fn remove(&self) -> Result<bool> {
        let path = self.path("json");
        let removed = match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::file("delete", &path, &error)),
            Ok(()) => true,
        };
        // Wherever it was last: an older one may be left there. What cannot be asked now keeps what it has.
        if let Err(error) = self.keychain.remove(self.item()) {
            warn(format!("the login's tokens may be left in the keychain: {error}"));
        }
        Ok(removed)
    }
}

impl Login {
    fn tokens(&self) -> Tokens<&str> {
        Tokens {
            access: self.access.expose_str().unwrap_or_default(),
            refresh: self.refresh.as_ref().and_then(Secret::expose_str),
        }
    }
}

fn encoded(value: &impl Serialize) -> Result<Secret> {
    serde_json::to_vec(value).map(Secret::new).map_err(|error| Error::failure(error.to_string()))
}
