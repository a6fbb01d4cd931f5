-- lpm_api: personal sync. The server stores and returns ciphertext; nothing here decrypts.

-- One audit row for what an account did (or was refused) with one of its vaults, or of the org that it has entered.
create function lpm.audit(request_id uuid, address text, caller lpm.caller, action text, vault_id text, metadata json default null,
                          decision text default 'done', reason text default null, org uuid default null) returns void
language sql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
    insert into lpm.audit_log (request_id, address, action, decision, reason, vault_id, user_id, owner_user_id, owner_org_id, metadata)
    values ($1, lpm.presentable($2), $4, $7, $8, left($5, 256), ($3).user_id,
            case when $9 is null and ($3).org_id is null then ($3).user_id end, coalesce($9, ($3).org_id), $6)
$$;

-- A refusal of something that an account asked for: audited, then answered.
create function lpm.refuse(request_id uuid, address text, caller lpm.caller, action text, vault_id text, code text, variadic arguments text[] default '{}')
returns lpm_api.answer
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    perform lpm.audit(request_id, address, caller, action, vault_id, decision => 'denied', reason => code);
    return lpm.failure(code, variadic arguments);
end
$$;

-- As lpm.refuse, for a failure that a core function has worded already.
create function lpm.refuse_with(request_id uuid, address text, caller lpm.caller, action text, vault_id text, reason text, refusal lpm_api.answer)
returns lpm_api.answer
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    perform lpm.audit(request_id, address, caller, action, vault_id, decision => 'denied', reason => reason);
    return refusal;
end
$$;

