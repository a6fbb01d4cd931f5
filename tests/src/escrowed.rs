//! A vault that is open to CI, made in SQL with the rights of a gateway's login and the core's own
//! cryptography: what the gateway and the command line do together, without either.

use crate::cluster::{self, Cluster};
use crate::database::{Database, Login};
use crate::stack::{Seed, shared};
use anyhow::{Context, Result, ensure};
use lpm_core::bearer;
use lpm_core::envelope::escrow::{EscrowKind, seal_escrow_random};
use lpm_core::envelope::keyring::KeyId;
use lpm_core::envelope::{aead, vault};
use lpm_core::secret::Secret;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// What stands in `production`.
pub const SECRET: &str = "sk-live-marker-4711";

/// The payload that vaults have where a test says nothing else.
pub const PAYLOAD: &str = r#"{"environments":{"default":{"A":"1"},"production":{"API_KEY":"sk-live-marker-4711"},"staging":{"API_KEY":"sk-staging"}}}"#;

/// How to call a function of `lpm_api`: never as a set or a sorted row, which could spill to disk.
#[must_use]
pub fn call(function: &str, arguments: usize) -> String {
    let places: Vec<String> = (1..=arguments).map(|n| format!("${n}")).collect();
    format!(
        "select (r).status, (r).body from (select lpm_api.{function}({}) r offset 0) s",
        places.join(", ")
    )
}

/// Calls a function of `lpm_api` and returns status and body.
pub async fn answer(
    client: &Client,
    function: &str,
    arguments: &[&(dyn ToSql + Sync)],
) -> Result<(i32, Value)> {
    let row = client
        .query_one(&call(function, arguments.len()), arguments)
        .await
        .with_context(|| function.to_owned())?;
    let body: Option<String> = row.get(1);
    Ok((row.get(0), body.map_or(Ok(Value::Null), |body| serde_json::from_str(&body))?))
}

