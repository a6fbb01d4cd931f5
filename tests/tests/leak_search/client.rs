//! A vault as the published client keeps one: keys of its own, and HTTP of its shape.

use crate::world::World;
use anyhow::{Result, ensure};
use lpm_core::envelope::{aead, vault};
use lpm_core::secret::Secret;
use lpm_tests::gateway::Reply;
use lpm_tests::issuer::TokenRequest;
use reqwest::Method;
use serde_json::json;

/// A vault, the machine that pushes it, and the account that owns it.
pub(crate) struct Vault {
    pub id: String,
    pub token: String,
    pub wrapping_key: [u8; 32],
}

/// A push to `main` of the repository that the policies here name.
pub(crate) fn job() -> TokenRequest {
    TokenRequest::github().repository("acme/web")
}

impl Vault {
    /// A vault of an account with a token of its own.
    pub(crate) fn new(world: &mut World, id: &str, handle: &str) -> Result<Self> {
        let wrapping_key = world.key(&format!("wrapping key of {id}"))?;
        Ok(Self { id: id.to_owned(), token: world.token(handle)?, wrapping_key })
    }

    /// The same, pushed and opened to [`job`] for `production`.
    pub(crate) async fn opened(world: &mut World, id: &str, handle: &str, payload: &[u8]) -> Result<Self> {
        let vault = Self::new(world, id, handle)?;
        vault.push(world, payload).await?;
        vault.allow(world).await?;
        let escrow = vault.escrow(world, &hex::encode(vault.wrapping_key)).await?;
        ensure!(escrow.status.is_success(), "{}", escrow.text());
        Ok(vault)
    }

    /// Pushes a payload, whatever it is, under an AES key of its own.
    pub(crate) async fn push(&self, world: &mut World, payload: &[u8]) -> Result<()> {
        let aes_key = Secret::new(world.key(&format!("AES key of {}", self.id))?.to_vec());
        let wrapping_key = Secret::new(self.wrapping_key.to_vec());
        let body = json!({
            "encryptedBlob": vault::seal_blob(&aes_key, &aead::random()?, payload)?,
            "wrappedKey": vault::wrap_key(&wrapping_key, &aead::random()?, &aes_key)?,
            "name": "probe-app", "schema": {"version": 2}, "force": true,
        });
        let path = format!("/api/vaults/{}/sync", self.id);
        let reply = world.post(&path, Some(&self.token), body.to_string()).await?;
        ensure!(reply.status.is_success(), "push of {}: {}", self.id, reply.text());
        Ok(())
    }

    /// `oidc allow`, first half: the policy.
    pub(crate) async fn allow(&self, world: &World) -> Result<()> {
        let body = json!({"vaultId": self.id, "provider": "github", "subject": "repo:acme/web", "allowedBranches": ["main"],
            "allowedEnvironments": ["production"], "allowForks": false});
        let reply = world.post("/api/vault/oidc/policies", Some(&self.token), body.to_string()).await?;
        ensure!(reply.status.is_success(), "allow for {}: {}", self.id, reply.text());
        Ok(())
    }

    /// `oidc allow`, second half: the raw wrapping key.
    pub(crate) async fn escrow(&self, world: &World, wrapping_key: &str) -> Result<Reply> {
        let body = json!({"vaultId": self.id, "wrappingKeyHex": wrapping_key});
        world.post("/api/vault/oidc/escrow", Some(&self.token), body.to_string()).await
    }

    /// A developer's pull.
    pub(crate) async fn pull(&self, world: &World, token: &str) -> Result<Reply> {
        let path = format!("/api/vaults/{}/sync", self.id);
        Reply::read(world.request(Method::GET, &path, Some(token)).send().await?).await
    }

    /// A job's pull in one step.
    pub(crate) async fn one_step(&self, world: &World, jwt: &str, environment: &str) -> Result<Reply> {
        let body = json!({"oidcToken": jwt, "vaultId": self.id, "env": environment});
        world.post("/api/vault/oidc/pull", None, body.to_string()).await
    }

    /// A job's first step of two.
    pub(crate) async fn exchange(&self, world: &mut World, jwt: &str, environment: &str) -> Result<Reply> {
        let body = json!({"oidcToken": jwt, "vaultId": self.id, "env": environment});
        let reply = world.post("/api/vault/oidc", None, body.to_string()).await?;
        let token = reply.member("token");
        if !token.is_empty() {
            world.markers.known(format!("CI token for {}", self.id), token);
        }
        Ok(reply)
    }

    /// A job's second step.
    pub(crate) async fn ci_pull(&self, world: &World, token: &str, environment: &str) -> Result<Reply> {
        let path = format!("/api/vaults/{}/ci-pull?env={environment}", self.id);
        Reply::read(world.request(Method::GET, &path, Some(token)).send().await?).await
    }
}
