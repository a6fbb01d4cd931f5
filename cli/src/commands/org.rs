//! `lpm org …`: members, invitations, and who may share.

use super::copy::encode;
use super::local::done;
use super::{Session, check_org, confirm, wait_for};
use crate::args::{
    InviteArgs, MemberArgs, OptionalOrg, OrgCommand, OrgName, RemoveArgs, RoleArgs, SharingArgs,
};
use crate::client::{Bearer, Request, Retry};
use crate::error::{Error, Result};
use crate::output::{self, note, printable, warn};
use lpm_core::secret::Secret;
use lpm_core::wire::{
    Done, Invitation, InvitationList, InviteRequest, Member, MemberList, OrgSettings, RemoveMemberReply,
    RoleRequest,
};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Does what `lpm org …` says.
pub(crate) fn run(session: &Session, command: OrgCommand) -> Result<()> {
    match command {
        OrgCommand::Members(args) => members(session, &args),
        OrgCommand::Invite(args) => invite(session, &args),
        OrgCommand::Invitations(args) => invitations(session, &args),
        OrgCommand::Accept(args) => accept(session, &args),
        OrgCommand::Decline(args) => decline(session, &args),
        OrgCommand::Uninvite(args) => uninvite(session, &args),
        OrgCommand::Role(args) => role(session, &args),
        OrgCommand::Remove(args) => remove(session, &args),
        OrgCommand::Sharing(args) => sharing(session, &args),
    }
}

fn read<T: DeserializeOwned>(session: &Session, path: &[&str]) -> Result<T> {
    let (token, client) = (session.token()?, session.client()?);
    wait_for(client.send(&Request::read(path, &[], Bearer::Account(&token))))
}

/// Changes something; all that is done here twice is the same as once.
fn change<T: DeserializeOwned>(
    session: &Session,
    method: Method,
    path: &[&str],
    query: &[(&str, &str)],
    body: Option<Secret>,
) -> Result<T> {
    let (token, client) = (session.token()?, session.client()?);
    let request = Request::change(method, path, body, Bearer::Account(&token));
    wait_for(client.send(&request.with(query).retried(Retry::Repeatable)))
}

fn members(session: &Session, args: &OrgName) -> Result<()> {
    let org = check_org(&args.org)?;
    let list: MemberList = read(session, &["api", "orgs", org, "members"])?;
    if session.json() {
        return output::json(&json!(list));
    }
    list.members.iter().try_for_each(|member| output::line(listed(member)))?;
    note(format!("vaults may be shared by: {}", from(&list.may_share)));
    Ok(())
}

fn listed(member: &Member) -> String {
    let key = if member.has_public_key { "" } else { "  (no org key yet)" };
    format!("{}  {}{key}", printable(&member.handle), printable(&member.role))
}

/// `owner` alone, or a role and those above it.
fn from(role: &str) -> String {
    match role {
        "owner" => "owners".to_owned(),
        "admin" => "admins and owners".to_owned(),
        "maintainer" => "maintainers, admins and owners".to_owned(),
        "developer" => "every member".to_owned(),
        other => printable(other),
    }
}

fn invite(session: &Session, args: &InviteArgs) -> Result<()> {
    let org = check_org(&args.org)?;
    let body = encode(&InviteRequest {
        handle: handle(&args.handle)?.to_owned(),
        role: args.role.as_str().to_owned(),
    })?;
    let made: Invitation =
        change(session, Method::POST, &["api", "orgs", org, "invitations"], &[], Some(body))?;
    done(session, json!(made), || {
        // The server does not tell whether there is such an account, and neither do we.
        format!(
            "invited {} to `{org}` as {} until {}: they run `lpm org accept {org}`",
            printable(&made.handle),
            printable(&made.role),
            printable(&made.expires_at)
        )
    })
}

fn invitations(session: &Session, args: &OptionalOrg) -> Result<()> {
    let list: InvitationList = match args.org.as_deref().map(check_org).transpose()? {
        Some(org) => read(session, &["api", "orgs", org, "invitations"])?,
        None => read(session, &["api", "invitations"])?,
    };
    if session.json() {
        return output::json(&json!(list));
    }
    if list.invitations.is_empty() {
        note("no invitation waits");
    }
    list.invitations.iter().try_for_each(|one| {
        let by = one.invited_by.as_deref().map(|by| format!("  by {}", printable(by))).unwrap_or_default();
        let (org, handle, role) = (printable(&one.org), printable(&one.handle), printable(&one.role));
        output::line(format!("{org}  {handle}  {role}{by}  until {}", printable(&one.expires_at)))
    })
}

