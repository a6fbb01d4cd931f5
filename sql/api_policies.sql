-- lpm_api: policies, for whoever owns the vault id.

-- What the vault now permits, one line per policy.
create function lpm.permits(vault_id text) returns json
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(json_agg(lpm.describe_policy(p.document::text) order by p.created_at, p.id), '[]')
      from lpm.oidc_policy p where p.vault_id = $1
$$;

-- POST /api/vault/oidc/policies
create function lpm_api.create_policy(request_id uuid, address text, token_hash bytea, body text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(create_policy.token_hash, 'all');
    asked record;
    claim text;
    policy uuid;
    new_document bytea;
    pin lpm.oidc_subject_pin;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    select * into asked from lpm.parse_policy(create_policy.body,
        (select i.issuer from lpm.issuers i where i.provider = 'github' and i.is_default),
        (select i.issuer from lpm.issuers i where i.provider = 'gitlab' and i.is_default));
    if (asked.refusal).status is not null then
        return asked.refusal;
    end if;
    if not exists (select from lpm.issuers i where i.issuer = asked.issuer and i.provider = asked.provider) then
        return lpm.failure('issuer_not_trusted', 'issuer', asked.issuer, 'provider', asked.provider);
    end if;
    if asked.scope = 'org' then
        caller := lpm.enter_org(create_policy.token_hash, 'all', asked.org, asked.vault_id);
        if (caller.refusal).status is not null then
            return lpm.refuse_with(create_policy.request_id, create_policy.address, caller, 'policy_create', asked.vault_id,
                                   lpm.failure_code((caller.refusal).body), caller.refusal);
        elsif not lpm.role_leads(caller.role) then
            return lpm.refuse_role(create_policy.request_id, create_policy.address, caller, 'policy_create', asked.vault_id, 'open its vaults to CI');
        elsif caller.org_plan <> 'org' then
            return lpm.refuse(create_policy.request_id, create_policy.address, caller, 'policy_create', asked.vault_id, 'plan_org_policy', 'owner', caller.org);
        end if;
    elsif caller.plan = 'free' then
        return lpm.refuse(create_policy.request_id, create_policy.address, caller, 'policy_create', asked.vault_id, 'plan_ci_escrow', 'owner', caller.handle);
    end if;
    claim := lpm.claim_vault(asked.vault_id, org => caller.org_id);
    if claim <> 'mine' then
        return lpm.refuse(create_policy.request_id, create_policy.address, caller, 'policy_create', asked.vault_id,
                          case claim when 'limited' then 'claim_rate_limited' else 'vault_claimed' end,
                          'vault', asked.vault_id, 'owner', coalesce(caller.org, caller.handle));
    end if;

    -- Each one is looked at for each pull. The claim is locked, so nobody else is adding one.
    new_document := sha256(convert_to(asked.document, 'UTF8'));
    if (select count(*) >= 100 and not bool_or(p.document_sha256 = new_document) from lpm.oidc_policy p
         where p.vault_id = asked.vault_id and coalesce(p.user_id, p.org_id) = coalesce(caller.org_id, caller.user_id)) then
        return lpm.refuse(create_policy.request_id, create_policy.address, caller, 'policy_create', asked.vault_id, 'too_many_policies',
                          'vault', asked.vault_id, 'limit', '100');
    end if;

    -- The subject's ids are shared by all policies that name it; ids given here pin at once, but never re-pin.
    select n.* into pin from lpm.oidc_subject_pin n
     where n.vault_id = asked.vault_id and n.holder = coalesce(caller.org_id, caller.user_id) and n.issuer = asked.issuer and n.subject = asked.subject
       for update;
    if pin.subject_id <> asked.pin_id or pin.owner_id <> asked.pin_owner_id then
        return lpm.refuse(create_policy.request_id, create_policy.address, caller, 'policy_create', asked.vault_id, 'pinned_otherwise',
                          'subject', asked.subject, 'id', concat_ws(' of owner ', pin.subject_id, pin.owner_id));
    end if;
    insert into lpm.oidc_subject_pin as p (vault_id, holder, issuer, subject, subject_id, owner_id, pinned_at)
    values (asked.vault_id, coalesce(caller.org_id, caller.user_id), asked.issuer, asked.subject, asked.pin_id, asked.pin_owner_id, case when asked.pin_id is not null then clock_timestamp() end)
    on conflict on constraint oidc_subject_pin_pkey do update
       set waiting_since = clock_timestamp(),
           subject_id = coalesce(p.subject_id, excluded.subject_id),
           owner_id = case when p.subject_id is null then excluded.owner_id else coalesce(p.owner_id, excluded.owner_id) end,
           pinned_at = coalesce(p.pinned_at, excluded.pinned_at)
    where p.subject_id is null or excluded.subject_id is null
       or (p.subject_id = excluded.subject_id and (p.owner_id is null or excluded.owner_id is null or p.owner_id = excluded.owner_id));
    if not found then
        -- someone pinned other ids in this very moment
        return lpm.refuse(create_policy.request_id, create_policy.address, caller, 'policy_create', asked.vault_id, 'pinned_otherwise',
                          'subject', asked.subject, 'id', 'of another first grant');
    end if;

    insert into lpm.oidc_policy (vault_id, user_id, org_id, issuer, subject, document, document_sha256, author)
    values (asked.vault_id, case when caller.org_id is null then caller.user_id end, caller.org_id, asked.issuer, asked.subject, asked.document::json,
            new_document, caller.user_id)
    on conflict do nothing
    returning id into policy;
    if policy is null then
        select p.id into policy from lpm.oidc_policy p
         where p.vault_id = asked.vault_id and coalesce(p.user_id, p.org_id) = coalesce(caller.org_id, caller.user_id)
           and p.document_sha256 = new_document;
    end if;
    perform lpm.audit(create_policy.request_id, create_policy.address, caller, 'policy_create', asked.vault_id,
                      json_build_object('policy', policy, 'document', asked.document::json));
    return row (201, (asked.document::jsonb
        || jsonb_build_object('success', true, 'id', policy, 'vaultId', asked.vault_id, 'owner', coalesce(caller.org_id, caller.user_id),
                              'permits', lpm.permits(asked.vault_id), 'warnings', to_jsonb(asked.warnings)))::text)::lpm_api.answer;
end
$$;

-- GET /api/vault/oidc/policies?vaultId=&org=: without an org whatever the caller may see, with one only its policies
create function lpm_api.list_policies(request_id uuid, address text, token_hash bytea, vault_id text, org text default null) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller;
    owner uuid;
begin
    if list_policies.org is null then
        caller := lpm.enter_account(list_policies.token_hash, 'read', list_policies.vault_id);
    else
        caller := lpm.enter_org(list_policies.token_hash, 'read', list_policies.org, list_policies.vault_id);
    end if;
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if not lpm.role_leads(caller.role) then
        return lpm.refuse_role(list_policies.request_id, list_policies.address, caller, 'policy_list', list_policies.vault_id, 'see its policies');
    end if;
    owner := coalesce(caller.org_id, caller.user_id);
    return row (200, json_build_object(
        'policies', coalesce((
            select json_agg((p.document::jsonb || jsonb_build_object(
                       'id', p.id, 'subject', p.subject, 'author', (select a.handle from lpm.account a where a.id = p.author), 'createdAt', lpm.rfc3339(p.created_at),
                       'permits', lpm.describe_policy(p.document::text),
                       'pinned', case when n.subject_id is not null then
                           jsonb_strip_nulls(jsonb_build_object('id', n.subject_id, 'ownerId', n.owner_id, 'at', lpm.rfc3339(n.pinned_at))) end,
                       'lapsesAt', case when n.subject_id is null then lpm.rfc3339(n.waiting_since + interval '30 days') end))::json
                       order by p.created_at, p.id)
              from lpm.oidc_policy p
              left join lpm.oidc_subject_pin n on n.vault_id = p.vault_id and n.holder = coalesce(p.user_id, p.org_id) and n.issuer = p.issuer and n.subject = p.subject
             where p.vault_id = list_policies.vault_id and (caller.org_id is null or p.org_id = caller.org_id)), '[]'),
        'escrow', case when exists (select from lpm.vault_sync v where v.vault_id = list_policies.vault_id and coalesce(v.user_id, v.org_id) = owner
                                       and v.escrow_kind is not null) then 'on' else 'off' end,
        'owner', owner)::text)::lpm_api.answer;
end
$$;

-- DELETE /api/vault/oidc/policies/{id}: tokens exchanged under it end with it
create function lpm_api.revoke_policy(request_id uuid, address text, token_hash bytea, policy_id text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(revoke_policy.token_hash, 'all');
    policy lpm.oidc_policy;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if revoke_policy.policy_id ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then
        delete from lpm.oidc_policy p where p.id = revoke_policy.policy_id::uuid returning p.* into policy;
    end if;
    if policy.id is null then
        return lpm.failure('policy_unknown', 'policy', revoke_policy.policy_id);
    end if;
    perform lpm.audit(revoke_policy.request_id, revoke_policy.address, caller, 'policy_revoke', policy.vault_id,
                      json_build_object('policy', policy.id, 'document', policy.document), org => policy.org_id);
    return row (200, json_build_object('success', true, 'id', policy.id, 'subject', policy.subject, 'vaultId', policy.vault_id)::text)::lpm_api.answer;
end
$$;

-- POST /api/vault/oidc/repin: forget the ids behind a name; the next grant records new ones
create function lpm_api.repin(request_id uuid, address text, token_hash bytea, vault_id text, subject text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(repin.token_hash, 'all', repin.vault_id);
    pins int;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    pins := lpm.forget_pins(repin.vault_id, repin.subject);
    if pins = 0 then
        return lpm.failure('subject_unknown', 'subject', repin.subject);
    end if;
    perform lpm.audit(repin.request_id, repin.address, caller, 'repin', repin.vault_id, json_build_object('subject', repin.subject),
                      org => case when lpm.scope_vault_user() is null then lpm.scope_vault_org() end);
    return row (200, json_build_object('success', true, 'subject', repin.subject, 'pins', pins)::text)::lpm_api.answer;
end
$$;

-- Runs in the caller's rights: lpm_definer is bound to the vault and the owners in scope, lpm_owner is not.
create function lpm.forget_pins(vault_id text, subject text) returns int
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
    pins int;
begin
    update lpm.oidc_subject_pin p set subject_id = null, owner_id = null, pinned_at = null, waiting_since = clock_timestamp()
     where p.vault_id = forget_pins.vault_id
       and (p.subject = forget_pins.subject or p.subject like 'repo:%' and p.subject = lower(forget_pins.subject collate "C"));
    get diagnostics pins = row_count;
    return pins;
end
$$;

-- POST /api/vault/oidc/explain: a dry run for the owner; nothing counts as a use
create function lpm_api.explain(request_id uuid, address text, token_hash bytea, vault_id text, issuer text, claims bytea, environment text)
returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(explain.token_hash, 'read', explain.vault_id);
    rehearsal lpm.rehearsal;
begin
    if (caller.refusal).status is not null then
        return caller.refusal;
    end if;
    if not caller.owns_vault then
        return lpm.failure('vault_unknown', 'vault', explain.vault_id);
    end if;
    rehearsal := lpm.rehearse(explain.vault_id, explain.issuer, explain.claims, coalesce(explain.environment, 'default'));
    if rehearsal.facts is null then
        return rehearsal.refusal;
    end if;
    return row (200, json_build_object(
        'granted', rehearsal.granted, 'reason', rehearsal.reason, 'unknownClaims', rehearsal.unknown_claims,
        'error', (rehearsal.refusal).body::json ->> 'error', 'hint', (rehearsal.refusal).body::json ->> 'hint',
        'checks', coalesce((select json_agg(json_build_object('policy', c.policy, 'check', c.check, 'expected', c.expected, 'actual', c.actual, 'ok', c.ok))
                              from lpm.explain_checks(rehearsal.provider, rehearsal.claims, rehearsal.facts) c), '[]'))::text)::lpm_api.answer;
end
$$;