-- Before much is read from whoever holds this token; `needs` is `read` or `all`
create function lpm_api.check_account(token_hash bytea, needs text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(check_account.token_hash, check_account.needs);
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    return row (200, json_build_object('handle', caller.handle)::text)::lpm_api.answer;
end
$$;

-- POST /api/vaults/{id}/sync
create function lpm_api.push(request_id uuid, address text, token_hash bytea, vault_id text, encrypted_blob text, wrapped_key text,
                             expected_version int, force boolean, name text, schema text,
                             escrow_key_id text default null, escrow_sealed text default null, escrow_blob_sha256 text default null)
returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(push.token_hash, 'all', push.vault_id);
    checked record;
    brought record;
    stored lpm.vault_sync;
    new_version int;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if push.vault_id is null then
        return lpm.failure('bad_request', 'reason', 'a vault id is needed');
    end if;
    select * into checked from lpm.check_push(push.encrypted_blob, push.wrapped_key, push.schema);
    if (checked.refusal).status is not null then
        return checked.refusal;
    end if;
    if caller.plan = 'free' then
        return lpm.refuse(push.request_id, push.address, caller, 'push', push.vault_id, 'plan_sync', 'owner', caller.handle);
    end if;
    -- Before anything is written: a push that is refused claims nothing.
    select * into brought from lpm.bring_escrow(
        (select v.escrow_kind from lpm.vault_sync v where v.vault_id = push.vault_id and v.user_id = caller.user_id),
        push.escrow_key_id, push.escrow_sealed, push.escrow_blob_sha256, push.vault_id, 'user', caller.user_id, checked.blob_sha256);
    if brought.reason is not null then
        return lpm.refuse_with(push.request_id, push.address, caller, 'push', push.vault_id, brought.reason, brought.refusal);
    end if;
    if not lpm.claim_blob(checked.blob_sha256, push.vault_id, caller.user_id) then
        return lpm.refuse(push.request_id, push.address, caller, 'push', push.vault_id, 'blob_known');
    end if;
    -- Not for a push that is refused: a claim that has seen one never lapses. Before the row, as everywhere: two
    -- orders would deadlock. (A version conflict below means that the row was pushed before.)
    perform lpm.claim_vault(push.vault_id, pushing => true);

    insert into lpm.vault_sync (vault_id, user_id) values (push.vault_id, caller.user_id) on conflict on constraint vault_sync_vault_id_user_id_key do nothing;
    select v.* into stored from lpm.vault_sync v where v.vault_id = push.vault_id and v.user_id = caller.user_id for update;
    if stored.version > 0 and not coalesce(push.force, false) then
        if push.expected_version is null then
            return lpm.refuse(push.request_id, push.address, caller, 'push', push.vault_id, 'version_expected', 'version', stored.version::text);
        elsif push.expected_version <> stored.version then
            return lpm.refuse(push.request_id, push.address, caller, 'push', push.vault_id, 'version_conflict',
                              'version', stored.version::text, 'expected', push.expected_version::text);
        end if;
    end if;

    if brought.escrow is not null and stored.escrow_kind is distinct from 'aes' then
        -- switched off since
        return lpm.refuse(push.request_id, push.address, caller, 'push', push.vault_id, 'escrow_not_opted_in');
    end if;

    perform lpm.keep_version(stored.id);
    new_version := stored.version + 1;
    update lpm.vault_sync v
       set version = new_version, encrypted_blob = push.encrypted_blob, wrapped_key = push.wrapped_key,
           blob_sha256 = checked.blob_sha256, name = coalesce(left(push.name, 256), v.name), schema = coalesce(push.schema::json, v.schema),
           -- the key of the last ciphertext opens no other: without a new one CI is left out until it comes
           ci_escrow_wrapping_key = case v.escrow_kind when 'aes' then brought.escrow else v.ci_escrow_wrapping_key end,
           updated_at = clock_timestamp(), updated_by = caller.user_id
     where v.id = stored.id;
    perform lpm.forget_versions(stored.id);
    perform lpm.audit(push.request_id, push.address, caller,
                      case when push.force and push.name is null and push.schema is null then 'rotate_key' else 'push' end,
                      push.vault_id, json_strip_nulls(json_build_object('version', new_version, 'forced', coalesce(push.force, false),
                          'escrow', case stored.escrow_kind when 'aes' then brought.escrow is not null end)));
    return row (case when stored.version = 0 then 201 else 200 end,
                json_build_object('version', new_version, 'status', case when stored.version = 0 then 'created' else 'updated' end,
                                  'owner', caller.user_id)::text)::lpm_api.answer;
end
$$;

-- GET /api/vaults/{id}/sync
create function lpm_api.pull(request_id uuid, address text, token_hash bytea, vault_id text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(pull.token_hash, 'read', pull.vault_id);
    stored lpm.vault_sync;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if caller.plan = 'free' then
        return lpm.refuse(pull.request_id, pull.address, caller, 'pull', pull.vault_id, 'plan_sync', 'owner', caller.handle);
    end if;
    select v.* into stored from lpm.vault_sync v where v.vault_id = pull.vault_id and v.user_id = caller.user_id and v.version > 0;
    if not found then
        return lpm.failure('vault_unknown', 'vault', pull.vault_id);
    end if;
    perform lpm.audit(pull.request_id, pull.address, caller, 'pull', pull.vault_id, json_build_object('version', stored.version));
    return row (200, json_build_object('vaultId', stored.vault_id, 'encryptedBlob', stored.encrypted_blob, 'wrappedKey', stored.wrapped_key,
                                       'version', stored.version, 'owner', stored.user_id)::text)::lpm_api.answer;
end
$$;

-- GET /api/vaults
create function lpm_api.list_vaults(request_id uuid, address text, token_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(list_vaults.token_hash, 'read');
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    return row (200, (select json_build_object('vaults', coalesce(json_agg(json_build_object(
                           'vaultId', v.vault_id, 'version', v.version, 'name', v.name, 'updatedAt', lpm.rfc3339(v.updated_at))
                           order by v.updated_at desc, v.id), '[]'))::text
                        from lpm.vault_sync v
                       where v.user_id = caller.user_id and v.version > 0))::lpm_api.answer;
end
$$;

-- GET /api/vaults/{id}/audit: the last 50 entries, or the 50 before `cursor`. With an org those of its vault, and what
-- concerns all of its vaults: who came, who left, who became what.
create function lpm_api.audit(request_id uuid, address text, token_hash bytea, vault_id text, cursor text, org text default null) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller;
    before_id bigint;
begin
    if audit.org is null then
        caller := lpm.enter_account(audit.token_hash, 'read', audit.vault_id);
    else
        caller := lpm.enter_org(audit.token_hash, 'read', audit.org, audit.vault_id);
    end if;
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if audit.cursor !~ '^[0-9]{1,18}$' then
        return lpm.failure('bad_request', 'reason', '`cursor` is not one that this server gave out');
    end if;
    if lpm.role_rank(caller.role) < lpm.role_rank('maintainer') then
        return lpm.refuse_role(audit.request_id, audit.address, caller, 'audit', audit.vault_id, 'read its audit log');
    end if;
    before_id := coalesce(audit.cursor::bigint, 9223372036854775807);
    return row (200, (
        with page as (
            (select a.* from lpm.audit_log a
              where caller.org_id is null and a.vault_id = audit.vault_id and a.owner_user_id = caller.user_id and a.id < before_id
              order by a.id desc limit 50)
            union all
            (select a.* from lpm.audit_log a
              where a.vault_id = audit.vault_id and a.owner_user_id is null and a.owner_org_id = caller.org_id and a.id < before_id
              order by a.id desc limit 50)
            union all
            (select a.* from lpm.audit_log a
              where a.vault_id is null and a.owner_org_id = caller.org_id and a.id < before_id
              order by a.id desc limit 50)
            order by id desc limit 50)
        select json_build_object(
                   'entries', coalesce(json_agg(json_build_object(
                       'id', p.id::text, 'action', p.action, 'userId', p.user_id, 'orgId', p.owner_org_id, 'createdAt', lpm.rfc3339(p.created_at),
                       'metadata', case when p.provider is null
                           then (coalesce(p.metadata::jsonb, '{}') || jsonb_strip_nulls(jsonb_build_object('decision', p.decision, 'reason', p.reason)))::json
                           else json_strip_nulls(json_build_object(
                               'provider', p.provider, 'repo', p.repository, 'branch', p.branch, 'workflow', p.workflow, 'event', p.event,
                               'run', p.run, 'sha', p.sha, 'actor', p.actor, 'environment', p.environment, 'decision', p.decision,
                               'reason', p.reason, 'policy', p.policy_id, 'requestId', p.request_id, 'address', p.address)) end)
                       order by p.id desc), '[]'),
                   'nextCursor', case when count(*) = 50 then min(p.id)::text end)::text
          from page p))::lpm_api.answer;
end
$$;

-- `2026-11-01T12:00:00.123456Z`, whatever the session's time zone and date style are.
create function lpm.rfc3339(moment timestamptz) returns text
language sql stable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$ select to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
