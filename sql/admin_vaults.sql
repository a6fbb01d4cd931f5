-- Admin functions: vault ids, pins, deletion, old versions, and "why was this denied?".

-- Reserves a vault id for an owner before the first push, so that nobody else can claim it.
create function lpm.reserve_vault(vault_id text, owner text) returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    to_owner record;
begin
    select * into to_owner from lpm.find_owner(reserve_vault.owner);
    insert into lpm.vault_claim (vault_id, user_id, org_id, pushed) values (reserve_vault.vault_id, to_owner.user_id, to_owner.org_id, true)
    on conflict on constraint vault_claim_pkey do nothing;
    if not found then
        raise exception 'the vault "%" belongs to someone already', reserve_vault.vault_id
            using errcode = 'unique_violation', hint = format('select lpm.transfer_vault(%L, %L);', reserve_vault.vault_id, reserve_vault.owner);
    end if;
    perform lpm.audit_admin('vault_reserve', reserve_vault.vault_id, to_owner.user_id, to_owner.org_id);
    return reserve_vault.vault_id;
end
$$;

-- Gives a vault id to another account or org: the right to open it to CI. The former owner's policies, pins and
-- escrow end; rows (ciphertext) stay with whoever pushed them.
create function lpm.transfer_vault(vault_id text, new_owner text) returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    to_owner record;
begin
    select * into to_owner from lpm.find_owner(transfer_vault.new_owner);
    update lpm.vault_claim c set user_id = to_owner.user_id, org_id = to_owner.org_id, pushed = true where c.vault_id = transfer_vault.vault_id;
    if not found then
        raise exception 'nobody has claimed the vault "%"', transfer_vault.vault_id
            using errcode = 'no_data_found', hint = format('select lpm.reserve_vault(%L, %L);', transfer_vault.vault_id, transfer_vault.new_owner);
    end if;
    delete from lpm.oidc_policy p where p.vault_id = transfer_vault.vault_id and coalesce(p.user_id, p.org_id) <> coalesce(to_owner.user_id, to_owner.org_id);
    delete from lpm.oidc_subject_pin n where n.vault_id = transfer_vault.vault_id
       and not exists (select from lpm.oidc_policy p where p.vault_id = n.vault_id and coalesce(p.user_id, p.org_id) = n.holder and p.issuer = n.issuer and p.subject = n.subject);
    update lpm.vault_sync v set ci_escrow_wrapping_key = null, escrow_kind = null
     where v.vault_id = transfer_vault.vault_id and coalesce(v.user_id, v.org_id) <> coalesce(to_owner.user_id, to_owner.org_id);
    update lpm.vault_version o set ci_escrow_wrapping_key = null, escrow_kind = null
      from lpm.vault_sync v
     where v.id = o.vault and v.vault_id = transfer_vault.vault_id
       and coalesce(v.user_id, v.org_id) <> coalesce(to_owner.user_id, to_owner.org_id);
    perform lpm.audit_admin('vault_transfer', transfer_vault.vault_id, to_owner.user_id, to_owner.org_id,
                            json_build_object('to', transfer_vault.new_owner));
    return transfer_vault.new_owner;
end
$$;

-- Forgets the ids behind a subject; the next grant records new ones. Returns how many pins that were.
create function lpm.repin(vault_id text, subject text) returns int
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    pins int := lpm.forget_pins(repin.vault_id, repin.subject);
begin
    if pins = 0 then
        raise exception 'no policy of the vault "%" names "%"', repin.vault_id, repin.subject
            using errcode = 'no_data_found', hint = format('select distinct subject from lpm.oidc_policy where vault_id = %L;', repin.vault_id);
    end if;
    perform lpm.audit_admin('repin', repin.vault_id, (select c.user_id from lpm.vault_claim c where c.vault_id = repin.vault_id),
                            (select c.org_id from lpm.vault_claim c where c.vault_id = repin.vault_id),
                            metadata => json_build_object('subject', repin.subject));
    return pins;
end
$$;

-- Deletes one owner's copy of a vault with its kept versions and policies, and that owner's part of the claim.
create function lpm.delete_vault(vault_id text, owner text) returns boolean
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    of_owner record;
    claim lpm.vault_claim;
    is_claimer boolean;
    rows_deleted int;
begin
    select * into of_owner from lpm.find_owner(delete_vault.owner);
    -- the claim before the row, as everywhere
    select c.* into claim from lpm.vault_claim c where c.vault_id = delete_vault.vault_id for update;
    is_claimer := coalesce(claim.user_id = of_owner.user_id or claim.org_id = of_owner.org_id, false);
    delete from lpm.vault_sync v where v.vault_id = delete_vault.vault_id and (v.user_id = of_owner.user_id or v.org_id = of_owner.org_id);
    get diagnostics rows_deleted = row_count;
    if rows_deleted = 0 and not is_claimer then
        raise exception '"%" has no vault "%"', delete_vault.owner, delete_vault.vault_id using errcode = 'no_data_found';
    end if;
    delete from lpm.oidc_policy p where p.vault_id = delete_vault.vault_id and (p.user_id = of_owner.user_id or p.org_id = of_owner.org_id);
    if is_claimer and (claim.user_id is null or claim.org_id is null) then
        delete from lpm.vault_claim c where c.vault_id = delete_vault.vault_id;
    elsif is_claimer then
        update lpm.vault_claim c
           set user_id = case when c.user_id = of_owner.user_id then null else c.user_id end,
               org_id = case when c.org_id = of_owner.org_id then null else c.org_id end
         where c.vault_id = delete_vault.vault_id;
    end if;
    perform lpm.audit_admin('vault_delete', delete_vault.vault_id, of_owner.user_id, of_owner.org_id);
    return true;
