//! A search for secrets in what programs leave behind: logs, tables, files, memory.
//!
//! A marker is a secret, or a text that was planted to see whether the search would find one. Each is
//! searched as it stands and in every [`Form`] that logs, dumps and files give to bytes; and in pieces, because
//! a log cuts long values, a page ends every 8 KiB, and half a secret is a leak too.

mod marker;

pub use marker::{Form, Markers};

use aho_corasick::AhoCorasick;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How much is read at once.
const CHUNK: usize = 4 << 20;

/// Where and in which form a marker was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// The place, as the search was told.
    pub place: String,
    /// The marker's name.
    pub marker: String,
    /// The form.
    pub form: Form,
}

/// The first of the same hits, and how many there are.
#[derive(Clone, Debug)]
struct Trace {
    count: usize,
    offset: u64,
    around: String,
    planted: bool,
}

/// A search under way.
pub struct Search {
    automaton: AhoCorasick,
    /// Of each pattern: the index of its marker, and the form.
    patterns: Vec<(usize, Form)>,
    longest: usize,
    buffer: Vec<u8>,
    markers: Markers,
    found: BTreeMap<Hit, Trace>,
    searched: BTreeMap<String, (u64, Duration)>,
}

impl Search {
    /// Prepares to search for these.
    pub fn new(markers: &Markers) -> Result<Self> {
        let mut texts = Vec::new();
        let mut patterns = Vec::new();
        let mut known = HashSet::new();
        for (index, marker) in markers.0.iter().enumerate() {
            for (form, text) in marker.patterns() {
                // all tokens of a key begin alike, and the two alphabets of base64 differ rarely
                if known.insert(text.clone()) {
                    texts.push(text);
                    patterns.push((index, form));
                }
            }
        }
        let longest = texts.iter().map(Vec::len).max().unwrap_or(1);
        let automaton = AhoCorasick::new(&texts)?;
        let buffer = vec![0; CHUNK + longest];
        let (markers, found, searched) = (markers.clone(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { automaton, patterns, longest, buffer, markers, found, searched })
    }

    /// Searches bytes.
    pub fn bytes(&mut self, place: &str, bytes: &[u8]) {
        let began = Instant::now();
        self.look(place, bytes, 0, 0);
        self.note(place, bytes.len() as u64, began);
    }

    /// Searches a file.
    pub fn file(&mut self, place: &str, path: &Path) -> Result<()> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        self.reader(place, file)
    }

    /// Searches every file below a directory; each is a place of its own, `place` and then its path.
    pub fn directory(&mut self, place: &str, directory: &Path) -> Result<()> {
        for entry in
            fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?
        {
            let entry = entry?;
            let (kind, place) =
                (entry.file_type()?, format!("{place}/{}", entry.file_name().to_string_lossy()));
            if kind.is_dir() {
                self.directory(&place, &entry.path())?;
            } else if kind.is_file() {
                self.file(&place, &entry.path())?;
            }
        }
        Ok(())
    }

    /// Searches the memory of a process of ours: what a core dump of it would hold.
    pub fn memory(&mut self, place: &str, pid: u32) -> Result<()> {
        let maps = File::open(format!("/proc/{pid}/maps"))?;
        let memory = File::open(format!("/proc/{pid}/mem")).context("the process is undumpable")?;
        for line in BufReader::new(maps).lines() {
            let line = line?;
            let mut fields = line.split_ascii_whitespace();
            let (range, rights) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            // what the kernel maps for itself cannot be read this way
            if !rights.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
                continue;
            }
            let (from, to) = range.split_once('-').with_context(|| format!("no range: {line}"))?;
            let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
            self.reader(place, Region { memory: &memory, from, to })?;
        }
        Ok(())
    }

    /// Searches whatever can be read.
    pub fn reader(&mut self, place: &str, mut reader: impl Read) -> Result<()> {
        let began = Instant::now();
        let mut buffer = std::mem::take(&mut self.buffer);
        let (mut base, mut kept) = (0_u64, 0);
        loop {
            let mut end = kept;
            while end < buffer.len() {
                match reader.read(&mut buffer[end..]).with_context(|| format!("cannot read {place}"))? {
                    0 => break,
                    count => end += count,
                }
            }
            if end == kept {
                break;
            }
            self.look(place, &buffer[..end], kept, base);
            // what begins here may end in the next read
            kept = end.min(self.longest - 1);
            buffer.copy_within(end - kept..end, 0);
            base += (end - kept) as u64;
        }
        self.buffer = buffer;
        self.note(place, base + kept as u64, began);
        Ok(())
    }

    /// Searches bytes, of which the first `seen` were searched before; `base` is where in the place they begin.
    fn look(&mut self, place: &str, bytes: &[u8], seen: usize, base: u64) {
        for hit in self.automaton.find_iter(bytes).filter(|hit| hit.end() > seen) {
            let (index, form) = self.patterns[hit.pattern().as_usize()];
            let marker = &self.markers.0[index];
            let key = Hit { place: place.to_owned(), marker: marker.name.clone(), form };
            let around = &bytes[hit.start().saturating_sub(160)..bytes.len().min(hit.end() + 40)];
            let trace = self.found.entry(key).or_insert_with(|| Trace {
                count: 0,
                offset: base + hit.start() as u64,
                around: around.escape_ascii().to_string(),
                planted: marker.planted,
            });
            trace.count += 1;
        }
    }

    fn note(&mut self, place: &str, length: u64, began: Instant) {
        let kind = place.split('/').next().unwrap_or_default().to_owned();
        let (bytes, time) = self.searched.entry(kind).or_default();
        *bytes += length;
        *time += began.elapsed();
    }

    /// Whether a marker stands in this form in a place, or below it.
    #[must_use]
    pub fn has(&self, place: &str, marker: &str, form: Form) -> bool {
        self.found.keys().any(|hit| {
            let below = hit.place.strip_prefix(place);
            hit.marker == marker
                && hit.form == form
                && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The secrets that were found, each place and form on a line; nothing where all is well.
    #[must_use]
    pub fn leaks(&self) -> String {
        let mut out = String::new();
        for (hit, trace) in self.found.iter().filter(|(_, trace)| !trace.planted) {
            let Hit { place, marker, form } = hit;
            let Trace { count, offset, around, .. } = trace;
            let _ =
                writeln!(out, "{marker} as {form:?} in {place}, {count} times, first at {offset}: {around}");
        }
        out
    }
}

impl fmt::Display for Search {
    /// What was searched, and how many planted markers and secrets were in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "searched for {} markers in {} patterns", self.markers.0.len(), self.patterns.len())?;
        for (kind, (bytes, time)) in &self.searched {
            let hits = |planted| {
                let here = |hit: &Hit| hit.place.split('/').next() == Some(kind);
                self.found.iter().filter(|(hit, trace)| here(hit) && trace.planted == planted).count()
            };
            let (mib, time) = (*bytes as f64 / 1_048_576.0, time.as_secs_f64());
            writeln!(
                f,
                "{mib:9.1} MiB {time:6.1} s  {kind}: {} planted, {} secret",
                hits(true),
                hits(false)
            )?;
        }
        Ok(())
    }
}

/// A part of a process's memory.
struct Region<'m> {
    memory: &'m File,
    from: u64,
    to: u64,
}

impl Read for Region<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.to - self.from).unwrap_or(usize::MAX));
        match self.memory.read_at(&mut buffer[..length], self.from) {
            Ok(count) => {
                self.from += count as u64;
                Ok(count)
            }
            // given back since its line was read: it holds nothing
            Err(_) => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests;
