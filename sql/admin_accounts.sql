-- Admin functions at a psql prompt: users, orgs, tokens, gateway logins. They run as lpm_owner, may be called
-- by lpm_admin, and each call leaves an audit row with session_user.

create function lpm.audit_admin(action text, vault_id text default null, owner_user uuid default null, owner_org uuid default null, metadata json default null)
returns void
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
    insert into lpm.audit_log (request_id, action, decision, login, vault_id, owner_user_id, owner_org_id, metadata)
    values (gen_random_uuid(), $1, 'done', session_user, $2, $3, $4, $5)
$$;

-- The account or org behind a name a DBA typed; exactly one of the two ids is set.
create function lpm.find_owner(name text, out user_id uuid, out org_id uuid)
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    select a.id into user_id from lpm.account a where a.handle = find_owner.name;
    select o.id into org_id from lpm.org o where o.slug = find_owner.name;
    if num_nonnulls(user_id, org_id) <> 1 then
        raise exception 'no user or org named "%"', find_owner.name
            using errcode = 'no_data_found', hint = 'select handle from lpm.account; select slug from lpm.org;';
    end if;
end
$$;

create function lpm.find_user(handle text) returns uuid
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    found_id uuid;
begin
    select a.id into found_id from lpm.account a where a.handle = find_user.handle;
    if not found then
        raise exception 'no user named "%"', find_user.handle
            using errcode = 'no_data_found', hint = format('Make one: select lpm.create_user(%L);', find_user.handle);
    end if;
    return found_id;
end
$$;

create function lpm.find_org(slug text) returns uuid
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    found_id uuid;
begin
    select o.id into found_id from lpm.org o where o.slug = find_org.slug;
    if not found then
        raise exception 'no org named "%"', find_org.slug
            using errcode = 'no_data_found', hint = format('Make one: select lpm.create_org(%L, plan => ''org'');', find_org.slug);
    end if;
    return found_id;
end
$$;

-- Handles and slugs share one namespace, so that `lpm.set_plan('acme', …)` can mean only one thing.
create function lpm.check_name(name text, plan text) returns void
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    if check_name.name is null or check_name.name !~ '^[a-z0-9][a-z0-9_.-]{0,62}$' then
        raise exception '"%" is not a name: lower-case letters, digits, ".", "_" and "-", at most 63', check_name.name
            using errcode = 'invalid_parameter_value';
    end if;
    -- words that stand where a handle does: /api/orgs/{org}/members/public-keys, …/invitations/accept
    if check_name.name in ('public-keys', 'accept') then
        raise exception 'the name "%" is reserved', check_name.name using errcode = 'reserved_name';
    end if;
    if check_name.plan is null or check_name.plan not in ('free', 'pro', 'org') then
        raise exception 'there is no plan "%"', check_name.plan using errcode = 'invalid_parameter_value', hint = 'Plans are free, pro and org.';
    end if;
    if exists (select from lpm.account a where a.handle = check_name.name) or exists (select from lpm.org o where o.slug = check_name.name) then
        raise exception 'the name "%" is taken', check_name.name using errcode = 'unique_violation';
    end if;
end
$$;

-- While this view exists, DROP EXTENSION without CASCADE refuses instead of deleting every vault. It is made
-- by the first account, outside the extension's script, so it is not a member of the extension.
create function lpm.guard_against_drop() returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    if to_regclass('lpm.vaults_would_be_lost') is null then
        create view lpm.vaults_would_be_lost as
            select count(*) as vaults from lpm.vault_sync where version > 0;
        comment on view lpm.vaults_would_be_lost is
            'Keeps DROP EXTENSION pg_lpm from deleting vaults; drop this view first if that is what you want';
    end if;
end
$$;

create function lpm.create_user(handle text, plan text default 'free') returns uuid
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    new_id uuid;
begin
    perform lpm.check_name(create_user.handle, create_user.plan);
    perform lpm.guard_against_drop();
    insert into lpm.account (handle, plan) values (create_user.handle, create_user.plan) returning id into new_id;
    perform lpm.audit_admin('user_create', owner_user => new_id, metadata => json_build_object('handle', create_user.handle, 'plan', create_user.plan));
    return new_id;
end
$$;

-- Deletes the account with its tokens, personal vaults and policies. Returns how many vaults that were.
create function lpm.drop_user(handle text) returns bigint
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    of_user uuid := lpm.find_user(drop_user.handle);
    of_org uuid;
    vaults bigint;
begin
    -- first, and one by one, as everybody leaves: or a share that runs beside it would deadlock with the deletion
    for of_org in select m.org_id from lpm.org_member m where m.user_id = of_user order by m.org_id loop
        perform from lpm.org o where o.id = of_org for no key update;
        perform lpm.end_membership(of_org, of_user, false);
    end loop;
    -- whoever has the handle next was not invited
    delete from lpm.org_invitation i where i.handle = drop_user.handle;
    select count(*) into vaults from lpm.vault_sync v where v.user_id = of_user and v.version > 0;
    -- what the user claimed first and then shared stays the org's
    update lpm.vault_claim c set user_id = null where c.user_id = of_user and c.org_id is not null;
    delete from lpm.account a where a.id = of_user;
    perform lpm.audit_admin('user_drop', owner_user => of_user, metadata => json_build_object('handle', drop_user.handle, 'vaults', vaults));
    return vaults;