end
$$;

-- Brings back one of the last ten versions as the newest one. Returns the new version's number.
create function lpm.restore_version(vault_id text, version int, owner text) returns int
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    of_owner record;
    stored bigint;
    new_version int;
begin
    select * into of_owner from lpm.find_owner(restore_version.owner);
    perform lpm.hold_members(of_owner.org_id);
    select v.id into stored from lpm.vault_sync v
     where v.vault_id = restore_version.vault_id and (v.user_id = of_owner.user_id or v.org_id = of_owner.org_id) for update;
    new_version := lpm.bring_back(stored, restore_version.version, null);
    if new_version is null then
        raise exception '"%" keeps no version % of the vault "%"', restore_version.owner, restore_version.version, restore_version.vault_id
            using errcode = 'no_data_found',
                  hint = 'The last ten are kept: select version, created_at from lpm.vault_version o join lpm.vault_sync v on v.id = o.vault;';
    end if;
    perform lpm.audit_admin('vault_restore', restore_version.vault_id, of_owner.user_id, of_owner.org_id,
                            json_build_object('from', restore_version.version, 'version', new_version));
    return new_version;
end
$$;

-- What a token would meet: the inputs of the decision, and its outcome.
create type lpm.rehearsal as (refusal lpm_api.answer, provider text, claims bytea, facts text, granted boolean, reason text, unknown_claims text[]);

-- What a token with these claims would meet, without deciding anything: shared by lpm.explain and its HTTP twin.
-- Runs in the caller's rights. Without an issuer the claims are a person's draft, and are completed.
create function lpm.rehearse(vault_id text, issuer text, claims bytea, environment text) returns lpm.rehearsal
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
    rehearsal lpm.rehearsal;
    named text := rehearse.issuer;
    draft record;
    trusted record;
    job lpm.job;
    verdict lpm.verdict;
begin
    rehearsal.claims := rehearse.claims;
    if named is null then
        select * into draft from lpm.complete_claims(rehearse.claims, json_build_object(
            'github', (select i.issuer from lpm.issuers i where i.provider = 'github' and i.is_default),
            'gitlab', (select i.issuer from lpm.issuers i where i.provider = 'gitlab' and i.is_default),
            'pins', coalesce((select json_agg(json_build_object('subject', n.subject, 'id', n.subject_id, 'owner_id', n.owner_id))
                                from lpm.oidc_subject_pin n where n.vault_id = rehearse.vault_id and n.subject_id is not null), '[]'))::text);
        if (draft.refusal).status is not null then
            rehearsal.refusal := draft.refusal;
            return rehearsal;
        end if;
        named := draft.issuer;
        rehearsal.claims := draft.claims;
        rehearsal.unknown_claims := draft.unknown;
    end if;
    select i.* into trusted from lpm.issuers i where i.issuer = named;
    if not found then
        rehearsal.refusal := lpm.failure('token_issuer', 'issuer', named);
        return rehearsal;
    end if;
    job := lpm.read_claims(trusted.provider, named, rehearsal.claims);
    if (job.refusal).status is not null then
        rehearsal.refusal := job.refusal;
        return rehearsal;
    end if;
    rehearsal.provider := trusted.provider;
    rehearsal.facts := lpm.ci_facts(rehearse.vault_id, named, job.subjects, job.subject_id, rehearse.environment, true, trusted.without_job_project);
    verdict := lpm.judge(trusted.provider, rehearsal.claims, rehearsal.facts);
    rehearsal.granted := verdict.granted;
    rehearsal.reason := verdict.reason;
    if not verdict.granted then
        rehearsal.refusal := row (verdict.status, verdict.body)::lpm_api.answer;
    end if;
    return rehearsal;
end
$$;

-- Why a pull with these claims is granted or denied: one row per policy and check, and a last row with the outcome.
create function lpm.explain(vault_id text, claims text, environment text default 'default')
returns table (policy uuid, "check" text, expected text, actual text, ok boolean)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    rehearsal lpm.rehearsal := lpm.rehearse(explain.vault_id, null, convert_to(explain.claims, 'UTF8'), coalesce(explain.environment, 'default'));
    typo text;
begin
    foreach typo in array coalesce(rehearsal.unknown_claims, '{}') loop
        raise notice 'no claim is called `%`', typo;
    end loop;
    if rehearsal.facts is not null then
        return query select c.policy, c.check, c.expected, c.actual, c.ok
                       from lpm.explain_checks(rehearsal.provider, rehearsal.claims, rehearsal.facts) c;
    end if;
    return query select null::uuid, 'outcome', 'granted',
                        coalesce((rehearsal.refusal).body::json ->> 'error', 'granted'), coalesce(rehearsal.granted, false);
end
$$;
