//! The gateway's own sources, for tests that must not forget a route.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Everything under `gateway/src/routes`, one text.
pub fn routes() -> Result<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/src/routes");
    let mut text = String::new();
    for file in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        text.push_str(&fs::read_to_string(file?.path())?);
    }
    Ok(text)
}
