//! Escrow of kind `aes`: the key of each ciphertext, sealed by the machine that made it, as our client sends it.

use crate::escrowed::{Escrowed, answer};
use anyhow::{Result, ensure};
use lpm_core::envelope::escrow::{EscrowKind, seal_escrow_random};
use lpm_core::envelope::share::wrap_for_member;
use lpm_core::envelope::{aead, vault};
use lpm_core::secret::Secret;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

const NONE: Option<&str> = None;

/// A ciphertext, its key, and the key as the machine's wrapping key wraps it.
pub struct Ciphertext {
    /// What opens it.
    pub key: Secret,
    /// `encryptedBlob`.
    pub blob: String,
    /// `wrappedKey`.
    pub wrapped: String,
    /// What it is recognised by.
    pub hash: [u8; 32],
}

/// The `escrow` object of a push or share.
#[derive(Clone, Debug)]
pub struct Brought {
    /// `keyId`
    pub key_id: String,
    /// `sealed`
    pub sealed: String,
    /// `blobSha256`
    pub blob_sha256: String,
}

impl Brought {
    /// As it stands in a body.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"keyId": self.key_id, "sealed": self.sealed, "blobSha256": self.blob_sha256})
    }
}

impl Escrowed {
    /// A fresh ciphertext of this payload.
    pub fn encrypt(&self, payload: &str) -> Result<Ciphertext> {
        let key = Secret::new(aead::random::<32>()?.to_vec());
        let blob = vault::seal_blob(&key, &aead::random()?, payload.as_bytes())?;
        let (wrapped, hash) = (self.wrap(&key)?, vault::blob_sha256(&blob)?);
        Ok(Ciphertext { key, blob, wrapped, hash })
    }

    /// The key of a ciphertext, sealed to the server's escrow key for this vault.
    pub async fn seal(&self, client: &Client, vault_id: &str, text: &Ciphertext) -> Result<Brought> {
        let (id, public) = self.escrow_key(client).await?;
        let hash = Some(text.hash);
        let sealed = seal_escrow_random(&id, &public, EscrowKind::Aes, vault_id, hash, &text.key)?;
        Ok(Brought { key_id: id.as_str().to_owned(), sealed, blob_sha256: hex::encode(text.hash) })
    }

    /// The answer to a push that replaces whatever is there.
    pub async fn push_text(
        &self,
        client: &Client,
        vault_id: &str,
        text: &Ciphertext,
        escrow: Option<&Brought>,
    ) -> Result<(i32, Value)> {
        let member = |of: fn(&Brought) -> &str| escrow.map(of);
        let (key_id, sealed, hash) =
            (member(|e| &e.key_id), member(|e| &e.sealed), member(|e| &e.blob_sha256));
        let (id, expected) = (Uuid::now_v7(), None::<i32>);
        let arguments: [&(dyn ToSql + Sync); 13] = [
            &id,
            &NONE,
            &self.token,
            &vault_id,
            &text.blob,
            &text.wrapped,
            &expected,
            &true,
            &"web",
            &NONE,
            &key_id,
            &sealed,
            &hash,
        ];
        answer(client, "push", &arguments).await
    }

    /// Pushes a ciphertext and its key.
    pub async fn push_with_key(&self, client: &Client, vault_id: &str, payload: &str) -> Result<Ciphertext> {
        let text = self.encrypt(payload)?;
        let escrow = self.seal(client, vault_id, &text).await?;
        let (status, body) = self.push_text(client, vault_id, &text, Some(&escrow)).await?;
        ensure!(status == 201 || status == 200, "push: {status} {body}");
        Ok(text)
    }

    /// The answer to opting in with kind `aes`.
    pub async fn opt_in(
        &self,
        client: &Client,
        vault_id: &str,
        escrow: Option<&Brought>,
        legacy_clients: Option<bool>,
    ) -> Result<(i32, Value)> {
        self.opt_in_for(client, None, vault_id, escrow, legacy_clients).await
    }

    /// The answer to opting an org's vault in, or with `org` none the account's own.
    pub async fn opt_in_for(
        &self,
        client: &Client,
        org: Option<&str>,
        vault_id: &str,
        escrow: Option<&Brought>,
        legacy_clients: Option<bool>,
    ) -> Result<(i32, Value)> {
        let (sealed, hash) = (escrow.map(|e| &e.sealed), escrow.map(|e| &e.blob_sha256));
        let id = Uuid::now_v7();
        let arguments: [&(dyn ToSql + Sync); 9] =
            [&id, &NONE, &self.token, &vault_id, &sealed, &"aes", &hash, &legacy_clients, &org];
        answer(client, "put_escrow", &arguments).await
    }

    /// The answer to a share with everyone who is in the org, which replaces whatever is there.
    pub async fn share(
        &self,
        client: &Client,
        org: &str,
        vault_id: &str,
        text: &Ciphertext,
        escrow: Option<&Brought>,
    ) -> Result<(i32, Value)> {
        let sql = format!(
            "select coalesce(string_agg(m.user_id::text, ' '), '') from lpm.org_member m join lpm.org o on o.id = m.org_id where o.slug = '{org}'"
        );
        let members = self.database.value(&sql)?;
        let members: Vec<Uuid> = members.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        // for keys that nobody registered: the server opens none of them
        let keys: Vec<String> = members
            .iter()
            .map(|_| {
                let recipient = aead::public_key(&aead::random()?)?;
                wrap_for_member(&recipient, &aead::random()?, &aead::random()?, &text.key)
            })
            .collect::<Result<_, _>>()?;
        let member = |of: fn(&Brought) -> &str| escrow.map(of);
        let (key_id, sealed, hash) =
            (member(|e| &e.key_id), member(|e| &e.sealed), member(|e| &e.blob_sha256));
        let (id, expected) = (Uuid::now_v7(), None::<i32>);
        let arguments: [&(dyn ToSql + Sync); 15] = [
            &id,
            &NONE,
            &self.token,
            &org,
            &vault_id,
            &text.blob,
            &members,
            &keys,
            &expected,
            &true,
            &"web",
            &NONE,
            &key_id,
            &sealed,
            &hash,
        ];
        answer(client, "share", &arguments).await
    }

    /// Shares a fresh ciphertext and its key.
    pub async fn share_with_key(
        &self,
        client: &Client,
        org: &str,
        vault_id: &str,
        payload: &str,
    ) -> Result<Ciphertext> {
        let text = self.encrypt(payload)?;
        let escrow = self.seal(client, vault_id, &text).await?;
        let (status, body) = self.share(client, org, vault_id, &text, Some(&escrow)).await?;
        ensure!(status == 201 || status == 200, "share: {status} {body}");
        Ok(text)
    }

    /// A vault that is allowed, opted in with kind `aes`, and pushed; its id and what was pushed.
    pub async fn vault_per_push(&self, client: &Client, payload: &str) -> Result<(String, Ciphertext)> {
        let vault_id = Uuid::new_v4().to_string();
        self.allow(client, &vault_id).await?;
        let (status, body) = self.opt_in(client, &vault_id, None, None).await?;
        ensure!(status == 200, "put_escrow: {status} {body}");
        let text = self.push_with_key(client, &vault_id, payload).await?;
        Ok((vault_id, text))
    }
}
