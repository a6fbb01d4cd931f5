-- lpm_api: shared vaults. The server stores one copy of a vault's key per member, each wrapped for that member, and
-- returns to each their own; nothing here decrypts.

-- GET /api/users/me/public-key
create function lpm_api.public_key(request_id uuid, address text, token_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(public_key.token_hash, 'read');
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    return row (200, json_build_object('publicKey', (select k.public_key from lpm.user_public_keys k where k.user_id = caller.user_id))::text)::lpm_api.answer;
end
$$;

-- POST /api/users/me/public-key: one per account, the last one counts
create function lpm_api.put_public_key(request_id uuid, address text, token_hash bytea, public_key text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(put_public_key.token_hash, 'all');
    checked record;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    select * into checked from lpm.check_public_key(put_public_key.public_key);
    if (checked.refusal).status is not null then
        return checked.refusal;
    end if;
    insert into lpm.user_public_keys as k (user_id, public_key) values (caller.user_id, put_public_key.public_key)
    on conflict on constraint user_public_keys_pkey do update set public_key = excluded.public_key, changed_at = clock_timestamp()
     where k.public_key <> excluded.public_key;
    if found then
        perform lpm.audit(put_public_key.request_id, put_public_key.address, caller, 'public_key', null, json_build_object('fingerprint', checked.fingerprint));
    end if;
    return row (200, json_build_object('success', true)::text)::lpm_api.answer;
end
$$;

-- GET /api/orgs/{org}/members/public-keys: a bare array, the caller included
create function lpm_api.member_keys(request_id uuid, address text, token_hash bytea, org text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_org(member_keys.token_hash, 'read', member_keys.org);
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    return row (200, (select json_agg(json_build_object('userId', m.user_id, 'handle', a.handle, 'role', m.role,
                                                        'publicKey', k.public_key, 'hasPublicKey', k.public_key is not null)
                                      order by lpm.role_rank(m.role) desc, a.handle)::text
                        from lpm.org_member m
                        join lpm.account a on a.id = m.user_id
                        left join lpm.user_public_keys k on k.user_id = m.user_id
                       where m.org_id = caller.org_id))::lpm_api.answer;
end
$$;

-- POST /api/orgs/{org}/vaults/{id}. `recipients` and `wrapped_keys` belong together, and replace the set before.
create function lpm_api.share(request_id uuid, address text, token_hash bytea, org text, vault_id text, encrypted_blob text,
                              recipients uuid[], wrapped_keys text[], expected_version int, force boolean, name text, schema text,
                              escrow_key_id text, escrow_sealed text, escrow_blob_sha256 text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_org(share.token_hash, 'all', share.org, share.vault_id);
    checked record;
    brought record;
    stranger uuid;
    left_out record;
    stored lpm.vault_sync;
    new_version int;
    unshared json;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if share.vault_id is null then
        return lpm.failure('bad_request', 'reason', 'a vault id is needed');
    end if;
    select * into checked from lpm.check_share(share.encrypted_blob, share.recipients, share.wrapped_keys, share.schema);
    if (checked.refusal).status is not null then
        return checked.refusal;
    end if;
    if caller.org_plan = 'free' then
        return lpm.refuse(share.request_id, share.address, caller, 'share', share.vault_id, 'plan_sync', 'owner', caller.org);
    end if;
    if not caller.may_share then
        return lpm.refuse(share.request_id, share.address, caller, 'share', share.vault_id, 'org_role',
                          'role', caller.role, 'org', caller.org, 'what', 'share its vaults');
    end if;
    -- Before anything is written, as for a push.
    select * into brought from lpm.bring_escrow(
        (select v.escrow_kind from lpm.vault_sync v where v.vault_id = share.vault_id and v.org_id = caller.org_id),
        share.escrow_key_id, share.escrow_sealed, share.escrow_blob_sha256, share.vault_id, 'org', caller.org_id, checked.blob_sha256);
    if brought.reason is not null then
        return lpm.refuse_with(share.request_id, share.address, caller, 'share', share.vault_id, brought.reason, brought.refusal);
    end if;

    -- From here on nobody leaves: whoever had left before is no recipient, whoever leaves after loses this copy too.
    perform lpm.hold_members(caller.org_id);
    select r.id into stranger from unnest(share.recipients) r (id)
     where not exists (select from lpm.org_member m where m.org_id = caller.org_id and m.user_id = r.id) limit 1;
    if found then
        return lpm.refuse(share.request_id, share.address, caller, 'share', share.vault_id, 'recipient_unknown',
                          'user', stranger::text, 'org', caller.org);
    end if;
    select a.handle, m.role into left_out
      from lpm.org_member m
      join lpm.account a on a.id = m.user_id
      join lpm.user_public_keys k on k.user_id = m.user_id
     where m.org_id = caller.org_id and lpm.role_leads(m.role) and not m.user_id = any (share.recipients)
     order by lpm.role_rank(m.role) desc, a.handle limit 1;
    if found then
        return lpm.refuse(share.request_id, share.address, caller, 'share', share.vault_id, 'recipient_missing',
                          'member', left_out.handle, 'role', left_out.role, 'org', caller.org);
    end if;
    if not lpm.claim_blob(checked.blob_sha256, share.vault_id, caller.org_id) then
        return lpm.refuse(share.request_id, share.address, caller, 'share', share.vault_id, 'blob_known');
    end if;
    -- The claim before the row, as everywhere.
    perform lpm.claim_vault(share.vault_id, org => caller.org_id, pushing => true);

    insert into lpm.vault_sync (vault_id, org_id) values (share.vault_id, caller.org_id) on conflict on constraint vault_sync_vault_id_org_id_key do nothing;
    select v.* into stored from lpm.vault_sync v where v.vault_id = share.vault_id and v.org_id = caller.org_id for update;
    if stored.version > 0 and not coalesce(share.force, false) then
        if share.expected_version is null then
            return lpm.refuse(share.request_id, share.address, caller, 'share', share.vault_id, 'org_version_expected',
                              'version', stored.version::text, 'org', caller.org);
        elsif share.expected_version <> stored.version then
            return lpm.refuse(share.request_id, share.address, caller, 'share', share.vault_id, 'org_version_conflict',
                              'version', stored.version::text, 'expected', share.expected_version::text, 'org', caller.org);
        end if;
    end if;

    if brought.escrow is not null and stored.escrow_kind is distinct from 'aes' then
        -- switched off since
        return lpm.refuse(share.request_id, share.address, caller, 'share', share.vault_id, 'escrow_not_opted_in');
    end if;

    perform lpm.keep_version(stored.id);
    new_version := stored.version + 1;
    update lpm.vault_sync v
       set version = new_version, encrypted_blob = share.encrypted_blob, blob_sha256 = checked.blob_sha256,
           name = coalesce(left(share.name, 256), v.name), schema = coalesce(share.schema::json, v.schema),
           -- a share without the key leaves CI out until one brings it
           ci_escrow_wrapping_key = case v.escrow_kind when 'aes' then brought.escrow end,
           updated_at = clock_timestamp(), updated_by = caller.user_id
     where v.id = stored.id;
    insert into lpm.vault_org_keys (vault, version, org_id, user_id, wrapped_key)
    select stored.id, new_version, caller.org_id, r.user_id, r.wrapped_key
      from unnest(share.recipients, share.wrapped_keys) r (user_id, wrapped_key);
    perform lpm.forget_versions(stored.id);

    perform lpm.audit(share.request_id, share.address, caller, 'share', share.vault_id,
                      json_strip_nulls(json_build_object('version', new_version, 'recipients', cardinality(share.recipients), 'forced', coalesce(share.force, false),
                          'escrow', case stored.escrow_kind when 'aes' then brought.escrow is not null end)));
    select json_agg(a.handle order by a.handle) into unshared
      from lpm.vault_org_keys k
      join lpm.account a on a.id = k.user_id
     where k.vault = stored.id and k.version = stored.version and not k.user_id = any (share.recipients);
    if unshared is not null then
        perform lpm.audit(share.request_id, share.address, caller, 'unshare', share.vault_id, json_build_object('version', new_version, 'members', unshared));
    end if;
    return row (case when stored.version = 0 then 201 else 200 end,
                json_build_object('version', new_version, 'status', case when stored.version = 0 then 'created' else 'updated' end,
                                  'owner', caller.org_id)::text)::lpm_api.answer;
end
$$;

-- GET /api/orgs/{org}/vaults/{id}: with the caller's own copy of the key, where the last share was for them too
create function lpm_api.org_pull(request_id uuid, address text, token_hash bytea, org text, vault_id text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_org(org_pull.token_hash, 'read', org_pull.org, org_pull.vault_id);
    stored lpm.vault_sync;
    own_key text;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if caller.org_plan = 'free' then
        return lpm.refuse(org_pull.request_id, org_pull.address, caller, 'pull', org_pull.vault_id, 'plan_sync', 'owner', caller.org);
    end if;
    select v.* into stored from lpm.vault_sync v where v.vault_id = org_pull.vault_id and v.org_id = caller.org_id and v.version > 0;
    if not found then
        return lpm.failure('org_vault_unknown', 'vault', org_pull.vault_id, 'org', caller.org);
    end if;
    select k.wrapped_key into own_key from lpm.vault_org_keys k
     where k.vault = stored.id and k.version = stored.version and k.user_id = caller.user_id;
    perform lpm.audit(org_pull.request_id, org_pull.address, caller, 'pull', org_pull.vault_id,
                      json_build_object('version', stored.version, 'readable', own_key is not null));
    return row (200, case when own_key is null
                          then json_build_object('vaultId', stored.vault_id, 'encryptedBlob', stored.encrypted_blob,
                                                 'version', stored.version, 'owner', stored.org_id)
                          else json_build_object('vaultId', stored.vault_id, 'encryptedBlob', stored.encrypted_blob, 'wrappedKey', own_key,
                                                 'version', stored.version, 'owner', stored.org_id) end::text)::lpm_api.answer;
end
$$;

-- GET /api/orgs/{org}/vaults
create function lpm_api.list_org_vaults(request_id uuid, address text, token_hash bytea, org text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_org(list_org_vaults.token_hash, 'read', list_org_vaults.org);
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    return row (200, (select json_build_object('vaults', coalesce(json_agg(json_build_object(
                           'vaultId', v.vault_id, 'version', v.version, 'name', v.name, 'updatedAt', lpm.rfc3339(v.updated_at))
                           order by v.updated_at desc, v.id), '[]'))::text
                        from lpm.vault_sync v
                       where v.org_id = caller.org_id and v.version > 0))::lpm_api.answer;
end
$$;
