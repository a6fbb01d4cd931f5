-- lpm_api: the versions that are kept, and bringing one back. Push, share and restore keep and forget alike.

-- Keeps the row's version beside the one that is about to replace it. Of its escrow only a key that is this version's
-- own: a wrapping key serves all of them, so nobody needs one that has been replaced.
create function lpm.keep_version(vault bigint) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into lpm.vault_version (vault, version, encrypted_blob, wrapped_key, blob_sha256, ci_escrow_wrapping_key, escrow_kind, created_at, created_by)
    select v.id, v.version, v.encrypted_blob, v.wrapped_key, v.blob_sha256,
           case v.escrow_kind when 'aes' then v.ci_escrow_wrapping_key end,
           case when v.escrow_kind = 'aes' and v.ci_escrow_wrapping_key is not null then 'aes' end, v.updated_at, v.updated_by
      from lpm.vault_sync v where v.id = keep_version.vault and v.version > 0;
end
$$;

-- Forgets what is older than the last ten versions, once the new one is there.
create function lpm.forget_versions(vault bigint) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from lpm.vault_version o using lpm.vault_sync v where v.id = forget_versions.vault and o.vault = v.id and o.version <= v.version - 10;
    delete from lpm.vault_org_keys k using lpm.vault_sync v where v.id = forget_versions.vault and k.vault = v.id and k.version <= v.version - 10;
end
$$;

-- Makes a kept version the newest, and returns its new number, or null where it is not kept. The row is locked, and
-- before it the memberships of its org (see lpm.hold_members). Nothing is pushed: the ciphertext is this row's own.
-- What was switched off since stays off.
create function lpm.bring_back(vault bigint, version int, author uuid) returns int
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
    new_version int;
begin
    if not exists (select from lpm.vault_version o where o.vault = bring_back.vault and o.version = bring_back.version) then
        return null;
    end if;
    perform lpm.keep_version(bring_back.vault);
    update lpm.vault_sync v
       set version = v.version + 1, encrypted_blob = o.encrypted_blob, wrapped_key = o.wrapped_key, blob_sha256 = o.blob_sha256,
           -- a machine's wrapping key serves every version, a key of kind `aes` the one that it came with
           ci_escrow_wrapping_key = case v.escrow_kind when 'aes' then o.ci_escrow_wrapping_key else v.ci_escrow_wrapping_key end,
           updated_at = clock_timestamp(), updated_by = bring_back.author
      from lpm.vault_version o
     where v.id = bring_back.vault and o.vault = v.id and o.version = bring_back.version
    returning v.version into new_version;
    -- copies of those who have left went with them; who has come since has none of a version of before
    insert into lpm.vault_org_keys (vault, version, org_id, user_id, wrapped_key)
    select k.vault, new_version, k.org_id, k.user_id, k.wrapped_key
      from lpm.vault_org_keys k where k.vault = bring_back.vault and k.version = bring_back.version;
    perform lpm.forget_versions(bring_back.vault);
    return new_version;
end
$$;

-- GET /api/vaults/{id}/versions?org=
create function lpm_api.list_versions(request_id uuid, address text, token_hash bytea, vault_id text, org text default null) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_owner(list_versions.token_hash, 'read', list_versions.vault_id, list_versions.org);
    stored bigint;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    select v.id into stored from lpm.vault_sync v
     where v.vault_id = list_versions.vault_id and v.version > 0
       and (v.org_id = caller.org_id or caller.org_id is null and v.user_id = caller.user_id);
    if not found then
        return case when caller.org_id is null then lpm.failure('vault_unknown', 'vault', list_versions.vault_id)
                    else lpm.failure('org_vault_unknown', 'vault', list_versions.vault_id, 'org', caller.org) end;
    end if;
    return row (200, (
        with kept as (
            select v.version, v.updated_at as created_at, v.updated_by as author, true as current from lpm.vault_sync v where v.id = stored
            union all
            select o.version, o.created_at, o.created_by, false from lpm.vault_version o where o.vault = stored)
        select json_build_object('versions', json_agg(json_build_object(
                   'version', k.version, 'createdAt', lpm.rfc3339(k.created_at), 'current', k.current,
                   'author', (select a.handle from lpm.account a where a.id = k.author)) order by k.version desc))::text
          from kept k))::lpm_api.answer;
end
$$;

-- POST /api/vaults/{id}/restore
create function lpm_api.restore_version(request_id uuid, address text, token_hash bytea, vault_id text, version int, expected_version int, org text default null)
returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_owner(restore_version.token_hash, 'all', restore_version.vault_id, restore_version.org);
    stored record;
    new_version int;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if restore_version.version is null then
        return lpm.failure('bad_request', 'reason', 'a version is needed');
    end if;
    if coalesce(caller.org_plan, caller.plan) = 'free' then
        return lpm.refuse(restore_version.request_id, restore_version.address, caller, 'restore', restore_version.vault_id, 'plan_sync',
                          'owner', coalesce(caller.org, caller.handle));
    end if;
    if not caller.may_share then
        return lpm.refuse(restore_version.request_id, restore_version.address, caller, 'restore', restore_version.vault_id, 'org_role',
                          'role', caller.role, 'org', caller.org, 'what', 'restore its vaults');
    end if;
    perform lpm.hold_members(caller.org_id);
    select v.id, v.version into stored from lpm.vault_sync v
     where v.vault_id = restore_version.vault_id and v.version > 0
       and (v.org_id = caller.org_id or caller.org_id is null and v.user_id = caller.user_id) for update;
    if not found then
        return case when caller.org_id is null then lpm.failure('vault_unknown', 'vault', restore_version.vault_id)
                    else lpm.failure('org_vault_unknown', 'vault', restore_version.vault_id, 'org', caller.org) end;
    end if;
    if restore_version.expected_version <> stored.version then
        return lpm.refuse(restore_version.request_id, restore_version.address, caller, 'restore', restore_version.vault_id,
                          case when caller.org_id is null then 'version_conflict' else 'org_version_conflict' end,
                          'version', stored.version::text, 'expected', restore_version.expected_version::text, 'org', caller.org);
    elsif restore_version.version = stored.version then
        return lpm.failure('bad_request', 'reason', format('version %s is the newest already', stored.version));
    end if;
    new_version := lpm.bring_back(stored.id, restore_version.version, caller.user_id);
    if new_version is null then
        return lpm.failure('version_unknown', 'version', restore_version.version::text, 'vault', restore_version.vault_id);
    end if;
    perform lpm.audit(restore_version.request_id, restore_version.address, caller, 'restore', restore_version.vault_id,
                      json_build_object('from', restore_version.version, 'version', new_version));
    return row (200, json_build_object('version', new_version, 'status', 'restored', 'owner', coalesce(caller.org_id, caller.user_id))::text)::lpm_api.answer;
end
$$;
