//! The inputs that fuzzing has kept, as plain tests: no nightly, no libFuzzer.
//!
//! `corpus/<target>/` holds what covers the code, each named by its hash; `regressions/<target>/` holds what
//! broke a promise once, each named by what it broke.

#![allow(clippy::unwrap_used, reason = "tests")]

use lpm_fuzz::{TARGETS, values};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every file of a folder, in the order of the names; none where there is no folder.
fn inputs(folder: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn folders(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_kept_input_keeps_every_promise() {
    let mut broken = Vec::new();
    for (target, run) in TARGETS {
        let corpus = inputs("corpus", target);
        assert!(corpus.len() >= 10, "`{target}` has {} kept inputs", corpus.len());
        for (path, input) in corpus.iter().chain(&inputs("regressions", target)) {
            if catch_unwind(|| run(input)).is_err() {
                broken.push(path.clone());
            }
        }
        // Nothing at all is an input too.
        run(b"");
    }
    assert_eq!(broken, Vec::<PathBuf>::new());
}

#[test]
fn every_folder_and_program_belongs_to_a_target() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(folders("corpus"), targets);
    assert!(folders("regressions").is_subset(&targets));
    let programs: BTreeSet<String> =
        folders("fuzz_targets").iter().map(|file| file.replace(".rs", "")).collect();
    assert_eq!(programs, targets);
    for target in &targets {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz_targets/{target}.rs"));
        assert!(std::fs::read_to_string(source).unwrap().contains(&format!("lpm_fuzz::{target}(data)")));
    }
}

/// What the target `render` checks with a reader of its own, for every kept value at once.
#[test]
fn a_real_shell_reads_back_every_kept_value() {
    use lpm_core::dotenv::{Format, render};
    use lpm_core::environment::Text;

    let files = [inputs("corpus", "render"), inputs("regressions", "render")].concat();
    let all: BTreeSet<&str> =
        files.iter().flat_map(|(_, input)| values(input)).filter(|value| !value.contains('\0')).collect();
    assert!(all.len() >= 40, "{} values", all.len());
    let named: BTreeMap<String, Text> =
        all.iter().enumerate().map(|(n, value)| (format!("V{n:05}"), Text::from(*value))).collect();
    let exports = render(Format::Shell, "", &named, "").unwrap();

    let prints: String = named.keys().map(|name| format!("printf '%s\\0' \"${name}\"\n")).collect();

    // Through standard input, because one argument holds 128 KiB at most.
    let mut shell = Command::new("sh")
        .args(["-c", "eval \"$(cat)\""])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    input.write_all(exports.expose()).unwrap();
    input.write_all(prints.as_bytes()).unwrap();
    drop(input);
    let output = shell.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let read = String::from_utf8(output.stdout).unwrap();
    let read: Vec<&str> = read.split_terminator('\0').collect();
    assert_eq!(read, all.into_iter().collect::<Vec<_>>());
}
