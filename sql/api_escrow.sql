-- lpm_api: CI escrow, for whoever owns the vault id. Kind `wrapping` is a machine's wrapping key: it opens every
-- version, and every other vault that the machine pushes. Kind `aes` is the key of one ciphertext, and each push or
-- share brings the next one. Which kind an owner opted in to stands in `escrow_kind`, also while no key is there.

-- What a push or share brings for CI, sealed for storage; all null where it brings nothing. `kind` is the row's.
create function lpm.bring_escrow(kind text, key_id text, sealed text, named_sha256 text, vault_id text, owner_kind text, owner_id uuid, blob_sha256 bytea,
                                 out refusal lpm_api.answer, out reason text, out escrow text)
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
    accepted record;
begin
    if num_nonnulls(key_id, sealed, named_sha256) = 0 then
        return;
    end if;
    if kind is distinct from 'aes' then
        reason := 'escrow_not_opted_in';
        refusal := lpm.failure(reason);
    elsif named_sha256 is distinct from encode(blob_sha256, 'hex') then
        reason := 'escrow_invalid';
        refusal := lpm.failure(reason, 'reason', '`blobSha256` is not the SHA-256 of the ciphertext beside it');
    else
        select * into accepted from lpm.accept_escrow('aes', sealed, coalesce(key_id, ''), vault_id, owner_kind, owner_id, null, blob_sha256);
        reason := accepted.reason;
        refusal := accepted.refusal;
        escrow := accepted.escrow;
    end if;
end
$$;

-- GET /api/vault/oidc/escrow-key?vaultId=&org=: the key to seal to, and what the vault's owner opted in to
create function lpm_api.escrow_key(request_id uuid, address text, token_hash bytea, vault_id text default null, org text default null)
returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_owner(escrow_key.token_hash, 'read', escrow_key.vault_id, escrow_key.org);
    key record;
    stored record;
    reply jsonb;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if escrow_key.org is not null and escrow_key.vault_id is null then
        return lpm.failure('bad_request', 'reason', 'the parameter `org` needs `vaultId`');
    end if;
    select k.* into key from lpm.loaded_escrow_keys() k where k.position = 1;
    if not found then
        return lpm.failure('no_escrow_key');
    end if;
    reply := jsonb_build_object('keyId', key.id, 'publicKey', encode(key.public_key, 'base64'), 'fingerprint', key.fingerprint);
    if escrow_key.vault_id is not null then
        select v.escrow_kind, v.legacy_clients into stored from lpm.vault_sync v
         where v.vault_id = escrow_key.vault_id and (v.org_id = caller.org_id or caller.org_id is null and v.user_id = caller.user_id);
        reply := reply || jsonb_build_object('escrow', coalesce(stored.escrow_kind, 'off'), 'legacyClients', coalesce(stored.legacy_clients, false));
    end if;
    return row (200, reply::text)::lpm_api.answer;
end
$$;

-- POST /api/vault/oidc/escrow: `sealed` was sealed to the escrow key before it reached SQL. Kind `aes` without it
-- opts in before the first push, which then brings it.
create function lpm_api.put_escrow(request_id uuid, address text, token_hash bytea, vault_id text, sealed text, kind text default 'wrapping',
                                   blob_sha256 text default null, legacy_clients boolean default null, org text default null)
returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_owner(put_escrow.token_hash, 'all', put_escrow.vault_id, put_escrow.org);
    asked_kind text := coalesce(put_escrow.kind, 'wrapping');
    problem text;
    sharing_org text;
    claim text;
    stored lpm.vault_sync;
    accepted record;
    escrow text;
    key_id text;
    code text;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    problem := case
        when put_escrow.vault_id is null then 'a vault id is needed'
        when asked_kind not in ('wrapping', 'aes') then '`kind` must be `aes` or `wrapping`'
        when asked_kind = 'wrapping' and put_escrow.org is not null then 'an org has no wrapping key: the escrow of its vaults is of the kind `aes`'
        when asked_kind = 'wrapping' and put_escrow.sealed is null then '`sealed` or `wrappingKeyHex` is missing'
        when asked_kind = 'wrapping' and put_escrow.blob_sha256 is not null then 'a wrapping key belongs to no one ciphertext: leave `blobSha256` out'
        when asked_kind = 'aes' and put_escrow.legacy_clients then 'published clients need the kind `wrapping`'
        when asked_kind = 'aes' and num_nulls(put_escrow.sealed, put_escrow.blob_sha256) = 1 then '`sealed` and `blobSha256` come together'
        when put_escrow.blob_sha256 !~ '^[0-9a-f]{64}$' then '`blobSha256` must be 64 lower-case hex digits' end;
    if problem is not null then
        return lpm.failure('bad_request', 'reason', problem);
    end if;
    if not lpm.role_leads(caller.role) then
        return lpm.refuse(put_escrow.request_id, put_escrow.address, caller, 'escrow_on', put_escrow.vault_id, 'org_role',
                          'role', caller.role, 'org', caller.org, 'what', 'open its vaults to CI');
    end if;
    if coalesce(caller.org_plan, caller.plan) = 'free' then
        return lpm.refuse(put_escrow.request_id, put_escrow.address, caller, 'escrow_on', put_escrow.vault_id, 'plan_ci_escrow',
                          'owner', coalesce(caller.org, caller.handle));
    end if;
    if caller.org_id is null
       and not exists (select from lpm.vault_sync v where v.vault_id = put_escrow.vault_id and v.user_id = caller.user_id and v.version > 0) then
        select o.slug into sharing_org from lpm.vault_sync v join lpm.org o on o.id = v.org_id
         where v.vault_id = put_escrow.vault_id and v.version > 0 and o.id = any (lpm.scope_orgs()) order by o.slug limit 1;
        if found then
            return lpm.refuse(put_escrow.request_id, put_escrow.address, caller, 'escrow_on', put_escrow.vault_id, 'escrow_org_vault',
                              'vault', put_escrow.vault_id, 'org', sharing_org);
        end if;
    end if;
    claim := lpm.claim_vault(put_escrow.vault_id, org => caller.org_id);
    if claim <> 'mine' then
        return lpm.refuse(put_escrow.request_id, put_escrow.address, caller, 'escrow_on', put_escrow.vault_id,
                          case claim when 'limited' then 'claim_rate_limited' else 'vault_claimed' end,
                          'vault', put_escrow.vault_id, 'owner', coalesce(caller.org, caller.handle));
    end if;

    insert into lpm.vault_sync (vault_id, user_id, org_id)
    values (put_escrow.vault_id, case when caller.org_id is null then caller.user_id end, caller.org_id)
    on conflict do nothing;
    select v.* into stored from lpm.vault_sync v
     where v.vault_id = put_escrow.vault_id and (v.org_id = caller.org_id or caller.org_id is null and v.user_id = caller.user_id) for update;
    if asked_kind = 'aes' and put_escrow.sealed is null and stored.version > 0 then
        return lpm.failure('bad_request', 'reason', '`sealed` is missing: the vault was pushed, so the key of its ciphertext must come along');
    end if;
    code := case
        when asked_kind = 'wrapping' and stored.escrow_kind = 'aes' and put_escrow.legacy_clients is not true then 'escrow_per_vault'
        when asked_kind = 'aes' and stored.legacy_clients and put_escrow.legacy_clients is null then 'escrow_legacy_clients'
        when asked_kind = 'aes' and put_escrow.sealed is not null
             and put_escrow.blob_sha256 is distinct from encode(stored.blob_sha256, 'hex') then 'escrow_other_blob' end;
    if code is not null then
        return lpm.refuse(put_escrow.request_id, put_escrow.address, caller, 'escrow_on', put_escrow.vault_id, code);
    end if;
    if put_escrow.sealed is not null then
        select * into accepted from lpm.accept_escrow(asked_kind, put_escrow.sealed, null, put_escrow.vault_id,
            case when caller.org_id is null then 'user' else 'org' end, coalesce(caller.org_id, caller.user_id), stored.wrapped_key, stored.blob_sha256);
        if (accepted.refusal).status is not null then
            return lpm.refuse_with(put_escrow.request_id, put_escrow.address, caller, 'escrow_on', put_escrow.vault_id, accepted.reason, accepted.refusal);
        end if;
        escrow := accepted.escrow;
        key_id := accepted.key_id;
    end if;
    update lpm.vault_sync v
       set ci_escrow_wrapping_key = escrow, escrow_kind = asked_kind, legacy_clients = coalesce(put_escrow.legacy_clients, v.legacy_clients)
     where v.id = stored.id;
    if asked_kind = 'wrapping' then
        -- it opens what is kept as well, so nothing else has to
        update lpm.vault_version o set ci_escrow_wrapping_key = null, escrow_kind = null where o.vault = stored.id;
    end if;
    perform lpm.audit(put_escrow.request_id, put_escrow.address, caller, 'escrow_on', put_escrow.vault_id,
                      json_strip_nulls(json_build_object('keyId', key_id, 'kind', asked_kind, 'legacyClients', put_escrow.legacy_clients)));
    return row (200, json_build_object('success', true, 'escrow', 'on', 'kind', asked_kind, 'keyId', key_id,
                                       'owner', coalesce(caller.org_id, caller.user_id))::text)::lpm_api.answer;
end
$$;

-- DELETE /api/vault/oidc/escrow?vaultId=&org=: forgets every copy, those of kept versions too
create function lpm_api.disable_escrow(request_id uuid, address text, token_hash bytea, vault_id text, org text default null) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_owner(disable_escrow.token_hash, 'all', disable_escrow.vault_id, disable_escrow.org);
    stored bigint;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if not lpm.role_leads(caller.role) then
        return lpm.refuse(disable_escrow.request_id, disable_escrow.address, caller, 'escrow_off', disable_escrow.vault_id, 'org_role',
                          'role', caller.role, 'org', caller.org, 'what', 'close its vaults to CI');
    end if;
    update lpm.vault_sync v set ci_escrow_wrapping_key = null, escrow_kind = null
     where v.vault_id = disable_escrow.vault_id and (v.org_id = caller.org_id or caller.org_id is null and v.user_id = caller.user_id)
    returning v.id into stored;
    if not found then
        return case when caller.org_id is null then lpm.failure('vault_unknown', 'vault', disable_escrow.vault_id)
                    else lpm.failure('org_vault_unknown', 'vault', disable_escrow.vault_id, 'org', caller.org) end;
    end if;
    update lpm.vault_version o set ci_escrow_wrapping_key = null, escrow_kind = null where o.vault = stored;
    perform lpm.audit(disable_escrow.request_id, disable_escrow.address, caller, 'escrow_off', disable_escrow.vault_id);
    return row (200, json_build_object('success', true, 'escrow', 'off', 'owner', coalesce(caller.org_id, caller.user_id))::text)::lpm_api.answer;
end
$$;
