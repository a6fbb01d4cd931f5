//! Where the binaries of the product are, built from the sources as they stand.

use crate::process::run;
use anyhow::{Context, Result, anyhow};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The packages whose binaries the harness runs.
const PACKAGES: [&str; 3] = ["lpm-gateway", "lpm-cli", "lpm-tests"];

/// The path of `lpm`, `lpm-gateway` or `lpm-test-issuer`.
pub fn path(name: &str) -> Result<PathBuf> {
    Ok(directory()?.join(name))
}

/// The directory with all of them.
///
/// `LPM_BIN_DIR` names one with finished binaries. Without it they are built first: cargo does
/// not know that the tests run them, and a test of yesterday's gateway proves nothing.
pub fn directory() -> Result<&'static Path> {
    static DIRECTORY: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    DIRECTORY
        .get_or_init(|| locate().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow!("no binaries to test: {error}"))
}

fn locate() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("LPM_BIN_DIR") {
        return std::path::absolute(directory).context("LPM_BIN_DIR");
    }
    let executable = std::env::current_exe()?;
    let directory = executable
        .ancestors()
        .skip(1)
        .find(|dir| dir.file_name().is_some_and(|name| name != "deps" && name != "examples"))
        .context("the test is in no directory")?
        .to_owned();
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--bins"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    if directory.ends_with("release") {
        build.arg("--release");
    }
    run(&mut build)?;
    Ok(directory)
}
