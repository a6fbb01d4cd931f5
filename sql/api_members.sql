-- lpm_api: members of an org, who may do what, and invitations. Whoever changes members enters the org `managing`: one
-- at a time, so that what is decided here is decided on what is there.

-- A refusal for the caller's role: `what` continues "as developer of `acme` you cannot …".
create function lpm.refuse_role(request_id uuid, address text, caller lpm.caller, action text, vault_id text, what text) returns lpm_api.answer
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    return lpm.refuse(request_id, address, caller, action, vault_id, 'org_role', 'role', caller.role, 'org', caller.org, 'what', what);
end
$$;

-- Null, or why this is no role.
create function lpm.role_problem(field text, role text) returns lpm_api.answer
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    if lpm.role_rank(role_problem.role) is null then
        return lpm.failure('bad_request', 'reason', format('`%s` must be owner, admin, maintainer or developer', role_problem.field));
    end if;
    return null;
end
$$;

-- A member as answers have it. Runs in the caller's rights.
create function lpm.describe_member(of_org uuid, of_user uuid) returns json
language sql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $$
    select json_build_object('userId', m.user_id, 'handle', a.handle, 'role', m.role,
                             'hasPublicKey', exists (select from lpm.user_public_keys k where k.user_id = m.user_id))
      from lpm.org_member m join lpm.account a on a.id = m.user_id
     where m.org_id = $1 and m.user_id = $2
$$;

-- Whether the org has an owner beside this one.
create function lpm.has_other_owner(of_org uuid, of_user uuid) returns boolean
language sql stable parallel restricted
set search_path = pg_catalog, pg_temp
as $$ select exists (select from lpm.org_member m where m.org_id = $1 and m.user_id <> $2 and m.role = 'owner') $$;

-- GET /api/orgs/{org}/members
create function lpm_api.members(request_id uuid, address text, token_hash bytea, org text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_org(members.token_hash, 'read', members.org);
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    return row (200, (select json_build_object(
                          'members', json_agg(lpm.describe_member(m.org_id, m.user_id) order by lpm.role_rank(m.role) desc, a.handle),
                          'mayShare', (select o.may_share from lpm.org o where o.id = caller.org_id))::text
                        from lpm.org_member m join lpm.account a on a.id = m.user_id
                       where m.org_id = caller.org_id))::lpm_api.answer;
end
$$;

-- PUT /api/orgs/{org}/members/{handle}: nobody acts above their own role, so only owners make or unmake owners
create function lpm_api.set_role(request_id uuid, address text, token_hash bytea, org text, handle text, role text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_org(set_role.token_hash, 'all', set_role.org, managing => true);
    refusal lpm_api.answer;
    member record;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    refusal := lpm.role_problem('role', set_role.role);
    if refusal.status is not null then
        return refusal;
    end if;
    if not lpm.role_leads(caller.role) then
        return lpm.refuse_role(set_role.request_id, set_role.address, caller, 'member_role', null, 'change roles');
    end if;
    select m.user_id, m.role into member from lpm.org_member m join lpm.account a on a.id = m.user_id
     where m.org_id = caller.org_id and a.handle = set_role.handle;
    if not found then
        return lpm.failure('member_unknown', 'member', set_role.handle, 'org', caller.org);
    end if;
    if lpm.role_rank(member.role) > lpm.role_rank(caller.role) or lpm.role_rank(set_role.role) > lpm.role_rank(caller.role) then
        return lpm.refuse_role(set_role.request_id, set_role.address, caller, 'member_role', null, 'make or unmake an owner');
    end if;
    if member.role = 'owner' and set_role.role <> 'owner' and not lpm.has_other_owner(caller.org_id, member.user_id) then
        return lpm.refuse(set_role.request_id, set_role.address, caller, 'member_role', null, 'last_owner', 'org', caller.org);
    end if;
    if member.role <> set_role.role then
        update lpm.org_member m set role = set_role.role where m.org_id = caller.org_id and m.user_id = member.user_id;
        perform lpm.end_invitations(caller.org_id, member.user_id, set_role.role);
        perform lpm.audit(set_role.request_id, set_role.address, caller, 'member_role', null,
                          json_build_object('handle', set_role.handle, 'from', member.role, 'role', set_role.role));
    end if;
    return row (200, lpm.describe_member(caller.org_id, member.user_id)::text)::lpm_api.answer;
end
$$;

-- DELETE /api/orgs/{org}/members/{handle}: somebody's membership, or the caller's own
create function lpm_api.remove_member(request_id uuid, address text, token_hash bytea, org text, handle text, revoke_policies boolean)
returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_org(remove_member.token_hash, 'all', remove_member.org, managing => true);
    leaves boolean;
    member record;
    policies json;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    leaves := remove_member.handle is not distinct from caller.handle;
    if not leaves and not lpm.role_leads(caller.role) then
        return lpm.refuse_role(remove_member.request_id, remove_member.address, caller, 'member_removed', null, 'remove members');
    elsif remove_member.revoke_policies and not lpm.role_leads(caller.role) then
        return lpm.refuse_role(remove_member.request_id, remove_member.address, caller, 'member_removed', null, 'revoke its policies');
    end if;
    select m.user_id, m.role into member from lpm.org_member m join lpm.account a on a.id = m.user_id
     where m.org_id = caller.org_id and a.handle = remove_member.handle;
    if not found then
        return lpm.failure('member_unknown', 'member', remove_member.handle, 'org', caller.org);
    end if;
    if lpm.role_rank(member.role) > lpm.role_rank(caller.role) then
        return lpm.refuse_role(remove_member.request_id, remove_member.address, caller, 'member_removed', null, 'remove an owner');
    end if;
    if member.role = 'owner' and not lpm.has_other_owner(caller.org_id, member.user_id) then
        return lpm.refuse(remove_member.request_id, remove_member.address, caller, 'member_removed', null, 'last_owner', 'org', caller.org);
    end if;
    select coalesce(json_agg(json_build_object('id', e.policy, 'vaultId', e.vault_id, 'subject', e.subject, 'revoked', e.revoked)), '[]') into policies
      from lpm.end_membership(caller.org_id, member.user_id, coalesce(remove_member.revoke_policies, false)) e;
    perform lpm.audit(remove_member.request_id, remove_member.address, caller, 'member_removed', null,
                      json_build_object('handle', remove_member.handle, 'left', leaves, 'policiesRevoked', coalesce(remove_member.revoke_policies, false)));
    return row (200, json_build_object('success', true, 'policies', policies)::text)::lpm_api.answer;
end
$$;

-- PUT /api/orgs/{org}/settings
create function lpm_api.org_settings(request_id uuid, address text, token_hash bytea, org text, may_share text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_org(org_settings.token_hash, 'all', org_settings.org, managing => true);
    refusal lpm_api.answer;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    refusal := lpm.role_problem('mayShare', org_settings.may_share);
    if refusal.status is not null then
        return refusal;
    end if;
    if not lpm.role_leads(caller.role) then
        return lpm.refuse_role(org_settings.request_id, org_settings.address, caller, 'sharing_set', null, 'change its settings');
    end if;
    update lpm.org o set may_share = org_settings.may_share where o.id = caller.org_id;
    perform lpm.audit(org_settings.request_id, org_settings.address, caller, 'sharing_set', null, json_build_object('mayShare', org_settings.may_share));
    return row (200, json_build_object('mayShare', org_settings.may_share)::text)::lpm_api.answer;
end
$$;
