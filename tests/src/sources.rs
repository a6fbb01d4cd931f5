//! The product's own sources, for tests that must not forget a route or a function.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Everything under `gateway/src/routes`, one text.
pub fn routes() -> Result<String> {
    directory("../gateway/src/routes")
}

/// Everything in `pg_lpm/src`, one text.
pub fn extension() -> Result<String> {
    directory("../pg_lpm/src")
}

fn directory(path: &str) -> Result<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut text = String::new();
    for file in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let path = file?.path();
        if path.is_file() {
            text.push_str(&fs::read_to_string(path)?);
        }
    }
    Ok(text)
}
