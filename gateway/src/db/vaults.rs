//! Personal vaults.

use super::{Db, DbError};
use crate::reply::Answer;
use crate::request::{Account, Origin};
use lpm_core::wire::PushRequest;

const CHECK_ACCOUNT: &str = call!("check_account", "$1, 'all'");
const PUSH: &str = call!("push", "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13");
const PULL: &str = call!("pull", "$1, $2, $3, $4");
const LIST_VAULTS: &str = call!("list_vaults", "$1, $2, $3");
const AUDIT: &str = call!("audit", "$1, $2, $3, $4, $5, $6");

impl Db {
    /// Whether the account may write, before much is read from it.
    pub(crate) async fn check_account(&self, account: &Account) -> Result<Answer, DbError> {
        self.call(CHECK_ACCOUNT, &[&account.hash()]).await
    }

    /// `POST /api/vaults/{id}/sync`
    pub(crate) async fn push(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        push: &PushRequest,
    ) -> Result<Answer, DbError> {
        let schema = push.schema.as_deref().map(serde_json::value::RawValue::get);
        let escrow = push.escrow.as_ref();
        self.call(
            PUSH,
            &[
                &origin.id,
                &origin.address,
                &account.hash(),
                &vault,
                &push.encrypted_blob,
                &push.wrapped_key,
                &push.expected_version,
                &push.force,
                &push.name,
                &schema,
                &escrow.map(|escrow| &escrow.key_id),
                &escrow.map(|escrow| &escrow.sealed),
                &escrow.map(|escrow| &escrow.blob_sha256),
            ],
        )
        .await
    }

    /// `GET /api/vaults/{id}/sync`
    pub(crate) async fn pull(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
    ) -> Result<Answer, DbError> {
        self.call(PULL, &[&origin.id, &origin.address, &account.hash(), &vault]).await
    }

    /// `GET /api/vaults`
    pub(crate) async fn list_vaults(&self, origin: &Origin, account: &Account) -> Result<Answer, DbError> {
        self.call(LIST_VAULTS, &[&origin.id, &origin.address, &account.hash()]).await
    }

    /// `GET /api/vaults/{id}/audit`
    pub(crate) async fn audit(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        cursor: Option<&str>,
        org: Option<&str>,
    ) -> Result<Answer, DbError> {
        self.call(AUDIT, &[&origin.id, &origin.address, &account.hash(), &vault, &cursor, &org]).await
    }
}