end
$$;

-- The token is shown once; only a hash of a hash is stored.
create function lpm.create_token(handle text, name text default 'token', valid_for interval default '90 days', scope text default 'all') returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    of_user uuid := lpm.find_user(create_token.handle);
    made record;
    token_id uuid;
begin
    if create_token.valid_for is null or create_token.valid_for <= interval '0' or create_token.valid_for > interval '10 years' then
        raise exception 'a token is valid for more than nothing and at most 10 years' using errcode = 'invalid_parameter_value';
    end if;
    if create_token.scope is null or create_token.scope not in ('all', 'read', 'none') then
        raise exception 'there is no scope "%"', create_token.scope using errcode = 'invalid_parameter_value', hint = 'Scopes are all, read and none.';
    end if;
    select * into made from lpm.new_token(lpm.gen_random_bytes(32));
    insert into lpm.access_token (user_id, stored_hash, name, scope, expires_at)
    values (of_user, made.stored_hash, create_token.name, create_token.scope, clock_timestamp() + create_token.valid_for)
    returning id into token_id;
    perform lpm.audit_admin('token_create', owner_user => of_user,
                            metadata => json_build_object('token', token_id, 'name', create_token.name, 'scope', create_token.scope));
    return made.token;
end
$$;

-- Revokes a user's tokens: the one with this name, or all of them; login sessions end with the token they came from. Returns
-- how many tokens ended.
create function lpm.revoke_tokens(handle text, name text default null) returns bigint
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    of_user uuid := lpm.find_user(revoke_tokens.handle);
    ended bigint;
    sessions bigint;
begin
    update lpm.access_token t set revoked_at = clock_timestamp()
     where t.user_id = of_user and t.session_id is null and t.revoked_at is null and (revoke_tokens.name is null or t.name = revoke_tokens.name);
    get diagnostics ended = row_count;
    update lpm.session s set ended_at = clock_timestamp()
     where s.user_id = of_user and s.ended_at is null
       and not exists (select from lpm.access_token p where p.id = s.pat_id and p.revoked_at is null);
    get diagnostics sessions = row_count;
    perform lpm.audit_admin('token_revoke', owner_user => of_user,
                            metadata => json_build_object('name', revoke_tokens.name, 'tokens', ended, 'sessions', sessions));
    return ended;
end
$$;

-- A user's login sessions that go on: which device, with which token it signed in.
create function lpm.list_sessions(handle text)
returns table (id uuid, device text, token text, created_at timestamptz, refreshed_at timestamptz, expires_at timestamptz)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    of_user uuid := lpm.find_user(list_sessions.handle);
begin
    return query
        select s.id, s.device, p.name, s.created_at, s.refreshed_at, s.expires_at
          from lpm.session s join lpm.access_token p on p.id = s.pat_id
         where s.user_id = of_user and lpm.session_lives(s.id) order by s.created_at desc, s.id;
end
$$;

-- Ends all login sessions of a user, whose tokens stay. Returns how many ended.
create function lpm.end_sessions(handle text) returns bigint
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    of_user uuid := lpm.find_user(end_sessions.handle);
    ended bigint;
begin
    select count(*) into ended from lpm.session s where s.user_id = of_user and lpm.session_lives(s.id);
    update lpm.session s set ended_at = clock_timestamp() where s.user_id = of_user and s.ended_at is null;
    delete from lpm.login_code c where c.user_id = of_user;
    perform lpm.audit_admin('session_end', owner_user => of_user, metadata => json_build_object('sessions', ended));
    return ended;
end
$$;

create function lpm.set_plan(name text, plan text) returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    owner record;
begin
    if set_plan.plan is null or set_plan.plan not in ('free', 'pro', 'org') then
        raise exception 'there is no plan "%"', set_plan.plan using errcode = 'invalid_parameter_value', hint = 'Plans are free, pro and org.';
    end if;
    select * into owner from lpm.find_owner(set_plan.name);
    update lpm.account a set plan = set_plan.plan where a.id = owner.user_id;
    update lpm.org o set plan = set_plan.plan where o.id = owner.org_id;
    perform lpm.audit_admin('plan_set', owner_user => owner.user_id, owner_org => owner.org_id, metadata => json_build_object('plan', set_plan.plan));
    return set_plan.plan;
end
$$;

