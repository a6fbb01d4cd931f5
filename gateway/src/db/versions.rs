//! The versions of a vault that are kept.

use super::{Db, DbError};
use crate::reply::Answer;
use crate::request::{Account, Origin};
use lpm_core::wire::RestoreRequest;

const LIST_VERSIONS: &str = call!("list_versions", "$1, $2, $3, $4, $5");
const RESTORE_VERSION: &str = call!("restore_version", "$1, $2, $3, $4, $5, $6, $7");

impl Db {
    /// `GET /api/vaults/{id}/versions`
    pub(crate) async fn list_versions(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        org: Option<&str>,
    ) -> Result<Answer, DbError> {
        self.call(LIST_VERSIONS, &[&origin.id, &origin.address, &account.hash(), &vault, &org]).await
    }

    /// `POST /api/vaults/{id}/restore`
    pub(crate) async fn restore_version(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        restore: &RestoreRequest,
    ) -> Result<Answer, DbError> {
        self.call(
            RESTORE_VERSION,
            &[
                &origin.id,
                &origin.address,
                &account.hash(),
                &vault,
                &restore.version,
                &restore.expected_version,
                &restore.org,
            ],
        )
        .await
    }
}