fn accept(session: &Session, args: &OrgName) -> Result<()> {
    let org = check_org(&args.org)?;
    let path = ["api", "orgs", org, "invitations", "accept"];
    let member: Member = change(session, Method::POST, &path, &[], Some(encode(&json!({}))?))?;
    done(session, json!(member), || {
        format!(
            "you are {} of `{org}` now; `lpm env pull --org={org}` in a project registers your key, then a member shares its vault with you",
            printable(&member.role)
        )
    })
}

fn decline(session: &Session, args: &OrgName) -> Result<()> {
    let org = check_org(&args.org)?;
    let own: InvitationList = read(session, &["api", "invitations"])?;
    let Some(invitation) = own.invitations.into_iter().find(|one| one.org == org) else {
        return Err(Error::failure(format!("no invitation to `{org}` waits for you")));
    };
    end(session, org, &invitation.handle, || format!("declined the invitation to `{org}`"))
}

fn uninvite(session: &Session, args: &MemberArgs) -> Result<()> {
    let (org, handle) = (check_org(&args.org)?, handle(&args.handle)?);
    end(session, org, handle, || format!("took back the invitation of {handle} to `{org}`"))
}

fn end(session: &Session, org: &str, handle: &str, sentence: impl FnOnce() -> String) -> Result<()> {
    let path = ["api", "orgs", org, "invitations", handle];
    let reply: Done = change(session, Method::DELETE, &path, &[], None)?;
    done(session, json!(reply), sentence)
}

fn role(session: &Session, args: &RoleArgs) -> Result<()> {
    let (org, handle) = (check_org(&args.org)?, handle(&args.handle)?);
    let body = encode(&RoleRequest { role: args.role.as_str().to_owned() })?;
    let member: Member =
        change(session, Method::PUT, &["api", "orgs", org, "members", handle], &[], Some(body))?;
    done(session, json!(member), || {
        format!("{} is {} of `{org}` now", printable(&member.handle), printable(&member.role))
    })
}

fn remove(session: &Session, args: &RemoveArgs) -> Result<()> {
    let (org, handle) = (check_org(&args.member.org)?, handle(&args.member.handle)?);
    confirm(&format!("Remove {handle} from `{org}`? They lose its vaults at once."), args.yes)?;
    let query: &[(&str, &str)] = if args.revoke_policies { &[("revokePolicies", "true")] } else { &[] };
    let path = ["api", "orgs", org, "members", handle];
    let reply: RemoveMemberReply = change(session, Method::DELETE, &path, query, None)?;
    if session.json() {
        return output::json(&json!(reply));
    }
    note(format!("removed {handle} from `{org}`"));
    let open = reply.policies.iter().filter(|policy| !policy.revoked).count();
    reply.policies.iter().try_for_each(|policy| {
        let state = if policy.revoked { "revoked" } else { "in force" };
        let (vault, subject) = (printable(&policy.vault_id), printable(&policy.subject));
        output::line(format!("{}  {state}  vault {vault}  {subject}", policy.id))
    })?;
    if open > 0 {
        warn(format!(
            "they wrote {open} of the org's policies, which stay in force: `lpm env oidc revoke` takes one back"
        ));
    }
    note(format!(
        "what they have pulled before they still know: change those values, then `lpm env share --org={org}` in each project, which encrypts it under a key that they never had"
    ));
    Ok(())
}

fn sharing(session: &Session, args: &SharingArgs) -> Result<()> {
    let org = check_org(&args.org)?;
    let settings = match args.role {
        None => {
            let list: MemberList = read(session, &["api", "orgs", org, "members"])?;
            OrgSettings { may_share: list.may_share }
        }
        Some(role) => {
            let body = encode(&OrgSettings { may_share: role.as_str().to_owned() })?;
            change(session, Method::PUT, &["api", "orgs", org, "settings"], &[], Some(body))?
        }
    };
    let document: Value = json!(settings);
    done(session, document, || format!("vaults of `{org}` may be shared by: {}", from(&settings.may_share)))
}

/// An account's handle, refused where it cannot be one: what was typed in its place may be a secret.
fn handle(text: &str) -> Result<&str> {
    if super::is_environment(text) {
        return Ok(text);
    }
    Err(Error::usage("that is no account's handle: 1 to 64 of `A-Z a-z 0-9 . _ -`"))
}
