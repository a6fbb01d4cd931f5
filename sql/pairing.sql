-- lpm_api: pairing. A signed-in browser asks for the machine's wrapping key, a signed-in command line of the same account
-- seals it for the browser's key, and the browser reads it, once. Codes of other accounts are codes that do not exist.

-- One at a time for each account, so that wrong codes cannot be tried faster than they are counted.
create function lpm.lock_account() returns void
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform from lpm.account a where a.id = lpm.scope_account() for no key update;
end
$$;

-- The pairing of the account with this code, the newest if there were several. Notes a miss, and refuses after five of them
-- in ten minutes, also the right code. `needs_pending` refuses every other state.
create function lpm.find_pairing(request_id uuid, address text, caller lpm.caller, code text, out refusal lpm_api.answer, out pairing lpm.pairing_session)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    perform lpm.lock_account();
    if (select count(*) >= 5 from lpm.pairing_miss m
         where m.user_id = (find_pairing.caller).user_id and m.created_at > clock_timestamp() - interval '10 minutes') then
        refusal := lpm.refuse(request_id, address, caller, 'pair_approve', null, 'pairing_limited');
        return;
    end if;
    select p.* into pairing from lpm.pairing_session p
     where p.user_id = (find_pairing.caller).user_id and p.code = find_pairing.code order by p.created_at desc limit 1;
    if not found then
        insert into lpm.pairing_miss (user_id) values ((find_pairing.caller).user_id);
        perform lpm.audit(request_id, address, caller, 'pair_approve', null, decision => 'denied', reason => 'pairing_ended');
    end if;
end
$$;

-- What people see of a pairing: one that was not approved or not read in time has expired, as has one that was revoked.
create function lpm.pairing_status(pairing lpm.pairing_session) returns text
language plpgsql volatile parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    if pairing.id is null or pairing.status = 'revoked'
       or pairing.status in ('pending', 'approved') and pairing.expires_at <= clock_timestamp() then
        return 'expired';
    end if;
    return pairing.status;
end
$$;

-- The refusal of a token that is no session's: whoever has a token of a script has no browser to pair.
create function lpm.enter_pairing(request_id uuid, address text, token_hash bytea, action text) returns lpm.caller
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(enter_pairing.token_hash, 'read');
begin
    if (caller.refusal).status is null and caller.session_id is null then
        caller.refusal := lpm.refuse(request_id, address, caller, action, null, 'session_needed');
    end if;
    return caller;
end
$$;

-- POST /api/vault/pair: the first of `codes` that nobody waits with is the code. A session waits with one code at a time.
create function lpm_api.start_pairing(request_id uuid, address text, token_hash bytea, codes text[], browser_public_key text, device_label text)
returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_pairing(request_id, address, start_pairing.token_hash, 'pair_start');
    chosen text;
    started lpm.pairing_session;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    delete from lpm.pairing_session p where p.session_id = caller.session_id and p.status in ('pending', 'approved');
    foreach chosen in array start_pairing.codes loop
        insert into lpm.pairing_session (user_id, session_id, code, browser_public_key, device_label, expires_at)
        values (caller.user_id, caller.session_id, chosen, start_pairing.browser_public_key, lpm.presentable(start_pairing.device_label),
                clock_timestamp() + interval '5 minutes')
        on conflict (code) where status = 'pending' do nothing
        returning * into started;
        exit when found;
    end loop;
    if started.id is null then
        return lpm.failure('unavailable');
    end if;
    perform lpm.audit(request_id, address, caller, 'pair_start', null,
                      json_strip_nulls(json_build_object('pairing', started.id, 'session', caller.session_id, 'label', started.device_label)));
    return row (201, json_build_object('code', started.code, 'expiresAt', lpm.rfc3339(started.expires_at))::text)::lpm_api.answer;
end
$$;

