//! What breaks a cluster, and what stands by for that.

use super::{Cluster, bin_directory, guardian, new_home};
use crate::process::{children, kill_family, run};
use anyhow::{Context, Result};
use std::fs;

impl Cluster {
    /// The process id of the server's first process.
    pub fn postmaster(&self) -> Result<i32> {
        let text = fs::read_to_string(self.data_dir().join("postmaster.pid"))?;
        text.lines().next().and_then(|pid| pid.parse().ok()).context("postmaster.pid names no process")
    }

    /// The processes that work for a login, as their titles say.
    pub fn backends(&self, login: &str) -> Result<Vec<i32>> {
        let title = format!("postgres: {login} ");
        Ok(children(self.postmaster()?)?
            .into_iter()
            // one that has just ended has no title, and is no backend any more
            .filter(|child| {
                fs::read(format!("/proc/{child}/cmdline"))
                    .is_ok_and(|text| text.starts_with(title.as_bytes()))
            })
            .collect())
    }

    /// Kills the first process, as when the machine runs out of memory, and waits until all others have ended.
    pub fn kill(&self) -> Result<()> {
        kill_family(self.postmaster()?)
    }

    /// A standby of this server that streams from it under this name.
    pub fn standby(&self, name: &str) -> Result<Self> {
        let (bin, home) = (bin_directory()?, new_home()?);
        let guardian = Some(guardian(&bin, &home)?);
        let standby = Self { home, bin, launcher: Vec::new(), _guardian: guardian };
        let mut backup = standby.server_command("pg_basebackup");
        backup.args([
            "--username=postgres",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            "--host",
        ]);
        run(backup.arg(self.socket_dir()).arg("--pgdata").arg(standby.data_dir()))?;
        standby.set("unix_socket_directories", &standby.socket_dir().to_string_lossy())?;
        standby.set("cluster_name", name)?;
        standby.start()?;
        Ok(standby)
    }

    /// Makes a standby the primary.
    pub fn promote(&self) -> Result<()> {
        self.pg_ctl(&["promote", "--wait"])
    }
}
