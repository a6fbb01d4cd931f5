//! The developer's part: secrets into the vault, ciphertext to the server, one door for CI.

use super::ci::ALLOW;
use super::{PRODUCTION, REPOSITORY, STAGING, Story};
use anyhow::{Result, ensure};

impl Story {
    pub(super) fn developer(&mut self) -> Result<()> {
        self.step("`lpm env set` and `lpm env push`", self.push())?;
        self.step("what the server stores", self.ciphertext())?;
        self.step("`lpm env oidc allow`", self.allow())
    }

    fn push(&self) -> Result<String> {
        for (name, value) in PRODUCTION {
            self.laptop.lpm(["env", "set", &format!("{name}={value}"), "--env=production"])?.ok()?;
        }
        let (name, value) = STAGING;
        self.laptop.lpm(["env", "set", &format!("{name}={value}"), "--env=staging"])?.ok()?;
        self.laptop.lpm(["env", "push"])?.ok()?;
        let vault = self.laptop.vault_id()?;
        let version = self
            .stack
            .database()
            .value(&format!("select version from lpm.vault_sync where vault_id = '{vault}'"))?;
        ensure!(version == "1", "the server has version `{version}`");
        Ok(format!("production and staging pushed as version 1 of vault {vault}"))
    }

    fn ciphertext(&self) -> Result<String> {
        let vault = self.laptop.vault_id()?;
        let database = self.stack.database();
        let row = database
            .value(&format!("select row_to_json(v) from lpm.vault_sync v where vault_id = '{vault}'"))?;
        for (_, value) in PRODUCTION.iter().chain([&STAGING]) {
            ensure!(!row.contains(value), "the row contains `{value}`");
        }
        let start = database.value(&format!(
            "select left(encrypted_blob, 48) from lpm.vault_sync where vault_id = '{vault}'"
        ))?;
        Ok(format!("encrypted_blob = {start}… (no value of yours is in the row)"))
    }

    fn allow(&self) -> Result<String> {
        let outcome = self.laptop.lpm(ALLOW)?.ok()?;
        let listed = self.laptop.lpm(["env", "oidc", "list"])?.ok()?;
        ensure!(listed.stdout.contains(REPOSITORY), "`oidc list` does not show it:\n{}", listed.stdout);
        Ok(outcome.stdout)
    }
}