create function lpm.create_org(slug text, plan text default 'org') returns uuid
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    new_id uuid;
begin
    perform lpm.check_name(create_org.slug, create_org.plan);
    insert into lpm.org (slug, plan) values (create_org.slug, create_org.plan) returning id into new_id;
    perform lpm.audit_admin('org_create', owner_org => new_id, metadata => json_build_object('slug', create_org.slug, 'plan', create_org.plan));
    return new_id;
end
$$;

-- Adds the user to the org, or changes the role of one who is in it.
create function lpm.add_member(org text, handle text, role text default 'developer') returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    of_org uuid := lpm.find_org(add_member.org);
    of_user uuid := lpm.find_user(add_member.handle);
begin
    if lpm.role_rank(add_member.role) is null then
        raise exception 'there is no role "%"', add_member.role
            using errcode = 'invalid_parameter_value', hint = 'Roles are owner, admin, maintainer and developer.';
    end if;
    perform from lpm.org o where o.id = of_org for no key update;
    insert into lpm.org_member (org_id, user_id, role) values (of_org, of_user, add_member.role)
    on conflict on constraint org_member_pkey do update set role = excluded.role;
    perform lpm.end_invitations(of_org, of_user, add_member.role);
    delete from lpm.org_invitation i where i.org_id = of_org and i.handle = add_member.handle;
    perform lpm.audit_admin('member_added', owner_org => of_org,
                            metadata => json_build_object('handle', add_member.handle, 'role', add_member.role));
    return add_member.role;
end
$$;

-- Removes the user from the org, with every copy of a vault's key that was wrapped for them, and lists the org's
-- policies that they wrote; `revoke_policies` ends those too.
create function lpm.remove_member(org text, handle text, revoke_policies boolean default false)
returns table (policy uuid, vault_id text, subject text, revoked boolean)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    of_org uuid := lpm.find_org(remove_member.org);
    of_user uuid := lpm.find_user(remove_member.handle);
begin
    perform from lpm.org o where o.id = of_org for no key update;
    if not exists (select from lpm.org_member m where m.org_id = of_org and m.user_id = of_user) then
        raise exception '"%" is not a member of "%"', remove_member.handle, remove_member.org using errcode = 'no_data_found';
    end if;
    return query select e.policy, e.vault_id, e.subject, e.revoked from lpm.end_membership(of_org, of_user, remove_member.revoke_policies) e;
    perform lpm.audit_admin('member_removed', owner_org => of_org,
                            metadata => json_build_object('handle', remove_member.handle, 'policiesRevoked', remove_member.revoke_policies));
end
$$;

-- Sets the lowest role that may share the org's vaults.
create function lpm.set_sharing(org text, role text) returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    of_org uuid := lpm.find_org(set_sharing.org);
begin
    if lpm.role_rank(set_sharing.role) is null then
        raise exception 'there is no role "%"', set_sharing.role
            using errcode = 'invalid_parameter_value', hint = 'Roles are owner, admin, maintainer and developer.';
    end if;
    update lpm.org o set may_share = set_sharing.role where o.id = of_org;
    perform lpm.audit_admin('sharing_set', owner_org => of_org, metadata => json_build_object('mayShare', set_sharing.role));
    return set_sharing.role;
end
$$;

-- A login for one gateway: member of lpm_gateway and nothing else, with the settings that keep parameters out of
-- the log. Returns its password, once. Runs as the superuser who installed the extension: making logins and
-- setting log_parameter_max_length takes one. What reaches the server log is the SCRAM verifier.
create function lpm.create_gateway_login(name text) returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    made record;
begin
    if create_gateway_login.name is null or create_gateway_login.name !~ '^[a-z_][a-z0-9_]{0,62}$' or starts_with(create_gateway_login.name, 'pg_') then
        raise exception '"%" is not a name for a login: lower-case letters, digits and "_", at most 63', create_gateway_login.name
            using errcode = 'invalid_parameter_value';
    end if;
    if exists (select from pg_catalog.pg_roles r where r.rolname = create_gateway_login.name) then
        raise exception 'the role "%" exists already', create_gateway_login.name
            using errcode = 'duplicate_object', hint = 'Give each gateway a login of its own, or drop this one first.';
    end if;
    select * into made from lpm.new_login_password(lpm.gen_random_bytes(48));
    execute format('create role %I login password %L in role lpm_gateway', create_gateway_login.name, made.verifier);
    execute format('alter role %I set log_parameter_max_length = 0', create_gateway_login.name);
    execute format('alter role %I set log_parameter_max_length_on_error = 0', create_gateway_login.name);
    execute format('alter role %I set lock_timeout = ''5s''', create_gateway_login.name);
    execute format('alter role %I set idle_in_transaction_session_timeout = ''10s''', create_gateway_login.name);
    execute format('alter role %I set work_mem = ''16MB''', create_gateway_login.name);
    execute format('alter role %I set default_transaction_isolation = ''read committed''', create_gateway_login.name);
    perform lpm.audit_admin('gateway_login_create', metadata => json_build_object('name', create_gateway_login.name));
    return made.password;
end
$$;
