//! Where the binaries of the product are, built from the sources as they stand.

use crate::process::run;
use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Each binary that the harness runs, and the package that it is built from.
const BINARIES: [(&str, &str); 3] =
    [("lpm", "lpm-cli"), ("lpm-gateway", "lpm-gateway"), ("lpm-test-issuer", "lpm-tests")];

/// The path of one of the binaries.
///
/// `LPM_BIN_DIR` names a directory of finished ones. Without it they are built first: cargo does not know
/// that the tests run them, and a test of yesterday's gateway proves nothing.
pub fn path(name: &str) -> Result<PathBuf> {
    let directory = location()?;
    if finished().is_none() {
        build(name, &directory)?;
    }
    Ok(directory.join(name))
}

/// The directory with all of them.
pub fn directory() -> Result<PathBuf> {
    for (name, _) in BINARIES {
        path(name)?;
    }
    location()
}

fn finished() -> Option<&'static Path> {
    static FINISHED: OnceLock<Option<PathBuf>> = OnceLock::new();
    FINISHED.get_or_init(|| std::env::var_os("LPM_BIN_DIR").map(PathBuf::from)).as_deref()
}

fn location() -> Result<PathBuf> {
    if let Some(directory) = finished() {
        return std::path::absolute(directory).context("LPM_BIN_DIR");
    }
    // target/debug, or target/debug/deps when this is a test
    let executable = std::env::current_exe()?;
    let directory = executable.parent().context("the executable is in no directory")?;
    let parent = directory.parent().filter(|_| directory.ends_with("deps"));
    Ok(parent.unwrap_or(directory).to_owned())
}

/// Builds a binary, once per process.
fn build(name: &str, directory: &Path) -> Result<()> {
    static BUILT: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_default();
    if built.contains(name) {
        return Ok(());
    }
    let Some((_, package)) = BINARIES.iter().find(|(binary, _)| *binary == name) else {
        bail!("there is no binary `{name}`");
    };
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .args(["build", "--quiet", "--package", package, "--bin", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if directory.ends_with("release") {
        build.arg("--release");
    }
    run(&mut build)?;
    built.insert(name.to_owned());
    Ok(())
}
