//! What every test starts from: a gateway with a database of its own, and people with the published client.

use crate::document::Document;
use anyhow::{Context, Result};
use lpm_tests::gateway::Reply;
use lpm_tests::issuer::TokenRequest;
use lpm_tests::published::{Policy, Published, Push, crypto};
use lpm_tests::stack::Stack;
use serde_json::{Value, json};
use std::sync::Arc;

/// A payload as `push` makes it.
pub(crate) const PAYLOAD: &str =
    r#"{"environments":{"default":{"A":"1"},"production":{"API_KEY":"sk-live","NOTE":"a \"b\" = c\nd"}}}"#;

/// A gateway, and a published client whose every exchange is held against the document.
pub(crate) struct World {
    pub(crate) stack: Stack,
    client: Published,
}

/// Somebody with the published client: account, token, wrapping key.
pub(crate) struct Person {
    pub(crate) client: Published,
    pub(crate) wrapping_key: [u8; 32],
}

impl World {
    pub(crate) async fn new() -> Result<Self> {
        let stack = Stack::new().await?;
        let document = Document::of(&stack.gateway).await?;
        let client = Published::at(stack.gateway.url()).witnessed(Arc::new(|exchange| {
            if let Err(problem) = document.check(exchange) {
                panic!("{problem:#}");
            }
        }));
        Ok(Self { stack, client })
    }

    /// A client without a token.
    pub(crate) fn nobody(&self) -> &Published {
        &self.client
    }

    /// A new account with this plan.
    pub(crate) async fn person(&self, handle: &str, plan: &str) -> Result<Person> {
        Person::with(self.client.with_token(self.stack.account(handle, plan).await?))
    }

    /// `alice`, who has the plan `org` and is an admin of the org.
    pub(crate) fn alice(&self) -> Result<Person> {
        Person::with(self.client.with_token(&self.stack.seed.alice))
    }

    /// Runs SQL as superuser.
    pub(crate) fn sql(&self, sql: &str) -> Result<String> {
        self.stack.database().value(sql)
    }

    /// A fresh OIDC token of the job that policies here allow.
    pub(crate) fn job(&self) -> Result<String> {
        self.mint(&TokenRequest::github().repository("acme/web"))
    }

    pub(crate) fn mint(&self, request: &TokenRequest) -> Result<String> {
        self.stack.issuer.mint(request)
    }
}

impl Person {
    pub(crate) fn with(client: Published) -> Result<Self> {
        Ok(Self { client, wrapping_key: crypto::random()? })
    }

    /// A first push, or one that expects this version.
    pub(crate) fn sealed(&self, expected_version: Option<i32>) -> Result<Push> {
        self.sealed_as(PAYLOAD, expected_version)
    }

    /// The same of another payload.
    pub(crate) fn sealed_as(&self, payload: &str, expected_version: Option<i32>) -> Result<Push> {
        let (encrypted_blob, wrapped_key) = crypto::seal_vault(&self.wrapping_key, payload.as_bytes())?;
        Ok(Push {
            encrypted_blob,
            wrapped_key,
            expected_version,
            force: None,
            name: Some("probe-app".to_owned()),
            schema: Some(schema()),
        })
    }

    /// `push --force`.
    pub(crate) fn forced(&self, payload: &str) -> Result<Push> {
        Ok(Push { force: Some(true), ..self.sealed_as(payload, None)? })
    }

    /// Pushes a first version, which has to succeed.
    pub(crate) async fn has_pushed(&self, vault: &str) -> Result<()> {
        let (printed, _) = self.client.push(vault, &self.sealed(None)?).await?;
        assert_eq!(printed.map(|pushed| pushed.version), Ok(Some(1)));
        Ok(())
    }

    /// Pushes, allows `main` of `acme/web` to pull `production`, and hands over the wrapping key.
    pub(crate) async fn is_open_to_ci(&self, vault: &str) -> Result<()> {
        self.has_pushed(vault).await?;
        self.allows(vault).await
    }

    /// The same without a push.
    pub(crate) async fn allows(&self, vault: &str) -> Result<()> {
        let (policy, reply) = self.client.allow(&Policy::of(vault, "acme/web", &["production"])).await?;
        policy.map_err(|error| anyhow::anyhow!(error)).with_context(|| reply.text())?;
        let (escrow, _) = self.client.escrow(vault, &self.wrapping_key).await?;
        escrow.map_err(|error| anyhow::anyhow!(error))
    }
}

/// The non-secret part of a `lpm.json` with everything in it.
pub(crate) fn schema() -> Value {
    json!({
        "version": 2,
        "envSchema": {"A": {"required": true, "format": "url", "pattern": null, "enum": ["x"], "default": null,
                            "secret": false, "client": false, "description": null}},
        "envConfig": {"prod": {"canonical": "production", "file": ".env.production"}},
        "environments": {"base": ".env", "staging": {"extends": "base", "file": ".env.staging"}},
    })
}

/// Status, machine code and message of an error.
pub(crate) fn seen(reply: &Reply) -> (u16, String) {
    (reply.status.as_u16(), reply.code())
}
