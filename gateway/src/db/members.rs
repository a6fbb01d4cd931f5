//! Members of an org.

use super::{Db, DbError};
use crate::reply::Answer;
use crate::request::{Account, Origin};

const MEMBERS: &str = call!("members", "$1, $2, $3, $4");
const SET_ROLE: &str = call!("set_role", "$1, $2, $3, $4, $5, $6");
const REMOVE_MEMBER: &str = call!("remove_member", "$1, $2, $3, $4, $5, $6");
const ORG_SETTINGS: &str = call!("org_settings", "$1, $2, $3, $4, $5");
const INVITE: &str = call!("invite", "$1, $2, $3, $4, $5, $6");
const ORG_INVITATIONS: &str = call!("org_invitations", "$1, $2, $3, $4");
const END_INVITATION: &str = call!("end_invitation", "$1, $2, $3, $4, $5");
const ACCEPT_INVITATION: &str = call!("accept_invitation", "$1, $2, $3, $4");
const OWN_INVITATIONS: &str = call!("own_invitations", "$1, $2, $3");

impl Db {
    /// `GET /api/orgs/{org}/members`
    pub(crate) async fn members(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
    ) -> Result<Answer, DbError> {
        self.call(MEMBERS, &[&origin.id, &origin.address, &account.hash(), &org]).await
    }

    /// `PUT /api/orgs/{org}/members/{handle}`
    pub(crate) async fn set_role(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
        handle: &str,
        role: &str,
    ) -> Result<Answer, DbError> {
        self.call(SET_ROLE, &[&origin.id, &origin.address, &account.hash(), &org, &handle, &role]).await
    }

    /// `DELETE /api/orgs/{org}/members/{handle}`
    pub(crate) async fn remove_member(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
        handle: &str,
        revoke_policies: bool,
    ) -> Result<Answer, DbError> {
        let hash = account.hash();
        self.call(REMOVE_MEMBER, &[&origin.id, &origin.address, &hash, &org, &handle, &revoke_policies]).await
    }

    /// `PUT /api/orgs/{org}/settings`
    pub(crate) async fn org_settings(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
        may_share: &str,
    ) -> Result<Answer, DbError> {
        self.call(ORG_SETTINGS, &[&origin.id, &origin.address, &account.hash(), &org, &may_share]).await
    }

    /// `POST /api/orgs/{org}/invitations`
    pub(crate) async fn invite(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
        handle: &str,
        role: &str,
    ) -> Result<Answer, DbError> {
        self.call(INVITE, &[&origin.id, &origin.address, &account.hash(), &org, &handle, &role]).await
    }

    /// `GET /api/orgs/{org}/invitations`
    pub(crate) async fn org_invitations(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
    ) -> Result<Answer, DbError> {
        self.call(ORG_INVITATIONS, &[&origin.id, &origin.address, &account.hash(), &org]).await
    }

    /// `DELETE /api/orgs/{org}/invitations/{handle}`
    pub(crate) async fn end_invitation(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
        handle: &str,
    ) -> Result<Answer, DbError> {
        self.call(END_INVITATION, &[&origin.id, &origin.address, &account.hash(), &org, &handle]).await
    }

    /// `POST /api/orgs/{org}/invitations/accept`
    pub(crate) async fn accept_invitation(
        &self,
        origin: &Origin,
        account: &Account,
        org: &str,
    ) -> Result<Answer, DbError> {
        self.call(ACCEPT_INVITATION, &[&origin.id, &origin.address, &account.hash(), &org]).await
    }

    /// `GET /api/invitations`
    pub(crate) async fn own_invitations(
        &self,
        origin: &Origin,
        account: &Account,
    ) -> Result<Answer, DbError> {
        self.call(OWN_INVITATIONS, &[&origin.id, &origin.address, &account.hash()]).await
    }
}
