//! Platforms (contract, section 7): commands that send plaintext to the server.

use super::{Printed, Published, loose_error, typed};
use crate::gateway::Reply;
use anyhow::Result;
use serde_json::{Value, json};

impl Published {
    /// `POST /api/vault/platforms/connect`
    pub async fn connect(&self, vault: &str) -> Result<(Printed<Value>, Reply)> {
        let body = json!({"vaultId": vault, "platform": "vercel", "token": "vercel-token",
                          "connectionConfig": {"projectId": "p"}, "label": null});
        self.platform("connect", &body, "connection failed").await
    }

    /// `POST /api/vault/platforms/push`, as it is asked first
    pub async fn push_to_platform(&self, vault: &str, secret: &str) -> Result<(Printed<Value>, Reply)> {
        let body = json!({"vaultId": vault, "platform": "vercel", "env": "production",
                          "vars": {"API_KEY": secret}, "clean": false});
        self.platform("push?dryRun=true", &body, "push failed").await
    }

    /// `POST /api/vault/platforms/pull`
    pub async fn pull_from_platform(&self, vault: &str) -> Result<(Printed<Value>, Reply)> {
        self.platform("pull", &json!({"vaultId": vault, "platform": "vercel"}), "pull failed").await
    }

    /// `POST /api/vault/platforms/status`, with every environment in the clear
    pub async fn platform_status(&self, vault: &str, secret: &str) -> Result<(Printed<Value>, Reply)> {
        let body = json!({"vaultId": vault, "vars": {"API_KEY": secret},
                          "envVars": {"production": {"API_KEY": secret}}});
        self.platform("status", &body, "status check failed").await
    }

    async fn platform(&self, name: &str, body: &Value, word: &str) -> Result<(Printed<Value>, Reply)> {
        let reply = self.post(&format!("/api/vault/platforms/{name}"), body).await?;
        let printed = if reply.status.is_success() {
            typed(&reply, "parse error")
        } else {
            Err(loose_error(&reply, word))
        };
        Ok((printed, reply))
    }
}
