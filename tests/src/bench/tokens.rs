//! Tokens that are minted before a measurement: one body of a request per line, one file per thread of the generator.

use super::world::{ENVIRONMENT, World};
use crate::issuer::TokenRequest;
use anyhow::Result;
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// Files `<name>.<number>` with bodies of `POST /api/vault/oidc/pull` and `POST /api/vault/oidc`.
pub struct Bodies {
    base: PathBuf,
    files: usize,
}

impl Bodies {
    /// Mints `count` tokens or a few more, each for a vault of its own, chosen in an order that repeats late.
    pub fn mint(world: &World, name: &str, files: usize, count: usize) -> Result<Self> {
        let (base, each) = (world.directory().join(name), count.div_ceil(files));
        let minters = 2.min(files);
        thread::scope(|scope| {
            let handles: Vec<_> = (0..minters)
                .map(|minter| {
                    let base = &base;
                    scope.spawn(move || -> Result<()> {
                        for number in (minter..files).step_by(minters) {
                            write(world, &file(base, number), number * each, each)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            handles.into_iter().try_for_each(|handle| handle.join().expect("minting does not panic"))
        })?;
        Ok(Self { base, files })
    }

    /// The path without the number.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// How many files there are.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files
    }
}

impl Drop for Bodies {
    fn drop(&mut self) {
        for number in 0..self.files {
            let _ = std::fs::remove_file(file(&self.base, number));
        }
    }
}

fn file(base: &Path, number: usize) -> PathBuf {
    base.with_added_extension(number.to_string())
}

fn write(world: &World, path: &Path, first: usize, count: usize) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for number in first..first + count {
        let vault = world.vault(number);
        let request = TokenRequest::github()
            .repository(&vault.repository)
            .branch("main")
            .claim("repository_id", vault.repository_id.as_str())
            .claim("repository_owner_id", super::world::OWNER_ID)
            .claim("aud", world.gateway().url());
        let token = world.issuer().mint(&request)?;
        let body = json!({ "oidcToken": token, "vaultId": vault.id, "env": ENVIRONMENT });
        writeln!(file, "{body}")?;
    }
    Ok(file.flush()?)
}
