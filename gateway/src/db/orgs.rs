//! Shared vaults.

use super::{Db, DbError};
use crate::reply::Answer;
use crate::request::{Account, Origin};
use lpm_core::wire::ShareRequest;
use uuid::Uuid;

const PUBLIC_KEY: &str = call!("public_key", "$1, $2, $3");
const PUT_PUBLIC_KEY: &str = call!("put_public_key", "$1, $2, $3, $4");
const MEMBER_KEYS: &str = call!("member_keys", "$1, $2, $3, $4");
const SHARE: &str = call!("share", "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15");
const ORG_PULL: &str = call!("org_pull", "$1, $2, $3, $4, $5");
const LIST_ORG_VAULTS: &str = call!("list_org_vaults", "$1, $2, $3, $4");

impl Db {
    /// `GET /api/users/me/public-key`
    pub(crate) async fn public_key(&self, origin: &Origin, account: &Account) -> Result<Answer, DbError> {
        self.call(PUBLIC_KEY, &[&origin.id, &origin.address, &account.hash()]).await
    }

    /// `POST /api/users/me/public-key`
    pub(crate) async fn put_public_key(
        &self,
        origin: &Origin,
        account: &Account,
        public_key: &str,
    ) -> Result<Answer, DbError> {
        self.call(PUT_PUBLIC_KEY, &[&origin.id, &origin.address, &account.hash(), &public_key]).await
    }

    /// `GET /api/orgs/{org}/members/public-keys`
    pub(crate) async fn member_keys(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
    ) -> Result<Answer, DbError> {
        self.call(MEMBER_KEYS, &[&origin.id, &origin.address, &account.hash(), &org]).await
    }

    /// `POST /api/orgs/{org}/vaults/{id}`
    pub(crate) async fn share(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
        vault: &str,
        share: &ShareRequest,
    ) -> Result<Answer, DbError> {
        let (recipients, wrapped_keys): (Vec<Uuid>, Vec<&str>) =
            share.wrapped_keys.iter().map(|key| (key.user_id, key.wrapped_key.as_str())).unzip();
        let schema = share.schema.as_deref().map(serde_json::value::RawValue::get);
        let escrow = share.escrow.as_ref();
        self.call(
            SHARE,
            &[
                &origin.id,
                &origin.address,
                &account.hash(),
                &org,
                &vault,
                &share.encrypted_blob,
                &recipients,
                &wrapped_keys,
                &share.expected_version,
                &share.force,
                &share.name,
                &schema,
                &escrow.map(|escrow| &escrow.key_id),
                &escrow.map(|escrow| &escrow.sealed),
                &escrow.map(|escrow| &escrow.blob_sha256),
            ],
        )
        .await
    }

    /// `GET /api/orgs/{org}/vaults/{id}`
    pub(crate) async fn org_pull(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
        vault: &str,
    ) -> Result<Answer, DbError> {
        self.call(ORG_PULL, &[&origin.id, &origin.address, &account.hash(), &org, &vault]).await
    }

    /// `GET /api/orgs/{org}/vaults`
    pub(crate) async fn list_org_vaults(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
    ) -> Result<Answer, DbError> {
        self.call(LIST_ORG_VAULTS, &[&origin.id, &origin.address, &account.hash(), &org]).await
    }
}
