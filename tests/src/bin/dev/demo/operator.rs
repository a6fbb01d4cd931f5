//! The DBA's part: the audit trail, and the reason of one denial.

use super::{REPOSITORY, Story};
use anyhow::{Result, ensure};
use serde_json::json;

/// Every audited attempt of CI, as the dashboard's view has it.
const ATTEMPTS: &str = "lpm_dashboard.audit where action in ('ci_exchange', 'ci_pull')";

impl Story {
    pub(super) fn operator(&mut self) -> Result<()> {
        self.step("select … from lpm_dashboard.audit", self.audit())?;
        let columns = "to_char(created_at, 'HH24:MI:SS') as at, provider, repo, event, branch, \
                       split_part(split_part(workflow, '/workflows/', 2), '@', 1) as workflow, environment, decision, reason";
        self.console
            .block(&self.stack.database().table(&format!("select {columns} from {ATTEMPTS} order by id"))?);
        let claims = json!({ "repository": REPOSITORY, "event_name": "push", "ref": "refs/heads/feature/x" });
        let explain = format!(
            r#"select "check", expected, actual, ok from lpm.explain('{}', claims => '{claims}', environment => 'production')"#,
            self.laptop.vault_id()?
        );
        self.step("select * from lpm.explain(…) for the push to feature/x", self.explained(&explain))?;
        self.console.block(&self.stack.database().table(&explain)?);
        Ok(())
    }

    fn audit(&self) -> Result<String> {
        let rows = self
            .stack
            .database()
            .value(&format!("select decision || ' ' || coalesce(reason, '') from {ATTEMPTS} order by id"))?;
        let rows: Vec<_> = rows.lines().map(str::trim_end).collect();
        let expected: Vec<_> =
            self.attempts.iter().map(|(decision, reason)| format!("{decision} {reason}")).collect();
        let expected: Vec<_> = expected.iter().map(|row| row.trim_end()).collect();
        ensure!(rows == expected, "the audit trail is\n{rows:#?}\ninstead of\n{expected:#?}");
        Ok(format!(
            "{} attempts, {} of them granted",
            rows.len(),
            rows.iter().filter(|&&row| row == "granted").count()
        ))
    }

    fn explained(&self, explain: &str) -> Result<String> {
        let differs =
            self.stack.database().value(&format!("select actual from ({explain}) e where not ok"))?;
        ensure!(differs.contains("feature/x"), "nothing that differs names the branch:\n{differs}");
        Ok("what differs is in the rows that are not ok".to_owned())
    }
}
