-- lpm_api: invitations to an org, by handle. Whether an account has the handle is not looked at: the answer is the same.

-- POST /api/orgs/{org}/invitations: replaces an earlier one for the handle
create function lpm_api.invite(request_id uuid, address text, token_hash bytea, org text, handle text, role text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_org(invite.token_hash, 'all', invite.org, managing => true);
    refusal lpm_api.answer;
    invited lpm.org_invitation;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    refusal := lpm.role_problem('role', invite.role);
    if refusal.status is not null then
        return refusal;
    end if;
    if invite.handle is null or invite.handle !~ '^[a-z0-9][a-z0-9_.-]{0,62}$' then
        return lpm.failure('bad_request', 'reason', '`handle` is not one: lower-case letters, digits, `.`, `_` and `-`, at most 63');
    end if;
    if not lpm.role_leads(caller.role) then
        return lpm.refuse_role(invite.request_id, invite.address, caller, 'invitation_create', null, 'invite anybody');
    elsif lpm.role_rank(invite.role) > lpm.role_rank(caller.role) then
        return lpm.refuse_role(invite.request_id, invite.address, caller, 'invitation_create', null, 'make an owner');
    end if;
    -- members see each other anyway
    if exists (select from lpm.org_member m join lpm.account a on a.id = m.user_id where m.org_id = caller.org_id and a.handle = invite.handle) then
        return lpm.failure('already_member', 'member', invite.handle, 'org', caller.org);
    end if;
    delete from lpm.org_invitation i where i.org_id = caller.org_id and i.expires_at <= clock_timestamp();
    if (select count(*) from lpm.org_invitation i where i.org_id = caller.org_id and i.handle <> invite.handle) >= 100 then
        return lpm.refuse(invite.request_id, invite.address, caller, 'invitation_create', null, 'too_many_invitations', 'org', caller.org, 'limit', '100');
    end if;
    insert into lpm.org_invitation as i (org_id, handle, role, invited_by) values (caller.org_id, invite.handle, invite.role, caller.user_id)
    on conflict on constraint org_invitation_pkey do update
       set role = excluded.role, invited_by = excluded.invited_by, created_at = excluded.created_at, expires_at = excluded.expires_at
    returning i.* into invited;
    perform lpm.audit(invite.request_id, invite.address, caller, 'invitation_create', null, json_build_object('handle', invite.handle, 'role', invite.role));
    return row (201, json_build_object('org', caller.org, 'handle', invited.handle, 'role', invited.role, 'invitedBy', caller.handle,
                                       'expiresAt', lpm.rfc3339(invited.expires_at))::text)::lpm_api.answer;
end
$$;

-- GET /api/orgs/{org}/invitations
create function lpm_api.org_invitations(request_id uuid, address text, token_hash bytea, org text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_org(org_invitations.token_hash, 'read', org_invitations.org);
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if not lpm.role_leads(caller.role) then
        return lpm.refuse_role(org_invitations.request_id, org_invitations.address, caller, 'invitation_list', null, 'see its invitations');
    end if;
    return row (200, (select json_build_object('invitations', coalesce(json_agg(json_build_object(
                           'org', caller.org, 'handle', i.handle, 'role', i.role,
                           'invitedBy', (select a.handle from lpm.account a where a.id = i.invited_by), 'expiresAt', lpm.rfc3339(i.expires_at))
                           order by i.created_at desc, i.handle), '[]'))::text
                        from lpm.org_invitation i
                       where i.org_id = caller.org_id and i.expires_at > clock_timestamp()))::lpm_api.answer;
end
$$;

-- GET /api/invitations: those for the caller
create function lpm_api.own_invitations(request_id uuid, address text, token_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(own_invitations.token_hash, 'read');
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    return row (200, (select json_build_object('invitations', coalesce(json_agg(json_build_object(
                           'org', i.org, 'handle', i.handle, 'role', i.role, 'invitedBy', i.invited_by, 'expiresAt', lpm.rfc3339(i.expires_at))
                           order by i.created_at desc, i.org), '[]'))::text
                        from lpm.own_invitations() i))::lpm_api.answer;
end
$$;

-- POST /api/orgs/{org}/invitations/accept. Without an invitation an org answers as one that does not exist.
create function lpm_api.accept_invitation(request_id uuid, address text, token_hash bytea, org text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(accept_invitation.token_hash, 'all');
    member lpm.org_member;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    member := lpm.join_org(accept_invitation.org);
    if member.user_id is null then
        return lpm.failure('invitation_unknown', 'org', accept_invitation.org);
    end if;
    -- as a member from here on
    caller := lpm.enter_org(accept_invitation.token_hash, 'all', accept_invitation.org);
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    perform lpm.audit(accept_invitation.request_id, accept_invitation.address, caller, 'member_added', null,
                      json_build_object('handle', caller.handle, 'role', member.role, 'invited', true));
    return row (200, lpm.describe_member(caller.org_id, caller.user_id)::text)::lpm_api.answer;
end
$$;

-- DELETE /api/orgs/{org}/invitations/{handle}: an owner or admin takes it back, whom it is for declines it
create function lpm_api.end_invitation(request_id uuid, address text, token_hash bytea, org text, handle text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(end_invitation.token_hash, 'all');
    declined uuid;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if end_invitation.handle = caller.handle then
        declined := lpm.decline_invitation(end_invitation.org);
        if declined is null then
            return lpm.failure('invitation_unknown', 'org', end_invitation.org);
        end if;
        perform lpm.audit(end_invitation.request_id, end_invitation.address, caller, 'invitation_end', null,
                          json_build_object('handle', end_invitation.handle, 'declined', true), org => declined);
        return row (200, json_build_object('success', true)::text)::lpm_api.answer;
    end if;
    caller := lpm.enter_org(end_invitation.token_hash, 'all', end_invitation.org, managing => true);
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if not lpm.role_leads(caller.role) then
        return lpm.refuse_role(end_invitation.request_id, end_invitation.address, caller, 'invitation_end', null, 'take invitations back');
    end if;
    delete from lpm.org_invitation i
     where i.org_id = caller.org_id and i.handle = end_invitation.handle and i.expires_at > clock_timestamp();
    if not found then
        return lpm.failure('invitation_unknown', 'org', caller.org);
    end if;
    perform lpm.audit(end_invitation.request_id, end_invitation.address, caller, 'invitation_end', null,
                      json_build_object('handle', end_invitation.handle, 'declined', false));
    return row (200, json_build_object('success', true)::text)::lpm_api.answer;
end
$$;
