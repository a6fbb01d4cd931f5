//! `Secret`: bytes that are wiped when dropped and that cannot be printed.

use zeroize::Zeroizing;

/// Secret bytes: a key, a bearer token, a plaintext.
///
/// There is no `Debug`, `Display`, `Serialize`, `Clone` or `PartialEq`: what a type cannot do needs no
/// review. Reading takes [`Secret::expose`], so that every use can be found by name.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over the bytes; they are wiped when the `Secret` is dropped.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Keep what is derived from them as short-lived as possible.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, where they are UTF-8.
    #[must_use]
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}
