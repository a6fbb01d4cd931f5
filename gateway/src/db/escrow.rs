//! CI escrow.

use super::{Db, DbError};
use crate::reply::Answer;
use crate::request::{Account, Origin};

use lpm_core::wire::EscrowRequest;

const ESCROW_KEY: &str = call!("escrow_key", "$1, $2, $3, $4, $5");
const PUT_ESCROW: &str = call!("put_escrow", "$1, $2, $3, $4, $5, $6, $7, $8, $9");
const DISABLE_ESCROW: &str = call!("disable_escrow", "$1, $2, $3, $4, $5");

impl Db {
    /// `GET /api/vault/oidc/escrow-key`
    pub(crate) async fn escrow_key(
        &self,
        origin: &Origin,
        account: &Account,
        vault: Option<&str>,
        org: Option<&str>,
    ) -> Result<Answer, DbError> {
        self.call(ESCROW_KEY, &[&origin.id, &origin.address, &account.hash(), &vault, &org]).await
    }

    /// `POST /api/vault/oidc/escrow`, with the key sealed.
    pub(crate) async fn put_escrow(
        &self,
        origin: &Origin,
        account: &Account,
        escrow: &EscrowRequest,
    ) -> Result<Answer, DbError> {
        self.call(
            PUT_ESCROW,
            &[
                &origin.id,
                &origin.address,
                &account.hash(),
                &escrow.vault_id,
                &escrow.sealed,
                &escrow.kind,
                &escrow.blob_sha256,
                &escrow.legacy_clients,
                &escrow.org,
            ],
        )
        .await
    }

    /// `DELETE /api/vault/oidc/escrow`
    pub(crate) async fn disable_escrow(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        org: Option<&str>,
    ) -> Result<Answer, DbError> {
        self.call(DISABLE_ESCROW, &[&origin.id, &origin.address, &account.hash(), &vault, &org]).await
    }
}