/// Status and machine code of an answer.
#[must_use]
pub fn code((status, body): (i32, Value)) -> (i32, String) {
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

/// A denial with this machine code.
#[must_use]
pub fn denied(code: &str) -> (i32, String) {
    (403, code.to_owned())
}

/// A grant.
#[must_use]
pub fn granted() -> (i32, String) {
    (200, String::new())
}

/// A database with a gateway's login, and a machine of `alice`.
pub struct Escrowed {
    /// The database, a copy of the template.
    pub database: Database,
    /// The gateway's login.
    pub login: Login,
    /// The hash of alice's token, as the gateway sends it.
    pub token: Vec<u8>,
    /// The issuer of [`claims`].
    pub issuer: String,
    wrapping_key: Secret,
}

/// The claims of a push to `branch` of `acme/web`, signed by nobody.
#[must_use]
pub fn claims(issuer: &str, branch: &str) -> Vec<u8> {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    json!({
        "iss": issuer, "aud": "https://lpm.dev", "jti": Uuid::new_v4().to_string(), "iat": now, "exp": now + 300,
        "sub": "repo:acme/web", "repository": "acme/web", "repository_id": "42", "repository_owner": "acme",
        "repository_owner_id": "7", "event_name": "push", "ref": format!("refs/heads/{branch}"), "ref_type": "branch",
    })
    .to_string()
    .into_bytes()
}

impl Escrowed {
    /// A fresh copy of the template.
    pub async fn new() -> Result<Self> {
        let shared = shared().await?;
        let database = shared.cluster.fresh_database(Some(shared.seed.database.name())).await?;
        Ok(Self::of(database, shared.seed.gateway_login.clone(), &shared.seed.alice, shared.issuer.url()))
    }

    /// In a cluster of its own. Nothing in SQL asks the issuer, so none runs.
    pub async fn alone(options: cluster::Options) -> Result<(Cluster, Self)> {
        let (cluster, issuer) = (options.start()?, "https://issuer.example");
        let seed = Seed::create(&cluster, "alone", issuer).await?;
        Ok((cluster, Self::of(seed.database, seed.gateway_login, &seed.alice, issuer)))
    }

    /// For a database that has `alice`, a gateway's login and a trusted issuer already.
    #[must_use]
    pub fn of(database: Database, login: Login, token: &str, issuer: &str) -> Self {
        let wrapping_key = Secret::new(aead::random::<32>().expect("the system has randomness").to_vec());
        Self {
            database,
            login,
            token: bearer::hash(token.as_bytes()).to_vec(),
            issuer: issuer.to_owned(),
            wrapping_key,
        }
    }

    /// A connection with the gateway's rights.
    pub async fn gateway(&self) -> Result<Client> {
        self.database.connect_as(&self.login).await
    }

    /// Pushes a vault.
    pub async fn push(&self, client: &Client, vault_id: &str) -> Result<()> {
        self.push_payload(client, vault_id, PAYLOAD).await
    }

    /// Pushes a vault with this payload.
    pub async fn push_payload(&self, client: &Client, vault_id: &str, payload: &str) -> Result<()> {
        let aes_key = Secret::new(aead::random::<32>()?.to_vec());
        let blob = vault::seal_blob(&aes_key, &aead::random()?, payload.as_bytes())?;
        let wrapped = vault::wrap_key(&self.wrapping_key, &aead::random()?, &aes_key)?;
        let (id, none) = (Uuid::now_v7(), None::<&str>);
        let arguments: [&(dyn ToSql + Sync); 10] =
            [&id, &none, &self.token, &vault_id, &blob, &wrapped, &None::<i32>, &true, &"web", &none];
        let (status, body) = answer(client, "push", &arguments).await?;
        ensure!(status == 201 || status == 200, "push: {status} {body}");
        Ok(())
    }

    /// Allows `main` of `acme/web` to pull `production`.
    pub async fn allow(&self, client: &Client, vault_id: &str) -> Result<()> {
        self.allow_with(client, vault_id, &json!({})).await
    }

    /// The same, with members of the request added or replaced.
    pub async fn allow_with(&self, client: &Client, vault_id: &str, changes: &Value) -> Result<()> {
        let mut policy = json!({"vaultId": vault_id, "provider": "github", "subject": "repo:acme/web", "allowedBranches": ["main"],
            "allowedEnvironments": ["production"], "allowForks": false});
        for (name, value) in changes.as_object().into_iter().flatten() {
            policy[name] = value.clone();
        }
        let arguments: [&(dyn ToSql + Sync); 4] =
            [&Uuid::now_v7(), &None::<&str>, &self.token, &policy.to_string()];
        let (status, body) = answer(client, "create_policy", &arguments).await?;
        ensure!(status == 201, "create_policy: {status} {body}");
        Ok(())
    }

    /// Hands the wrapping key to escrow.
    pub async fn escrow(&self, client: &Client, vault_id: &str) -> Result<()> {
        let sealed = self.sealed(client, vault_id).await?;
        let arguments: [&(dyn ToSql + Sync); 5] =
            [&Uuid::now_v7(), &None::<&str>, &self.token, &vault_id, &sealed];
        let (status, body) = answer(client, "put_escrow", &arguments).await?;
        ensure!(status == 200, "put_escrow: {status} {body}");
        Ok(())
    }

    /// The wrapping key, sealed to the server's escrow key for `vault_id`.
    pub async fn sealed(&self, client: &Client, vault_id: &str) -> Result<String> {
        let (id, public) = self.escrow_key(client).await?;
        Ok(seal_escrow_random(&id, &public, EscrowKind::Wrapping, vault_id, None, &self.wrapping_key)?)
    }

    /// The key that the server has escrows sealed to.
    pub async fn escrow_key(&self, client: &Client) -> Result<(KeyId, [u8; 32])> {
        let (status, key) =
            answer(client, "escrow_key", &[&Uuid::now_v7(), &None::<&str>, &self.token]).await?;
        ensure!(status == 200, "escrow_key: {status} {key}");
        let id = KeyId::parse(key["keyId"].as_str().unwrap_or_default()).context("keyId")?;
        let public = openssl::base64::decode_block(key["publicKey"].as_str().unwrap_or_default())?;
        Ok((id, public.try_into().ok().context("publicKey")?))
    }

    /// An AES key as this machine wraps it.
    pub fn wrap(&self, key: &Secret) -> Result<String> {
        Ok(vault::wrap_key(&self.wrapping_key, &aead::random()?, key)?)
    }

    /// A vault that is pushed, allowed and escrowed; its id.
    pub async fn vault(&self, client: &Client) -> Result<String> {
        let vault_id = Uuid::new_v4().to_string();
        self.push(client, &vault_id).await?;
        self.allow(client, &vault_id).await?;
        self.escrow(client, &vault_id).await?;
        Ok(vault_id)
    }

    /// Decides a one-step pull of `production` by a push to `branch`.
    pub async fn decide(
        &self,
        client: &Client,
        request: Uuid,
        vault_id: &str,
        branch: &str,
    ) -> Result<(i32, Value)> {
        let claims = claims(&self.issuer, branch);
        let none = None::<&str>;
        let arguments: [&(dyn ToSql + Sync); 7] =
            [&request, &none, &self.issuer, &claims, &vault_id, &"production", &None::<Uuid>];
        answer(client, "decide", &arguments).await
    }

    /// Opens a request.
    pub async fn open(&self, client: &Client, request: Uuid) -> Result<(i32, Value)> {
        answer(client, "open", &[&request]).await
    }

    /// How many audit rows say that `request` was granted, as the superuser sees them.
    pub fn granted_rows(&self, request: Uuid) -> Result<u32> {
        let sql = format!(
            "select count(*) from lpm.audit_log where request_id = '{request}' and decision = 'granted'"
        );
        Ok(self.database.value(&sql)?.parse()?)
    }

    /// Another account of the same database.
    pub fn account(&self, handle: &str, plan: &str) -> Result<Self> {
        self.database.value(&format!("select lpm.create_user('{handle}', plan => '{plan}')"))?;
        let token = self.database.value(&format!("select lpm.create_token('{handle}')"))?;
        Ok(Self::of(self.database.clone(), self.login.clone(), &token, &self.issuer))
    }

    /// The answer to a push of an empty vault that expects this version.
    pub async fn push_expecting(
        &self,
        client: &Client,
        vault_id: &str,
        expected: Option<i32>,
        force: bool,
    ) -> Result<(i32, Value)> {
        let key = Secret::new(aead::random::<32>()?.to_vec());
        let blob = vault::seal_blob(&key, &aead::random()?, b"{}")?;
        let wrapped = vault::wrap_key(&key, &aead::random()?, &key)?;
        let none = None::<&str>;
        let arguments: [&(dyn ToSql + Sync); 10] = [
            &Uuid::now_v7(),
            &none,
            &self.token,
            &vault_id,
            &blob,
            &wrapped,
            &expected,
            &force,
            &none,
            &none,
        ];
        answer(client, "push", &arguments).await
    }
}
