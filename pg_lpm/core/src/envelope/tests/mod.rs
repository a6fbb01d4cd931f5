//! What an envelope must be, and what it must refuse.

#![allow(clippy::unwrap_used, reason = "tests")]

mod escrow;
mod forms;
mod primitives;

use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

fn secret(bytes: &[u8]) -> Secret {
    Secret::new(bytes.to_vec())
}

/// The text with each of its characters replaced by another one, one at a time.
fn one_character_changed(text: &str) -> impl Iterator<Item = String> {
    text.char_indices().map(|(at, c)| {
        let other = if c == 'A' { 'B' } else { 'A' };
        format!("{}{other}{}", &text[..at], &text[at + c.len_utf8()..])
    })
}

/// The text with each bit behind its base64 fields flipped, one at a time; `fields` are those that are
/// base64, the first field is 0.
fn one_bit_flipped(text: &str, separator: char, fields: &[usize]) -> Vec<String> {
    let parts: Vec<&str> = text.split(separator).collect();
    let mut out = Vec::new();
    for &field in fields {
        let bytes = STANDARD.decode(parts[field]).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let encoded = STANDARD.encode(flipped);
            let mut parts = parts.clone();
            parts[field] = &encoded;
            out.push(parts.join(&separator.to_string()));
        }
    }
    out
}
