//! CI escrow.

use super::{Db, DbError};
use crate::reply::Answer;
use crate::request::{Account, Origin};

const ESCROW_KEY: &str = call!("escrow_key", "$1, $2, $3");
const PUT_ESCROW: &str = call!("put_escrow", "$1, $2, $3, $4, $5");
const DISABLE_ESCROW: &str = call!("disable_escrow", "$1, $2, $3, $4");

impl Db {
    /// `GET /api/vault/oidc/escrow-key`
    pub(crate) async fn escrow_key(&self, origin: &Origin, account: &Account) -> Result<Answer, DbError> {
        self.call(ESCROW_KEY, &[&origin.id, &origin.address, &account.hash()]).await
    }

    /// `POST /api/vault/oidc/escrow`, with the key sealed.
    pub(crate) async fn put_escrow(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        sealed: &str,
    ) -> Result<Answer, DbError> {
        self.call(PUT_ESCROW, &[&origin.id, &origin.address, &account.hash(), &vault, &sealed]).await
    }

    /// `DELETE /api/vault/oidc/escrow`
    pub(crate) async fn disable_escrow(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
    ) -> Result<Answer, DbError> {
        self.call(DISABLE_ESCROW, &[&origin.id, &origin.address, &account.hash(), &vault]).await
    }
}
