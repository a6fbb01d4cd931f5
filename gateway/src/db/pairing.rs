//! Pairing.

use super::{Db, DbError};
use crate::reply::Answer;
use crate::request::{Account, Origin};
use lpm_core::wire::{ApprovePairingRequest, StartPairingRequest};

const START_PAIRING: &str = call!("start_pairing", "$1, $2, $3, $4, $5, $6");
const SHOW_PAIRING: &str = call!("show_pairing", "$1, $2, $3, $4");
const APPROVE_PAIRING: &str = call!("approve_pairing", "$1, $2, $3, $4, $5, $6");
const CONSUME_PAIRING: &str = call!("consume_pairing", "$1, $2, $3, $4");
const REVOKE_PAIRINGS: &str = call!("revoke_pairings", "$1, $2, $3");

impl Db {
    /// `POST /api/vault/pair`; the first of `codes` that nobody waits with is the code.
    pub(crate) async fn start_pairing(
        &self,
        origin: &Origin,
        account: &Account,
        codes: &[String],
        asked: &StartPairingRequest,
    ) -> Result<Answer, DbError> {
        self.call(
            START_PAIRING,
            &[
                &origin.id,
                &origin.address,
                &account.hash(),
                &codes,
                &asked.browser_public_key,
                &asked.device_label,
            ],
        )
        .await
    }

    /// `GET /api/vault/pair/{code}`
    pub(crate) async fn show_pairing(
        &self,
        origin: &Origin,
        account: &Account,
        code: &str,
    ) -> Result<Answer, DbError> {
        self.call(SHOW_PAIRING, &[&origin.id, &origin.address, &account.hash(), &code]).await
    }

    /// `POST /api/vault/pair/{code}`
    pub(crate) async fn approve_pairing(
        &self,
        origin: &Origin,
        account: &Account,
        code: &str,
        sealed: &ApprovePairingRequest,
    ) -> Result<Answer, DbError> {
        self.call(
            APPROVE_PAIRING,
            &[
                &origin.id,
                &origin.address,
                &account.hash(),
                &code,
                &sealed.encrypted_wrapping_key,
                &sealed.ephemeral_public_key,
            ],
        )
        .await
    }

    /// `POST /api/vault/pair/{code}/consume`
    pub(crate) async fn consume_pairing(
        &self,
        origin: &Origin,
        account: &Account,
        code: &str,
    ) -> Result<Answer, DbError> {
        self.call(CONSUME_PAIRING, &[&origin.id, &origin.address, &account.hash(), &code]).await
    }

    /// `POST /api/vault/pair/revoke-all`
    pub(crate) async fn revoke_pairings(
        &self,
        origin: &Origin,
        account: &Account,
    ) -> Result<Answer, DbError> {
        self.call(REVOKE_PAIRINGS, &[&origin.id, &origin.address, &account.hash()]).await
    }
}
