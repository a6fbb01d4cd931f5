//! The floor: how many audit rows PostgreSQL commits one by one, with nothing else to do.

use crate::cluster::Cluster;
use crate::database::Database;
use crate::process::stdout_of;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What a grant writes, with values as long as those of a real one.
const INSERT: &str = "insert into bench_floor (request_id, action, decision, vault_id, owner_user_id, provider, issuer, repository, \
branch, workflow, event, run, sha, actor, environment, environments, policy_id, address, metadata) values (gen_random_uuid(), 'ci_pull', \
'granted', gen_random_uuid()::text, '0195e4c2-8c1e-7d4e-9a55-6d0a2f1b3c4d', 'github', 'https://token.actions.githubusercontent.com', \
'bench/app-1234', 'main', 'bench/app-1234/.github/workflows/deploy.yml@refs/heads/main', 'push', '17654321098', \
'0f1e2d3c4b5a69788796a5b4c3d2e1f001122334', 'monalisa', 'production', '{production}', '0195e4c2-8c1e-7d4e-9a55-6d0a2f1b3c4d', \
'127.0.0.1', '{\"subjectId\":\"456789\",\"ownerId\":\"123456\"}')\n";

/// pgbench over the socket, a table like `audit_log` with its indexes, one row per commit.
pub struct Floor {
    pgbench: PathBuf,
    database: Database,
    script: PathBuf,
}

impl Floor {
    /// Makes the table.
    pub async fn new(cluster: &Cluster, database: &Database) -> Result<Self> {
        let client = database.connect().await?;
        client.batch_execute("create table bench_floor (like lpm.audit_log including all)").await?;
        let script = cluster.home().join("floor.sql");
        fs::write(&script, INSERT)?;
        Ok(Self { pgbench: cluster.bin_dir().join("pgbench"), database: database.clone(), script })
    }

    /// Commits per second.
    pub fn measure(&self, clients: usize, time: Duration) -> Result<f64> {
        let mut pgbench = Command::new(&self.pgbench);
        pgbench
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
            .arg(format!("--client={clients}"))
            .arg(format!("--time={}", time.as_secs().max(1)))
            .arg(format!("--file={}", self.script.display()))
            .arg(format!("--host={}", self.database.socket_dir().display()))
            .args(["--username=postgres", self.database.name()]);
        let output = stdout_of(&mut pgbench)?;
        let tps =
            output.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        tps.with_context(|| format!("pgbench says no rate:\n{output}"))
    }
}
