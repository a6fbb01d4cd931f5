//! `lpm ci setup`: the workflow that pulls an environment, wired for this project.

use super::{Session, check_environment};
use crate::args::{SetupArgs, System};
use crate::error::{Error, Result};
use crate::output::{self, note, warn};
use uuid::Uuid;

/// The environment that CI mostly wants.
const ENVIRONMENT: &str = "production";

const GITHUB: &str = "\
name: Build
on: push
permissions:
  id-token: write
  contents: read
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-node@v4
        with:
          node-version: 22
      - name: Install LPM
        run: npm install -g @lpm-registry/cli
      - name: Decrypt secrets
        run: lpm env pull --oidc --env={env} --output=.env
        env:
{variables}      - name: Build
        run: npm run build
";

const GITLAB: &str = "\
build:
  stage: build
  image: node:22
  id_tokens:
    LPM_OIDC_TOKEN:
      aud: {audience}
  variables:
{variables}  script:
    - npm install -g @lpm-registry/cli
    - lpm env pull --oidc --env={env} --output=.env
    - npm run build
";

/// What a workflow needs to know.
struct Wiring<'a> {
    environment: &'a str,
    gateway: &'a str,
    vault: &'a str,
    owner: Option<Uuid>,
}

/// `lpm ci setup`.
pub(crate) fn setup(session: &Session, args: &SetupArgs) -> Result<()> {
    let asked = session.asked_environment(&args.environment)?;
    let environment = asked.unwrap_or_else(|| session.project.canonical(ENVIRONMENT));
    check_environment(&environment, "`--env`")?;
    let client = session.client()?;
    let vault = session.vault()?;
    let owner = session.owner(&vault)?;
    let wiring = Wiring { environment: &environment, gateway: client.audience(), vault: &vault, owner };
    let workflow = wiring.workflow(args.system)?;
    if owner.is_none() {
        warn("the vault's owner is not known before `lpm env push`, so LPM_VAULT_OWNER is left out");
    }
    if session.registry_url().starts_with("http://") {
        warn(
            "the gateway's address is this machine's own: set LPM_REGISTRY_URL to the one that CI can reach",
        );
    }
    if session.json() {
        return output::json(
            &serde_json::json!({ "success": true, "vaultId": vault, "env": environment, "workflow": workflow }),
        );
    }
    note(format!("the job needs a policy: `lpm env oidc allow {} --env={environment}`", args.system.who()));
    output::data(workflow.as_bytes())
}

impl System {
    /// The flags that say who may pull.
    fn who(self) -> &'static str {
        match self {
            Self::GithubActions => "--repo=OWNER/REPO",
            Self::Gitlab => "--provider=gitlab --project=GROUP/PROJECT",
        }
    }
}

impl Wiring<'_> {
    fn workflow(&self, system: System) -> Result<String> {
        let (template, indent) = match system {
            System::GithubActions => (GITHUB, 10),
            System::Gitlab => (GITLAB, 4),
        };
        let filled = template
            .replace("{env}", self.environment)
            .replace("{audience}", &scalar("LPM_REGISTRY_URL", self.gateway)?)
            .replace("{variables}", &self.variables(indent)?);
        Ok(filled)
    }

    fn variables(&self, indent: usize) -> Result<String> {
        let owner = self.owner.map(|owner| owner.to_string());
        let lines = [
            ("LPM_REGISTRY_URL", Some(self.gateway)),
            ("LPM_VAULT_ID", Some(self.vault)),
            ("LPM_VAULT_OWNER", owner.as_deref()),
        ];
        let known = lines.into_iter().filter_map(|(name, value)| Some((name, value?)));
        known.map(|(name, value)| Ok(format!("{:indent$}{name}: {}\n", "", scalar(name, value)?))).collect()
    }
}

/// A value as YAML: plain where nothing in it means something, else quoted. What the CI system would
/// expand, within quotes too, is refused.
fn scalar(name: &str, value: &str) -> Result<String> {
    if value.contains('$') || value.chars().any(char::is_control) {
        return Err(Error::usage(format!("{name} cannot stand in a workflow: CI systems expand `$`")));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/:".contains(&b);
    let address = value.starts_with("http") && value.contains("://") && !value.ends_with(':');
    if (address || Uuid::parse_str(value).is_ok_and(|_| value.contains('-'))) && value.bytes().all(plain) {
        return Ok(value.to_owned());
    }
    Ok(format!("'{}'", value.replace('\'', "''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: &str = "0192f0c4-7b1e-4c3a-9c55-3f6a5d0f7a11";

    fn wiring() -> Wiring<'static> {
        let owner = Some(Uuid::parse_str("0192f0c4-0000-4000-8000-000000000001").expect("a uuid"));
        Wiring { environment: "staging", gateway: "https://lpm.example.com", vault: VAULT, owner }
    }

    #[test]
    fn github_gets_the_promised_workflow_and_three_variables() {
        assert_eq!(
            wiring().workflow(System::GithubActions).expect("it can be written"),
            "\
name: Build
on: push
permissions:
  id-token: write
  contents: read
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-node@v4
        with:
          node-version: 22
      - name: Install LPM
        run: npm install -g @lpm-registry/cli
      - name: Decrypt secrets
        run: lpm env pull --oidc --env=staging --output=.env
        env:
          LPM_REGISTRY_URL: https://lpm.example.com
          LPM_VAULT_ID: 0192f0c4-7b1e-4c3a-9c55-3f6a5d0f7a11
          LPM_VAULT_OWNER: 0192f0c4-0000-4000-8000-000000000001
      - name: Build
        run: npm run build
"
        );
    }

    #[test]
    fn gitlab_gets_a_token_for_this_gateway() {
        assert_eq!(
            wiring().workflow(System::Gitlab).expect("it can be written"),
            "\
build:
  stage: build
  image: node:22
  id_tokens:
    LPM_OIDC_TOKEN:
      aud: https://lpm.example.com
  variables:
    LPM_REGISTRY_URL: https://lpm.example.com
    LPM_VAULT_ID: 0192f0c4-7b1e-4c3a-9c55-3f6a5d0f7a11
    LPM_VAULT_OWNER: 0192f0c4-0000-4000-8000-000000000001
  script:
    - npm install -g @lpm-registry/cli
    - lpm env pull --oidc --env=staging --output=.env
    - npm run build
"
        );
    }

    #[test]
    fn an_unknown_owner_is_left_out() {
        let wiring = Wiring { owner: None, ..wiring() };
        assert!(!wiring.workflow(System::Gitlab).expect("it can be written").contains("LPM_VAULT_OWNER"));
    }

    #[test]
    fn an_odd_vault_id_is_quoted_or_refused() {
        for (id, yaml) in
            [("it's: #1", "'it''s: #1'"), ("true", "'true'"), ("123", "'123'"), ("-x", "'-x'"), ("", "''")]
        {
            assert_eq!(scalar("LPM_VAULT_ID", id).expect("it can be written"), yaml);
        }
        for id in ["${{ github.token }}", "$HOME", "a\nb: c"] {
            assert!(scalar("LPM_VAULT_ID", id).is_err(), "{id:?}");
        }
    }
}
