//! The same pulls in a small database and in a large one: a million vaults, ten million audit rows.

use crate::pulls::{Runner, Turns};
use anyhow::Result;
use lpm_tests::bench::floor::Floor;
use lpm_tests::bench::report::{Report, median};
use lpm_tests::bench::world::{World, settle};

/// Vaults that are pulled, before and after.
const PULLED: usize = 10_000;

/// What stands beside the vaults that are pulled: copies of one of them under other ids, which nobody could open.
const VAULTS: [&str; 4] = [
    "insert into lpm.vault_claim (vault_id, user_id, pushed)
     select 'scale-' || n, c.user_id, true from lpm.vault_claim c, generate_series(1, $1::bigint) n where c.vault_id = 'bench-0000000'",
    "insert into lpm.vault_sync (vault_id, user_id, version, encrypted_blob, wrapped_key, blob_sha256, ci_escrow_wrapping_key, escrow_kind, name)
     select 'scale-' || n, v.user_id, v.version, v.encrypted_blob, v.wrapped_key, v.blob_sha256, v.ci_escrow_wrapping_key, v.escrow_kind, v.name
       from lpm.vault_sync v, generate_series(1, $1::bigint) n where v.vault_id = 'bench-0000000'",
    "insert into lpm.oidc_policy (vault_id, user_id, issuer, subject, document, document_sha256, author)
     select 'scale-' || n, p.user_id, p.issuer, 'repo:bench/scale-' || n, p.document, p.document_sha256, p.author
       from lpm.oidc_policy p, generate_series(1, $1::bigint) n where p.vault_id = 'bench-0000000'",
    "insert into lpm.oidc_subject_pin (vault_id, holder, issuer, subject, subject_id, owner_id, pinned_at)
     select 'scale-' || n, p.holder, p.issuer, 'repo:bench/scale-' || n, n::text, p.owner_id, p.pinned_at
       from lpm.oidc_subject_pin p, generate_series(1, $1::bigint) n where p.vault_id = 'bench-0000000'",
];

/// Grants of the last months.
const AUDIT: &str = "insert into lpm.audit_log (request_id, transaction_id, created_at, action, decision, vault_id, owner_user_id, provider, issuer,
            repository, branch, workflow, event, run, sha, actor, environment, environments, policy_id, address, metadata)
     select gen_random_uuid(), '3', clock_timestamp() - n * interval '1 second', 'ci_pull', 'granted', 'scale-' || n % 1000000, p.user_id, 'github',
            p.issuer, 'bench/scale-' || n % 1000000, 'main', 'bench/scale/.github/workflows/deploy.yml@refs/heads/main', 'push', n::text,
            '0f1e2d3c4b5a69788796a5b4c3d2e1f001122334', 'monalisa', 'production', '{production}', p.id, '127.0.0.1',
            '{\"subjectId\":\"456789\",\"ownerId\":\"123456\"}'
       from (select * from lpm.oidc_policy where vault_id = 'bench-0000000' limit 1) p, generate_series(1, $1::bigint) n";

#[derive(clap::Args)]
pub(crate) struct Plan {
    /// Before and after.
    #[command(flatten)]
    turns: Turns,
    /// How many vaults there are after
    #[arg(long, default_value_t = 1_000_000)]
    vaults: usize,
    /// How many audit rows are added
    #[arg(long, default_value_t = 10_000_000)]
    audit_rows: i64,
}

impl Plan {
    pub(crate) async fn measure(&self) -> Result<Report> {
        let world = World::new(PULLED).await?;
        let floor = Floor::new(world.cluster(), world.database()).await?;
        let mut report = Report::default();
        let small = self.ratio(&world, &floor)?;
        report.add("scale_small_one_step_per_floor", small, "");
        eprintln!("making {} vaults and {} audit rows", self.vaults, self.audit_rows);
        let client = world.database().connect().await?;
        for sql in VAULTS {
            client.execute(sql, &[&i64::try_from(self.vaults - PULLED)?]).await?;
        }
        client.execute(AUDIT, &[&self.audit_rows]).await?;
        settle(world.database()).await?;
        let large = self.ratio(&world, &floor)?;
        report.add("scale_large_one_step_per_floor", large, "");
        report.add("scale_small_per_large", small / large, "");
        Ok(report)
    }

    fn ratio(&self, world: &World, floor: &Floor) -> Result<f64> {
        let mut runner = Runner::new(world, self.turns.time());
        runner.slice(floor)?;
        let mut ratios = Vec::new();
        for _ in 0..self.turns.slices {
            let slice = runner.slice(floor)?;
            eprintln!("floor {:.0}, one step {:.0}", slice.floor, slice.one_step);
            ratios.push(slice.one_step / slice.floor);
        }
        Ok(median(ratios))
    }
}