-- GET /api/vault/pair/{code}
create function lpm_api.show_pairing(request_id uuid, address text, token_hash bytea, code text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_pairing(request_id, address, show_pairing.token_hash, 'pair_approve');
    looked record;
    pairing lpm.pairing_session;
    status text;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    select * into looked from lpm.find_pairing(request_id, address, caller, show_pairing.code);
    if (looked.refusal).status is not null then
        return looked.refusal;
    end if;
    pairing := looked.pairing;
    status := lpm.pairing_status(pairing);
    return row (200, json_strip_nulls(json_build_object(
        'status', status,
        'browserPublicKey', case when status = 'pending' then pairing.browser_public_key end,
        'deviceLabel', case when status = 'pending' then pairing.device_label end))::text)::lpm_api.answer;
end
$$;

-- POST /api/vault/pair/{code}: one approval, by compare and set. The browser has at least a minute to read it.
create function lpm_api.approve_pairing(request_id uuid, address text, token_hash bytea, code text, encrypted_wrapping_key text, ephemeral_public_key text)
returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_pairing(request_id, address, approve_pairing.token_hash, 'pair_approve');
    looked record;
    approved lpm.pairing_session;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    select * into looked from lpm.find_pairing(request_id, address, caller, approve_pairing.code);
    if (looked.refusal).status is not null then
        return looked.refusal;
    elsif (looked.pairing).id is null then
        return lpm.failure('pairing_ended');
    end if;
    update lpm.pairing_session p
       set status = 'approved', encrypted_wrapping_key = approve_pairing.encrypted_wrapping_key, ephemeral_public_key = approve_pairing.ephemeral_public_key,
           expires_at = greatest(p.expires_at, clock_timestamp() + interval '1 minute')
     where p.id = (looked.pairing).id and p.status = 'pending' and p.expires_at > clock_timestamp()
    returning p.* into approved;
    if not found then
        return lpm.refuse(request_id, address, caller, 'pair_approve', null, 'pairing_ended');
    end if;
    perform lpm.audit(request_id, address, caller, 'pair_approve', null, json_strip_nulls(json_build_object(
                          'pairing', approved.id, 'session', caller.session_id, 'browser', approved.session_id, 'label', approved.device_label)));
    return row (200, '{"success":true}')::lpm_api.answer;
end
$$;

-- POST /api/vault/pair/{code}/consume: what was sealed, once, for the session that started it; for all others it has expired
create function lpm_api.consume_pairing(request_id uuid, address text, token_hash bytea, code text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_pairing(request_id, address, consume_pairing.token_hash, 'pair_consume');
    pairing lpm.pairing_session;
    status text;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    select p.* into pairing from lpm.pairing_session p
     where p.session_id = caller.session_id and p.code = consume_pairing.code order by p.created_at desc limit 1 for update;
    status := lpm.pairing_status(pairing);
    if status = 'approved' then
        update lpm.pairing_session p set status = 'consumed', encrypted_wrapping_key = null, ephemeral_public_key = null where p.id = pairing.id;
        perform lpm.audit(request_id, address, caller, 'pair_consume', null, json_build_object('pairing', pairing.id, 'session', caller.session_id));
    end if;
    return row (200, json_strip_nulls(json_build_object(
        'status', status,
        'encryptedWrappingKey', case when status = 'approved' then pairing.encrypted_wrapping_key end,
        'ephemeralPublicKey', case when status = 'approved' then pairing.ephemeral_public_key end))::text)::lpm_api.answer;
end
$$;

-- Unpairs the account: what is open is deleted, what was read is marked, and every other session that started a pairing ends.
-- The server cannot take the key back from a browser that has it; without a session it gets no ciphertext for it.
create function lpm.end_pairings(request_id uuid, address text, caller lpm.caller) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
    ended lpm.session;
    deleted bigint;
    marked bigint;
begin
    for ended in
        select s.* from lpm.session s
         where s.user_id = (end_pairings.caller).user_id and s.ended_at is null and s.id is distinct from (end_pairings.caller).session_id
           and exists (select from lpm.pairing_session p where p.session_id = s.id)
         order by s.id for no key update
    loop
        perform lpm.close_session(request_id, address, caller, ended, 'unpaired');
    end loop;
    delete from lpm.pairing_session p where p.user_id = (end_pairings.caller).user_id and p.status in ('pending', 'approved');
    get diagnostics deleted = row_count;
    update lpm.pairing_session p set status = 'revoked' where p.user_id = (end_pairings.caller).user_id and p.status = 'consumed';
    get diagnostics marked = row_count;
    if deleted + marked > 0 then
        perform lpm.audit(request_id, address, caller, 'pair_revoke', null, json_build_object('open', deleted, 'read', marked));
    end if;
end
$$;

-- POST /api/vault/pair/revoke-all
create function lpm_api.revoke_pairings(request_id uuid, address text, token_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_pairing(request_id, address, revoke_pairings.token_hash, 'pair_revoke');
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    perform lpm.end_pairings(request_id, address, caller);
    return row (200, '{"success":true}')::lpm_api.answer;
end
$$;
