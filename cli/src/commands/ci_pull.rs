//! `lpm env pull --oidc`: one environment for a CI job, with the job's identity as its only credential.

use super::copy::encode;
use super::{Session, wait_for};
use crate::args::{EnvironmentArg, PullArgs};
use crate::ci_token::Source;
use crate::client::{self, Bearer, Client, Request};
use crate::error::{Error, Result};
use crate::output::Sink;
use lpm_core::environment::Vars;
use lpm_core::secret::Secret;
use lpm_core::wire::ExchangeRequest;
use reqwest::Method;
use serde::Deserialize;

/// Second line of the `.env` file, as the published client has it.
const ORIGIN: &str = "Pulled via OIDC CI escrow";

/// What the server answers.
#[derive(Deserialize)]
pub(crate) struct Pulled {
    /// The environment's name in the vault.
    pub env: String,
    /// Its variables.
    pub vars: Vars,
}

/// `lpm env pull --oidc`.
pub(crate) fn pull(session: &Session, args: &PullArgs) -> Result<()> {
    for (given, flag) in [(args.force, "--force"), (args.accept_legacy_key, "--accept-legacy-key")] {
        if given {
            return Err(Error::usage(format!("`{flag}` is for `lpm env pull` without `--oidc`")));
        }
    }
    let sink = Sink::new(&args.output, session.json())?;
    let pulled = fetch(session, &args.environment)?;
    sink.write(&pulled.env, ORIGIN, &pulled.vars)
}

/// Pulls in one step.
pub(crate) fn fetch(session: &Session, environment: &EnvironmentArg) -> Result<Pulled> {
    let vault_id = session.vault()?;
    let owner = session.owner(&vault_id)?;
    let env = session.asked_environment(environment)?;
    let client = session.client()?;
    let source = Source::find(client.audience())?;
    wait_for(async {
        let mut attempt = 1;
        loop {
            // A fresh token for every attempt, where the source can make one: one that was sent may be used up.
            let outcome = match source.token(&client, session.timeout()).await {
                Ok(token) => once(&client, &token, &vault_id, env.clone(), owner).await,
                Err(error) => Err(error),
            };
            let error = match outcome {
                Ok(body) => return client::typed(&body),
                Err(error) => error,
            };
            attempt += 1;
            match client::wait(&error, source.retry(), attempt) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    })
}

async fn once(
    client: &Client,
    token: &Secret,
    vault_id: &str,
    env: Option<String>,
    owner: Option<uuid::Uuid>,
) -> Result<Secret> {
    let oidc_token = token.expose_str().unwrap_or_default().to_owned();
    let body = ExchangeRequest { oidc_token, vault_id: vault_id.to_owned(), env, owner };
    let request = Request {
        method: Method::POST,
        path: &["api", "vault", "oidc", "pull"],
        query: &[],
        body: Some(encode(&body)?),
        bearer: Bearer::Nobody,
        retry: crate::client::Retry::Unsent,
    };
    client.once(&request).await
}
