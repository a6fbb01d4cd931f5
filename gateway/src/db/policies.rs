//! Policies.

use super::{Db, DbError, Params};
use crate::reply::Answer;
use crate::request::{Account, Origin};

const CREATE_POLICY: &str = call!("create_policy", "$1, $2, $3, $4");
const LIST_POLICIES: &str = call!("list_policies", "$1, $2, $3, $4, $5");
const REVOKE_POLICY: &str = call!("revoke_policy", "$1, $2, $3, $4");
const REPIN: &str = call!("repin", "$1, $2, $3, $4, $5");
const EXPLAIN: &str = call!("explain", "$1, $2, $3, $4, $5, $6, $7");

impl Db {
    /// `POST /api/vault/oidc/policies`; the body goes to the extension as it came, which reads it strictly.
    pub(crate) async fn create_policy(
        &self,
        origin: &Origin,
        account: &Account,
        body: &str,
    ) -> Result<Answer, DbError> {
        self.call(CREATE_POLICY, &[&origin.id, &origin.address, &account.hash(), &body]).await
    }

    /// `GET /api/vault/oidc/policies`
    pub(crate) async fn list_policies(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        org: Option<&str>,
    ) -> Result<Answer, DbError> {
        self.call(LIST_POLICIES, &[&origin.id, &origin.address, &account.hash(), &vault, &org]).await
    }

    /// `DELETE /api/vault/oidc/policies/{id}`
    pub(crate) async fn revoke_policy(
        &self,
        origin: &Origin,
        account: &Account,
        policy: &str,
    ) -> Result<Answer, DbError> {
        self.call(REVOKE_POLICY, &[&origin.id, &origin.address, &account.hash(), &policy]).await
    }

    /// `POST /api/vault/oidc/repin`
    pub(crate) async fn repin(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        subject: &str,
    ) -> Result<Answer, DbError> {
        self.call(REPIN, &[&origin.id, &origin.address, &account.hash(), &vault, &subject]).await
    }

    /// `POST /api/vault/oidc/explain`; `issuer` is `None` for claims that nobody signed.
    pub(crate) async fn explain(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        issuer: Option<&str>,
        claims: &[u8],
        environment: Option<&str>,
    ) -> Result<Answer, DbError> {
        let hash = account.hash();
        let params: Params<'_> =
            &[&origin.id, &origin.address, &hash, &vault, &issuer, &claims, &environment];
        self.call(EXPLAIN, params).await
    }
}
