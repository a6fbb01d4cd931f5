//! What is searched for, and how it may be written.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// Fewer bytes could stand somewhere by chance.
const PIECE: usize = 12;

/// Of a longer marker, such as a whole token, only the first and the last piece are searched.
const LONG: usize = 4 * PIECE;

/// How bytes are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// As they are.
    Plain,
    /// Hexadecimal, lower case.
    Hex,
    /// Hexadecimal, upper case.
    UpperHex,
    /// Base64 of something that holds them, at whatever offset.
    Base64,
    /// The same in the alphabet of URLs.
    Base64Url,
    /// Signed decimal numbers, as `debug_print_plan` shows constants.
    Decimal,
}

impl Form {
    const ALL: [Self; 6] =
        [Self::Plain, Self::Hex, Self::UpperHex, Self::Base64, Self::Base64Url, Self::Decimal];

    /// What stands in a text that holds `piece` in this form, whatever is around it.
    fn written(self, piece: &[u8]) -> Vec<Vec<u8>> {
        let aligned = |engine: &dyn Fn(&[u8]) -> String| {
            (0..3)
                .map(|offset| {
                    let text = engine(&[&[0; 2][..offset], piece].concat());
                    // without the characters at both ends that other bytes have a part in
                    text.as_bytes()[(offset * 8).div_ceil(6)..(offset + piece.len()) * 8 / 6].to_vec()
                })
                .collect()
        };
        match self {
            Self::Plain => vec![piece.to_vec()],
            Self::Hex => vec![hex::encode(piece).into_bytes()],
            Self::UpperHex => vec![hex::encode_upper(piece).into_bytes()],
            Self::Base64 => aligned(&|bytes| STANDARD.encode(bytes)),
            Self::Base64Url => aligned(&|bytes| URL_SAFE.encode(bytes)),
            Self::Decimal => {
                let numbers: Vec<String> = piece.iter().map(|&byte| byte.cast_signed().to_string()).collect();
                vec![format!(" {} ", numbers.join(" ")).into_bytes()]
            }
        }
    }
}

/// Something to be searched for.
#[derive(Clone, Debug)]
pub(super) struct Marker {
    pub name: String,
    pub planted: bool,
    bytes: Vec<u8>,
}

impl Marker {
    /// What to look for: each piece in each form.
    pub(super) fn patterns(&self) -> Vec<(Form, Vec<u8>)> {
        let of = |piece| {
            Form::ALL
                .into_iter()
                .flat_map(move |form| form.written(piece).into_iter().map(move |text| (form, text)))
        };
        self.pieces().flat_map(of).collect()
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let parts = if self.bytes.len() > LONG {
            vec![&self.bytes[..PIECE], &self.bytes[self.bytes.len() - PIECE..]]
        } else {
            vec![&self.bytes[..]]
        };
        parts.into_iter().flat_map(|part| {
            let count = part.len() / PIECE;
            (0..count).map(move |i| &part[i * part.len() / count..(i + 1) * part.len() / count])
        })
    }
}

/// Everything that is searched for.
#[derive(Clone, Debug, Default)]
pub struct Markers(pub(super) Vec<Marker>);

impl Markers {
    /// A new secret: 48 letters, which no encoding has to escape.
    pub fn secret(&mut self, name: impl Into<String>) -> String {
        let text = random();
        self.known(name, text.as_bytes());
        text
    }

    /// A secret that somebody else made.
    pub fn known(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.add(name.into(), bytes.into(), false);
    }

    /// A new text to be planted where the search has to find it.
    pub fn control(&mut self, name: impl Into<String>) -> String {
        let text = random();
        self.planted(name, text.as_bytes());
        text
    }

    /// A text that stands somewhere anyway, where the search has to find it.
    pub fn planted(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.add(name.into(), bytes.into(), true);
    }

    fn add(&mut self, name: String, bytes: Vec<u8>, planted: bool) {
        assert!(bytes.len() >= 2 * PIECE, "{name}: {} bytes are too few to be in pieces", bytes.len());
        self.0.push(Marker { name, planted, bytes });
    }
}

fn random() -> String {
    let mut bytes = [0; 24];
    openssl::rand::rand_bytes(&mut bytes).expect("OpenSSL always has random bytes");
    // not hexadecimal digits, whose own hexadecimal form has no letters and so no case
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| char::from(b'g' + half)).collect()
}
