//! Signing in, login sessions, and tokens that replace or end themselves. Tokens and codes come here as hashes.

use super::{Db, DbError};
use crate::reply::Answer;
use crate::request::{Account, Origin};

const BEGIN_LOGIN: &str = call!("begin_login", "$1, $2, $3, $4, $5, $6");
const EXCHANGE_CODE: &str = call!("exchange_code", "$1, $2, $3, $4, $5");
const REFRESH_SESSION: &str = call!("refresh_session", "$1, $2, $3, $4, $5");
const LIST_SESSIONS: &str = call!("list_sessions", "$1, $2, $3");
const END_SESSION: &str = call!("end_session", "$1, $2, $3, $4");
const WHOAMI: &str = call!("whoami", "$1, $2, $3");
const ROTATE_TOKEN: &str = call!("rotate_token", "$1, $2, $3, $4");
const REVOKE_TOKEN: &str = call!("revoke_token", "$1, $2, $3, $4");

/// The hashes of the two tokens that a session gets.
pub(crate) struct PairHashes {
    pub access: [u8; 32],
    pub refresh: [u8; 32],
}

impl Db {
    /// `POST /cli/login`: the account signs in for the device that will bring the code.
    pub(crate) async fn begin_login(
        &self,
        origin: &Origin,
        account: &Account,
        code: &[u8; 32],
        device: &str,
        fingerprint: Option<&str>,
    ) -> Result<Answer, DbError> {
        self.call(
            BEGIN_LOGIN,
            &[&origin.id, &origin.address, &account.hash(), &code.as_slice(), &device, &fingerprint],
        )
        .await
    }

    /// `POST /api/cli/exchange`
    pub(crate) async fn exchange_code(
        &self,
        origin: &Origin,
        code: &[u8; 32],
        next: &PairHashes,
    ) -> Result<Answer, DbError> {
        self.next_pair(EXCHANGE_CODE, origin, code, next).await
    }

    /// `POST /api/cli/refresh`
    pub(crate) async fn refresh_session(
        &self,
        origin: &Origin,
        refresh: &[u8; 32],
        next: &PairHashes,
    ) -> Result<Answer, DbError> {
        self.next_pair(REFRESH_SESSION, origin, refresh, next).await
    }

    async fn next_pair(
        &self,
        sql: &'static str,
        origin: &Origin,
        shown: &[u8; 32],
        next: &PairHashes,
    ) -> Result<Answer, DbError> {
        let (access, refresh) = (next.access.as_slice(), next.refresh.as_slice());
        self.call(sql, &[&origin.id, &origin.address, &shown.as_slice(), &access, &refresh]).await
    }

    /// `GET /api/cli/sessions`
    pub(crate) async fn list_sessions(&self, origin: &Origin, account: &Account) -> Result<Answer, DbError> {
        self.call(LIST_SESSIONS, &[&origin.id, &origin.address, &account.hash()]).await
    }

    /// `DELETE /api/cli/sessions/{id}`
    pub(crate) async fn end_session(
        &self,
        origin: &Origin,
        account: &Account,
        session: &str,
    ) -> Result<Answer, DbError> {
        self.call(END_SESSION, &[&origin.id, &origin.address, &account.hash(), &session]).await
    }

    /// `GET /api/registry/-/whoami`
    pub(crate) async fn whoami(&self, origin: &Origin, account: &Account) -> Result<Answer, DbError> {
        self.call(WHOAMI, &[&origin.id, &origin.address, &account.hash()]).await
    }

    /// `POST /api/registry/-/token/rotate`
    pub(crate) async fn rotate_token(
        &self,
        origin: &Origin,
        account: &Account,
        successor: &[u8; 32],
    ) -> Result<Answer, DbError> {
        let successor = successor.as_slice();
        self.call(ROTATE_TOKEN, &[&origin.id, &origin.address, &account.hash(), &successor]).await
    }

    /// `POST /api/registry/tokens/revoke`
    pub(crate) async fn revoke_token(
        &self,
        origin: &Origin,
        account: &Account,
        revoked: &[u8; 32],
    ) -> Result<Answer, DbError> {
        let revoked = revoked.as_slice();
        self.call(REVOKE_TOKEN, &[&origin.id, &origin.address, &account.hash(), &revoked]).await
    }
}
