//! A disk that can be filled: a small tmpfs under a part of a cluster.

use super::{Cluster, give_to_server, is_root};
use crate::process::run;
use anyhow::{Result, ensure};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;

/// Which part of a cluster has a disk of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Tables, indexes and transaction state; the WAL lies elsewhere.
    Data,
    /// The WAL alone.
    Wal,
}

impl Disk {
    fn directory(self, cluster: &Cluster) -> PathBuf {
        cluster.home().join(if self == Self::Data { "data" } else { "wal" })
    }

    /// Mounts it, and says what `initdb` has to be told.
    pub(super) fn mount(self, cluster: &Cluster) -> Result<Vec<String>> {
        ensure!(is_root(), "a disk of its own has to be mounted, so this test needs root");
        let directory = self.directory(cluster);
        fs::create_dir_all(&directory)?;
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=96m,mode=0700", "tmpfs"])
            .arg(&directory))?;
        give_to_server(&directory)?;
        // elsewhere than in the data directory; small segments, so that another is needed soon
        Ok(vec![format!("--waldir={}", Self::Wal.directory(cluster).display()), "--wal-segsize=1".to_owned()])
    }

    /// Takes all space that is left.
    pub fn fill(self, cluster: &Cluster) -> Result<()> {
        let mut balloon = File::create(self.directory(cluster).join("balloon"))?;
        // in ever smaller bites, to the last byte
        for size in [1 << 20, 1 << 12, 1] {
            let bite = vec![0xA5; size];
            loop {
                match balloon.write_all(&bite) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Gives the space back.
    pub fn free(self, cluster: &Cluster) -> Result<()> {
        Ok(fs::remove_file(self.directory(cluster).join("balloon"))?)
    }
}
