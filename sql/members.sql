-- Who belongs to an org: what lpm_api and the admin functions share. Whoever calls these holds the org's row (see
-- lpm.enter_org), so that two changes of members never pass each other.

-- Ends the invitations that this member made and, with this role (null: with none), may no longer make: nobody invites
-- above their own role, also not by leaving an invitation behind. Runs in the caller's rights.
create function lpm.end_invitations(of_org uuid, inviter uuid, role text) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from lpm.org_invitation i
     where i.org_id = end_invitations.of_org and i.invited_by = end_invitations.inviter
       and not coalesce(lpm.role_leads(end_invitations.role) and lpm.role_rank(i.role) <= lpm.role_rank(end_invitations.role), false);
end
$$;

-- Ends a membership, and with it every copy of a vault's key that the member had: of all versions at once, because a
-- copy without a membership cannot be stored. Returns the org's policies that the leaver wrote. Runs in the caller's
-- rights: lpm_definer sees those policies where the caller leads the org.
create function lpm.end_membership(of_org uuid, of_user uuid, revoke_policies boolean)
returns table (policy uuid, vault_id text, subject text, revoked boolean)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from lpm.org_member m where m.org_id = end_membership.of_org and m.user_id = end_membership.of_user;
    perform lpm.end_invitations(end_membership.of_org, end_membership.of_user, null);
    return query
        select p.id, p.vault_id, p.subject, end_membership.revoke_policies
          from lpm.oidc_policy p where p.org_id = end_membership.of_org and p.author = end_membership.of_user order by p.created_at, p.id;
    if end_membership.revoke_policies then
        delete from lpm.oidc_policy p where p.org_id = end_membership.of_org and p.author = end_membership.of_user;
    end if;
end
$$;

-- Locks the memberships of an org until the transaction ends, before keys are stored for its members: nobody's can end
-- in between. In one order, and before the claim and the row of the vault, or it would deadlock with a removal.
create function lpm.hold_members(of_org uuid) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    perform from lpm.org_member m where m.org_id = hold_members.of_org order by m.user_id for key share;
end
$$;

-- Makes the account in scope a member of the org where an invitation for its handle stands; null where none does.
-- Across what row security shows: whoever is invited sees nothing of the org yet.
create function lpm.join_org(slug text) returns lpm.org_member
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    me lpm.account;
    of_org uuid;
    invited_as text;
    member lpm.org_member;
begin
    select a.* into me from lpm.account a where a.id = lpm.scope_account();
    -- only for the invited: strangers lock nothing
    select o.id into of_org from lpm.org o
     where o.slug = join_org.slug and exists (select from lpm.org_invitation i where i.org_id = o.id and i.handle = me.handle)
       for no key update;
    delete from lpm.org_invitation i
     where i.org_id = of_org and i.handle = me.handle and i.expires_at > clock_timestamp()
    returning i.role into invited_as;
    if not found then
        return null;
    end if;
    insert into lpm.org_member (org_id, user_id, role) values (of_org, me.id, invited_as)
    on conflict on constraint org_member_pkey do nothing;
    select m.* into member from lpm.org_member m where m.org_id = of_org and m.user_id = me.id;
    return member;
end
$$;

-- The invitations for the handle of the account in scope.
create function lpm.own_invitations() returns table (org text, handle text, role text, invited_by text, created_at timestamptz, expires_at timestamptz)
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
        select o.slug, i.handle, i.role, inviter.handle, i.created_at, i.expires_at
          from lpm.account me
          join lpm.org_invitation i on i.handle = me.handle
          join lpm.org o on o.id = i.org_id
          join lpm.account inviter on inviter.id = i.invited_by
         where me.id = lpm.scope_account() and i.expires_at > clock_timestamp();
end
$$;

-- Ends the invitation for the handle of the account in scope; the org, or null where none waited.
create function lpm.decline_invitation(slug text) returns uuid
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    of_org uuid;
begin
    delete from lpm.org_invitation i
     using lpm.org o, lpm.account me
     where o.slug = decline_invitation.slug and i.org_id = o.id and me.id = lpm.scope_account() and i.handle = me.handle
       and i.expires_at > clock_timestamp()
    returning i.org_id into of_org;
    return of_org;
end
$$;
