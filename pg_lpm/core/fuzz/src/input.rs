//! Taking a target's input apart.

/// The separator of fields: a byte that no UTF-8 text holds.
const SEPARATOR: u8 = 0xFF;

/// Exactly `N` fields; missing ones are empty, and the last one is the rest, whatever it holds.
pub(crate) fn fields<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |byte| *byte == SEPARATOR);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// As [`fields`], where all of them are text.
pub(crate) fn texts<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let mut out = [""; N];
    for (slot, field) in out.iter_mut().zip(fields::<N>(data)) {
        *slot = std::str::from_utf8(field).ok()?;
    }
    Some(out)
}

/// All fields, where all of them are text.
pub(crate) fn all_texts(data: &[u8]) -> Option<Vec<&str>> {
    data.split(|byte| *byte == SEPARATOR).map(|field| std::str::from_utf8(field).ok()).collect()
}

/// Bytes that are taken one after the other; where they end, zeros follow.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Bytes<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        out[..taken.len()].copy_from_slice(taken);
        self.0 = rest;
        out
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
