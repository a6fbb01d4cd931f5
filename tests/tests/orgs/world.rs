//! The org `acme` with a member of each role, and somebody who is none.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::{aead, share, vault};
use lpm_core::secret::Secret;
use lpm_tests::gateway::Reply;
use lpm_tests::stack::Stack;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// What stands in a vault.
pub(crate) const PAYLOAD: &str =
    r#"{"environments":{"default":{"A":"1"},"production":{"API_KEY":"sk-live"}}}"#;

/// The vault of most tests.
pub(crate) const VAULT: &str = "vault-123";

/// An account with its key pair.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) handle: String,
    pub(crate) id: Uuid,
    pub(crate) token: String,
    pub(crate) private: [u8; 32],
}

impl Person {
    /// As it is registered.
    pub(crate) fn public_key(&self) -> String {
        STANDARD.encode(aead::public_key(&self.private).expect("any 32 bytes are a private key"))
    }
}

pub(crate) struct World {
    pub(crate) stack: Stack,
    /// An owner of `acme`.
    pub(crate) olga: Person,
    /// An admin.
    pub(crate) alice: Person,
    /// A maintainer.
    pub(crate) mia: Person,
    /// A developer.
    pub(crate) dan: Person,
    /// No member.
    pub(crate) eve: Person,
}

impl World {
    pub(crate) async fn new() -> Result<Self> {
        let stack = Stack::new().await?;
        let alice = stack.seed.alice.clone();
        let person = async |handle: &str, role: Option<&str>| {
            let token = if handle == "alice" { alice.clone() } else { stack.account(handle, "free").await? };
            if let Some(role) = role {
                let sql = format!("select lpm.add_member('acme', '{handle}', role => '{role}')");
                stack.database().value(&sql)?;
            }
            let id =
                stack.database().value(&format!("select id from lpm.account where handle = '{handle}'"))?;
            let person =
                Person { handle: handle.to_owned(), id: id.parse()?, token, private: aead::random()? };
            let key = json!({"publicKey": person.public_key()});
            let reply = stack.gateway.post("/api/users/me/public-key", Some(&person.token), &key).await?;
            ensure!(reply.status == 200, "public key: {}", reply.text());
            Ok(person)
        };
        let (olga, alice) = (person("olga", Some("owner")).await?, person("alice", None).await?);
        let (mia, dan) = (person("mia", Some("maintainer")).await?, person("dan", Some("developer")).await?);
        let eve = person("eve", None).await?;
        Ok(Self { stack, olga, alice, mia, dan, eve })
    }

    /// Every member, owners first.
    pub(crate) fn members(&self) -> [&Person; 4] {
        [&self.olga, &self.alice, &self.mia, &self.dan]
    }

    pub(crate) fn sql(&self, sql: &str) -> Result<String> {
        self.stack.database().value(sql)
    }

    pub(crate) async fn get(&self, who: &Person, path: &str) -> Result<Reply> {
        self.stack.gateway.get(path, Some(&who.token)).await
    }

    pub(crate) async fn post(&self, who: &Person, path: &str, body: &Value) -> Result<Reply> {
        self.stack.gateway.post(path, Some(&who.token), body).await
    }

    pub(crate) async fn put(&self, who: &Person, path: &str, body: &Value) -> Result<Reply> {
        let request = self.stack.gateway.request(Method::PUT, path).bearer_auth(&who.token).json(body);
        Reply::read(request.send().await?).await
    }

    pub(crate) async fn delete(&self, who: &Person, path: &str) -> Result<Reply> {
        self.stack.gateway.delete(path, Some(&who.token)).await
    }

    /// A share of `payload` with these recipients.
    pub(crate) fn share_of(&self, recipients: &[&Person]) -> Result<Value> {
        let key = Secret::new(aead::random::<32>()?.to_vec());
        let wrap = |person: &&Person| {
            let public = aead::public_key(&person.private)?;
            let wrapped = share::wrap_for_member(&public, &aead::random()?, &aead::random()?, &key)?;
            Ok(json!({"userId": person.id, "wrappedKey": wrapped}))
        };
        Ok(json!({
            "encryptedBlob": vault::seal_blob(&key, &aead::random()?, PAYLOAD.as_bytes())?,
            "wrappedKeys": recipients.iter().map(wrap).collect::<Result<Vec<Value>>>()?,
        }))
    }

    /// The answer to a share of [`VAULT`], with members of the request added or replaced.
    pub(crate) async fn share(&self, who: &Person, recipients: &[&Person], changes: Value) -> Result<Reply> {
        let mut body = self.share_of(recipients)?;
        for (name, value) in changes.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.post(who, &format!("/api/orgs/acme/vaults/{VAULT}"), &body).await
    }

    /// Shares [`VAULT`] with everybody, whatever is there.
    pub(crate) async fn shared(&self) -> Result<()> {
        let reply = self.share(&self.alice, &self.members(), json!({"force": true})).await?;
        ensure!(reply.status.is_success(), "share: {}", reply.text());
        Ok(())
    }

    pub(crate) async fn pull(&self, who: &Person) -> Result<Reply> {
        self.get(who, &format!("/api/orgs/acme/vaults/{VAULT}")).await
    }

    /// What `who` reads in [`VAULT`].
    pub(crate) async fn read(&self, who: &Person) -> Result<String> {
        let reply = self.pull(who).await?;
        ensure!(reply.status == 200, "pull: {}", reply.text());
        let key = share::open_from_member(&who.private, &reply.member("wrappedKey"))?;
        let payload = vault::open_blob(&key, &reply.member("encryptedBlob"))?;
        Ok(payload.expose_str().context("UTF-8")?.to_owned())
    }

    /// How many wrapped copies are stored for `who`.
    pub(crate) fn copies(&self, who: &Person) -> Result<u32> {
        let sql = format!("select count(*) from lpm.vault_org_keys where user_id = '{}'", who.id);
        Ok(self.sql(&sql)?.parse()?)
    }
}

/// Status and machine code.
pub(crate) fn seen(reply: &Reply) -> (u16, String) {
    (reply.status.as_u16(), reply.code())
}

/// What [`seen`] gives for this refusal.
pub(crate) fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
