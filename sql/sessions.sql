-- lpm_api: signing in, login sessions, and tokens that replace or end themselves.
--
-- Tokens and codes are made in the gateway; what comes here are their hashes. A session is never worth more than the personal
-- access token that signed in: it has its scope, and ends with it.

-- Hashes as the gateway makes them, or nothing is stored.
create function lpm.are_hashes(variadic hashes bytea[]) returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$ select coalesce(bool_and(octet_length(h) is not distinct from 32), false) from unnest(hashes) h $$;

-- Ends a session of the account in scope, with the reason for the audit.
create function lpm.close_session(request_id uuid, address text, caller lpm.caller, session lpm.session, why text) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    update lpm.session s set ended_at = clock_timestamp() where s.id = (close_session.session).id and s.ended_at is null;
    perform lpm.audit(request_id, address, caller, 'session_end', null,
                      json_build_object('session', (close_session.session).id, 'device', (close_session.session).device, 'why', why));
end
$$;

-- The next pair of tokens of a session, of this generation. Answers when the access token ends: in an hour, or with the
-- token that the session came from.
create function lpm.issue_session_tokens(session lpm.session, generation int, access_hash bytea, refresh_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
    ends timestamptz;
    refreshable timestamptz := clock_timestamp() + interval '30 days';
begin
    delete from lpm.access_token t where t.session_id = (issue_session_tokens.session).id and t.expires_at < clock_timestamp();
    insert into lpm.access_token (user_id, session_id, stored_hash, name, scope, expires_at)
    select p.user_id, (issue_session_tokens.session).id, sha256(access_hash), (issue_session_tokens.session).device, p.scope,
           least(clock_timestamp() + interval '1 hour', p.expires_at)
      from lpm.access_token p where p.id = (issue_session_tokens.session).pat_id
    returning expires_at into ends;
    insert into lpm.session_refresh (stored_hash, session_id, generation, expires_at)
    values (sha256(refresh_hash), (issue_session_tokens.session).id, issue_session_tokens.generation, refreshable);
    update lpm.session s set refreshed_at = clock_timestamp(), expires_at = refreshable where s.id = (issue_session_tokens.session).id;
    return row (200, json_build_object('expiresAt', lpm.rfc3339(ends))::text)::lpm_api.answer;
end
$$;

-- Enters the account that a login code or refresh token turned out to belong to. No right of anybody's: only the two
-- functions below call it, as the owner.
create function lpm.enter_user(user_id uuid) returns lpm.caller
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller;
begin
    select a.id, a.handle, a.plan into caller.user_id, caller.handle, caller.plan from lpm.account a where a.id = enter_user.user_id;
    perform lpm.set_scope(caller.user_id, null, null, null, null, null);
    return caller;
end
$$;

-- Takes a login code: good once, and while the token that signed in is.
create function lpm.enter_login_code(code_hash bytea, out caller lpm.caller, out code lpm.login_code)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    is_first boolean;
begin
    perform lpm.set_scope(null, null, null, null, null, null);
    caller.refusal := lpm.refuse_session();
    if (caller.refusal).status is not null then
        return;
    end if;
    -- of two at once the second one waits here, and finds it used
    update lpm.login_code c set used_at = clock_timestamp()
     where c.stored_hash = sha256(enter_login_code.code_hash) and c.used_at is null;
    is_first := found;
    select c.* into code from lpm.login_code c where c.stored_hash = sha256(enter_login_code.code_hash);
    if not found then
        caller.refusal := lpm.failure('login_code_invalid');
        return;
    end if;
    caller := lpm.enter_user(code.user_id);
    if not is_first or code.expires_at <= clock_timestamp()
       or not exists (select from lpm.access_token p where p.id = code.pat_id and p.revoked_at is null and p.expires_at > clock_timestamp()) then
        code := null;
    end if;
end
$$;

-- The session of a refresh token. One refresh of a session at a time, so that two cannot both be the first.
create function lpm.enter_refresh_token(token_hash bytea, out caller lpm.caller, out session lpm.session, out used lpm.session_refresh)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform lpm.set_scope(null, null, null, null, null, null);
    caller.refusal := lpm.refuse_session();
    if (caller.refusal).status is not null then
        return;
    end if;
    select s.* into session from lpm.session s
     where s.id = (select r.session_id from lpm.session_refresh r where r.stored_hash = sha256(enter_refresh_token.token_hash))
       for no key update;
    select r.* into used from lpm.session_refresh r where r.stored_hash = sha256(enter_refresh_token.token_hash) and r.session_id = session.id;
    if not found then
        caller.refusal := lpm.failure('session_ended');
        return;
    end if;
    caller := lpm.enter_user(session.user_id);
    caller.session_id := session.id;
end
$$;

-- POST /cli/login: a personal access token signs in. Answers with the handle; the code's hash is stored.
create function lpm_api.begin_login(request_id uuid, address text, token_hash bytea, code_hash bytea, device text, fingerprint text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(begin_login.token_hash, 'none');
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if caller.session_id is not null then
        -- or a session could prolong itself beyond its end
        return lpm.refuse(request_id, address, caller, 'session_begin', null, 'token_scope', 'allowed', 'be used by the command line it belongs to');
    elsif caller.token_scope = 'none' then
        return lpm.refuse(request_id, address, caller, 'session_begin', null, 'token_scope', 'allowed', 'say who you are');
    elsif not lpm.are_hashes(begin_login.code_hash) then
        return lpm.failure('bad_request', 'reason', 'the login code has no hash');
    end if;
    delete from lpm.login_code c where c.user_id = caller.user_id and c.expires_at < clock_timestamp() - interval '10 minutes';
    insert into lpm.login_code (stored_hash, user_id, pat_id, device, fingerprint, expires_at)
    values (sha256(begin_login.code_hash), caller.user_id, caller.token_id, lpm.presentable(coalesce(begin_login.device, 'CLI')),
            left(begin_login.fingerprint, 64), clock_timestamp() + interval '2 minutes')
    on conflict on constraint login_code_pkey do nothing;
    if not found then
        return lpm.failure('login_code_invalid');
    end if;
    return row (200, json_build_object('handle', caller.handle)::text)::lpm_api.answer;
end
$$;

-- POST /api/cli/exchange: a login code buys a session
create function lpm_api.exchange_code(request_id uuid, address text, code_hash bytea, access_hash bytea, refresh_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    entered record;
    caller lpm.caller;
    code lpm.login_code;
    begun lpm.session;
begin
    if not lpm.are_hashes(exchange_code.access_hash, exchange_code.refresh_hash) then
        return lpm.failure('bad_request', 'reason', 'the new tokens have no hashes');
    end if;
    select * into entered from lpm.enter_login_code(exchange_code.code_hash);
    caller := entered.caller;
    code := entered.code;
    if (caller.refusal).status is not null then
        return caller.refusal;
    elsif code.stored_hash is null then
        return lpm.refuse(request_id, address, caller, 'session_begin', null, 'login_code_invalid');
    end if;
    insert into lpm.session (user_id, pat_id, device, expires_at)
    values (caller.user_id, code.pat_id, code.device, clock_timestamp() + interval '30 days') returning * into begun;
    perform lpm.audit(request_id, address, caller, 'session_begin', null, json_strip_nulls(json_build_object(
                          'session', begun.id, 'device', begun.device, 'token', begun.pat_id, 'fingerprint', code.fingerprint)));
    return lpm.issue_session_tokens(begun, 1, exchange_code.access_hash, exchange_code.refresh_hash);
end
$$;

-- POST /api/cli/refresh: a refresh token buys the next pair. Several processes of a machine may do so at once with the same
-- one; once one of what they got is used, all others of its generation count as replaced. One that was replaced for longer
-- than that means that somebody has a copy: nobody can tell who, so the session ends.
create function lpm_api.refresh_session(request_id uuid, address text, refresh_hash bytea, next_access_hash bytea, next_refresh_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    entered record;
    caller lpm.caller;
    session lpm.session;
    used lpm.session_refresh;
begin
    if not lpm.are_hashes(refresh_session.next_access_hash, refresh_session.next_refresh_hash) then
        return lpm.failure('bad_request', 'reason', 'the new tokens have no hashes');
    end if;
    select * into entered from lpm.enter_refresh_token(refresh_session.refresh_hash);
    caller := entered.caller;
    session := entered.session;
    used := entered.used;
    if (caller.refusal).status is not null then
        return caller.refusal;
    elsif not lpm.session_lives(session.id) then
        return lpm.refuse(request_id, address, caller, 'session_refresh', null, 'session_ended');
    elsif not lpm.just_now(used.replaced_at) then
        update lpm.session s set ended_at = clock_timestamp() where s.id = session.id;
        perform lpm.audit(request_id, address, caller, 'session_reused', null,
                          json_build_object('session', session.id, 'device', session.device), 'denied', 'session_reused');
        return lpm.failure('session_reused');
    elsif used.expires_at <= clock_timestamp() then
        return lpm.refuse(request_id, address, caller, 'session_refresh', null, 'session_ended');
    end if;
    update lpm.session_refresh r set replaced_at = clock_timestamp()
     where r.session_id = session.id and r.generation <= used.generation and r.replaced_at is null;
    return lpm.issue_session_tokens(session, used.generation + 1, refresh_session.next_access_hash, refresh_session.next_refresh_hash);
end
$$;

-- GET /api/cli/sessions
create function lpm_api.list_sessions(request_id uuid, address text, token_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(list_sessions.token_hash, 'read');
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    return row (200, (select json_build_object('sessions', coalesce(json_agg(json_build_object(
                           'id', s.id, 'device', s.device, 'createdAt', lpm.rfc3339(s.created_at), 'refreshedAt', lpm.rfc3339(s.refreshed_at),
                           'expiresAt', lpm.rfc3339(s.expires_at), 'current', s.id is not distinct from caller.session_id)
                           order by s.created_at desc, s.id), '[]'))::text
                        from lpm.session s where s.user_id = caller.user_id and lpm.session_lives(s.id)))::lpm_api.answer;
end
$$;

-- DELETE /api/cli/sessions/{id}. A token that may only read ends its own session and no other.
create function lpm_api.end_session(request_id uuid, address text, token_hash bytea, session text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(end_session.token_hash, 'none');
    ended lpm.session;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    elsif caller.token_scope <> 'all' and end_session.session is distinct from caller.session_id::text then
        return lpm.refuse(request_id, address, caller, 'session_end', null, 'token_scope', 'allowed',
                          case caller.token_scope when 'read' then 'read' else 'say who you are' end);
    end if;
    select s.* into ended from lpm.session s where s.id::text = end_session.session and s.user_id = caller.user_id and lpm.session_lives(s.id)
       for no key update;
    if not found then
        return lpm.refuse(request_id, address, caller, 'session_end', null, 'session_unknown', 'session', end_session.session);
    end if;
    perform lpm.close_session(request_id, address, caller, ended, 'by name');
    return row (200, '{"success":true}')::lpm_api.answer;
end
$$;

-- GET /api/registry/-/whoami
create function lpm_api.whoami(request_id uuid, address text, token_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(whoami.token_hash, 'none');
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    return row (200, (
        select json_build_object(
                   'id', caller.user_id, 'username', caller.handle, 'profile_username', caller.handle, 'plan_tier', caller.plan,
                   'session', caller.session_id is not null, 'mfa_enabled', false, 'has_pool_access', false,
                   'organizations', coalesce(json_agg(json_build_object('id', o.id, 'slug', o.slug, 'name', o.slug, 'role', m.role, 'require_2fa', false)
                                                      order by o.slug), '[]'),
                   'available_scopes', array_to_json(caller.handle || coalesce(array_agg(o.slug::text order by o.slug), '{}')),
                   'usage', json_build_object('storage_bytes', (select coalesce(sum(octet_length(v.encrypted_blob)), 0) from lpm.vault_sync v
                                                                 where v.user_id = caller.user_id), 'private_packages', 0),
                   'limits', json_build_object('storageBytes', 0, 'privatePackages', 0))::text
          from lpm.org_member m join lpm.org o on o.id = m.org_id
         where m.user_id = caller.user_id))::lpm_api.answer;
end
$$;

-- POST /api/registry/-/token/rotate: the bearer's successor, with the same name, scope, sessions and end. The old one is dead at
-- once; who presents it again within 30 seconds, because the answer was lost, gets another successor, and the first one dies.
create function lpm_api.rotate_token(request_id uuid, address text, token_hash bytea, new_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(rotate_token.token_hash, 'none', rotating => true);
    old_hash bytea := sha256(rotate_token.token_hash);
    rotated lpm.access_token;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    elsif not lpm.are_hashes(rotate_token.new_hash) then
        return lpm.failure('bad_request', 'reason', 'the new token has no hash');
    end if;
    -- Of two at once the second one waits here, and looks at what the first one left.
    update lpm.access_token t
       set stored_hash = sha256(rotate_token.new_hash), previous_hash = old_hash,
           rotated_at = case when t.stored_hash = old_hash then clock_timestamp() else t.rotated_at end
     where t.id = caller.token_id and t.revoked_at is null
       and (t.stored_hash = old_hash or t.previous_hash = old_hash and lpm.just_now(t.rotated_at))
    returning t.* into rotated;
    if not found then
        return lpm.refuse(request_id, address, caller, 'token_rotate', null, 'unauthorized');
    end if;
    perform lpm.audit(request_id, address, caller, 'token_rotate', null, json_build_object('token', rotated.id, 'name', rotated.name));
    return row (200, json_build_object('expiresAt', lpm.rfc3339(rotated.expires_at))::text)::lpm_api.answer;
end
$$;

-- POST /api/registry/tokens/revoke: ends a token of the account, whoever shows it. A token takes its sessions with it, a
-- session's token its whole session; and the account's browsers are unpaired, which the published client asks for only
-- afterwards, with the token that it has just revoked.
create function lpm_api.revoke_token(request_id uuid, address text, token_hash bytea, revoked_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(revoke_token.token_hash, 'none');
    gone lpm.access_token;
    ended lpm.session;
    last_ended uuid;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    select t.* into gone from lpm.access_token t
     where t.user_id = caller.user_id and t.revoked_at is null and t.expires_at > clock_timestamp() and t.stored_hash = sha256(revoke_token.revoked_hash);
    if found and gone.session_id is null then
        update lpm.access_token t set revoked_at = clock_timestamp() where t.id = gone.id;
    end if;
    for ended in
        select s.* from lpm.session s
         where s.user_id = caller.user_id and s.ended_at is null
           and (s.id = gone.session_id or gone.session_id is null and s.pat_id = gone.id
                or s.id = (select r.session_id from lpm.session_refresh r where r.stored_hash = sha256(revoke_token.revoked_hash)))
           for no key update
    loop
        perform lpm.close_session(request_id, address, caller, ended, 'its token was revoked');
        last_ended := ended.id;
    end loop;
    if gone.id is null and last_ended is null then
        return lpm.refuse(request_id, address, caller, 'token_revoke', null, 'token_unknown');
    end if;
    perform lpm.audit(request_id, address, caller, 'token_revoke', null,
                      json_strip_nulls(json_build_object('token', gone.id, 'name', gone.name, 'session', coalesce(gone.session_id, last_ended))));
    if caller.token_scope <> 'none' then
        perform lpm.end_pairings(request_id, address, caller);
    end if;
    return row (200, '{"success":true}')::lpm_api.answer;
end
$$;
