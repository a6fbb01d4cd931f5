//! A job's request in SQL: claims that nobody signed, as the gateway hands them over once a signature holds.

use crate::database::Database;
use crate::escrowed::{answer, claims};
use anyhow::Result;
use serde_json::{Map, Value};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// A job and what it asks for; its token is fresh, and used up with the first request.
#[derive(Clone, Debug)]
pub struct Job {
    issuer: String,
    claims: Map<String, Value>,
    environment: Option<String>,
    owner: Option<Uuid>,
}

/// What a request met.
#[derive(Debug)]
pub struct Met {
    /// The request's id.
    pub request: Uuid,
    /// The status.
    pub status: i32,
    /// The body.
    pub body: Value,
}

impl Job {
    /// A push to `main` of `acme/web` (id 42 of owner 7) that asks for `production`.
    #[must_use]
    pub fn of(issuer: &str) -> Self {
        let claims = serde_json::from_slice(&claims(issuer, "main")).expect("the claims are an object");
        Self { issuer: issuer.to_owned(), claims, environment: Some("production".to_owned()), owner: None }
    }

    /// A push to `main` of a GitLab project, that of the job and that of the pipeline alike.
    #[must_use]
    pub fn gitlab(issuer: &str, path: &str, id: &str) -> Self {
        let job = Self::of(issuer)
            .claim("pipeline_id", "1")
            .claim("job_id", "1")
            .claim("pipeline_source", "push")
            .claim("ref", "main")
            .claim("ref_path", "refs/heads/main");
        ["project", "job_project"].into_iter().fold(job, |job, project| {
            job.claim(&format!("{project}_path"), path).claim(&format!("{project}_id"), id)
        })
    }

    /// Sets a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// The repository, as `owner/name`, and the id behind it.
    #[must_use]
    pub fn repository(self, name: &str, id: &str) -> Self {
        self.claim("repository", name).claim("repository_id", id)
    }

    /// The branch.
    #[must_use]
    pub fn branch(self, name: &str) -> Self {
        self.claim("ref", format!("refs/heads/{name}"))
    }

    /// The environment asked for.
    #[must_use]
    pub fn environment(mut self, name: &str) -> Self {
        self.environment = Some(name.to_owned());
        self
    }

    /// The owner that the job's `lpm.json` names.
    #[must_use]
    pub fn owner(mut self, id: Uuid) -> Self {
        self.owner = Some(id);
        self
    }

    /// The claims as bytes.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        Value::Object(self.claims.clone()).to_string().into_bytes()
    }

    /// Asks for a decision about a one-step pull.
    pub async fn decide(&self, client: &Client, vault_id: &str) -> Result<Met> {
        let (request, none) = (Uuid::now_v7(), None::<&str>);
        let arguments: [&(dyn ToSql + Sync); 7] =
            [&request, &none, &self.issuer, &self.payload(), &vault_id, &self.environment, &self.owner];
        Ok(Met::of(request, answer(client, "decide", &arguments).await?))
    }

    /// Asks for a token with this hash in exchange.
    pub async fn exchange(&self, client: &Client, vault_id: &str, hash: &[u8]) -> Result<Met> {
        let (request, none) = (Uuid::now_v7(), None::<&str>);
        let arguments: [&(dyn ToSql + Sync); 8] = [
            &request,
            &none,
            &self.issuer,
            &self.payload(),
            &vault_id,
            &self.environment,
            &self.owner,
            &hash,
        ];
        Ok(Met::of(request, answer(client, "exchange", &arguments).await?))
    }

    /// Pulls in one step: decides, and opens what was granted.
    pub async fn pull(&self, client: &Client, vault_id: &str) -> Result<Met> {
        let decided = self.decide(client, vault_id).await?;
        if decided.status != 200 {
            return Ok(decided);
        }
        Ok(Met::of(decided.request, answer(client, "open", &[&decided.request]).await?))
    }
}

impl Met {
    fn of(request: Uuid, (status, body): (i32, Value)) -> Self {
        Self { request, status, body }
    }

    /// Status and machine code.
    #[must_use]
    pub fn seen(&self) -> (i32, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    /// What the audit says of the request, in order: `ci_pull granted, ci_open failed escrow_mismatch`.
    pub fn trail(&self, database: &Database) -> Result<String> {
        database.value(&format!(
            "select coalesce(string_agg(concat_ws(' ', action, decision, reason), ', ' order by id), '')
               from lpm.audit_log where request_id = '{}'",
            self.request
        ))
    }
}
