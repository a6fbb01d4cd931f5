-- lpm_api: CI. Deciding writes the audit row and commits; opening decrypts, in a transaction of its own, only
-- for a committed grant. See docs/SECURITY.md, "Audit before plaintext".

-- What `lpm.decide_request` found.
create type lpm.decided as (answer lpm_api.answer, policy_id uuid, expires_at timestamptz, name text);

-- The policies that could speak for these claims, with everything the decision needs to know beside them.
-- Runs in the caller's rights, so row security binds it in lpm_api. `only_policy` narrows to one. Not a function
-- in SQL: those are planned anew at every call before PostgreSQL 18, which takes longer than all the rest. Every
-- table and subselect in here, those of row security included, costs each pull locks and a walk over its plan.
create function lpm.ci_facts(vault_id text, issuer text, subjects text[], subject_id text, environment text, pull boolean,
                             without_job_project boolean, only_policy uuid default null) returns text
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return json_build_object(
        'now', floor(extract(epoch from clock_timestamp()))::bigint, 'vault', ci_facts.vault_id, 'environment', ci_facts.environment, 'pull', ci_facts.pull, 'without_job_project', ci_facts.without_job_project,
        'candidates', coalesce((
            select json_agg(json_build_object(
                       'id', p.id, 'policy', p.document, 'owner', coalesce(a.handle, o.slug), 'plan', coalesce(a.plan, o.plan),
                       'waiting_since', floor(extract(epoch from coalesce(n.waiting_since, p.created_at)))::bigint,
                       'pin', case when n.subject_id is not null then json_build_object('id', n.subject_id, 'owner_id', n.owner_id) end,
                       'escrow', v.escrow_kind,
                       'escrow_key_loaded', case when v.ci_escrow_wrapping_key is null then lpm.has_escrow_keys()
                                                 else lpm.has_escrow_key(split_part(v.ci_escrow_wrapping_key, '.', 2)) end,
                       'escrow_copy', v.ci_escrow_wrapping_key is not null,
                       'version', coalesce(v.version, 0), 'env_config', v.schema -> 'envConfig')
                       order by p.created_at, p.id)
              from lpm.oidc_policy p
              left join lpm.account a on a.id = p.user_id
              left join lpm.org o on o.id = p.org_id
              left join lpm.oidc_subject_pin n on n.vault_id = p.vault_id and n.holder = coalesce(p.user_id, p.org_id) and n.issuer = p.issuer and n.subject = p.subject
              left join lpm.vault_sync v on v.vault_id = p.vault_id and (v.user_id = p.user_id or v.org_id = p.org_id)
             where p.vault_id = ci_facts.vault_id and p.issuer = ci_facts.issuer
               and (ci_facts.only_policy is null or p.id = ci_facts.only_policy)
               -- or the job's repository was called so when it was pinned
               and (p.subject = any (ci_facts.subjects) or n.subject_id = ci_facts.subject_id)), '[]'))::text;
end
$$;

-- Counts an attempt that no policy names, per repository, vault and hour. Whoever runs a trusted issuer can invent
-- any number of repositories, so an issuer fills 1,000 rows in an hour (a few more when sessions race for the last),
-- and whoever comes after shares one.
create function lpm.count_stranger(issuer text, subject_id text, vault_id text, reason text, subject text) returns void
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
    this_hour timestamptz := date_trunc('hour', clock_timestamp(), 'UTC');
    crowded boolean;
begin
    update lpm.oidc_stranger s
       set attempts = s.attempts + 1, last_at = clock_timestamp(), subject = count_stranger.subject
     where s.issuer = count_stranger.issuer and s.hour = this_hour and s.subject_id = count_stranger.subject_id
       and s.vault_id = count_stranger.vault_id and s.reason = count_stranger.reason;
    if found then
        return;
    end if;
    select count(*) = 1000 into crowded
      from (select from lpm.oidc_stranger s where s.issuer = count_stranger.issuer and s.hour = this_hour limit 1000) filled;
    insert into lpm.oidc_stranger as s (issuer, hour, subject_id, vault_id, reason, subject)
    values (count_stranger.issuer, this_hour, case when crowded then '' else count_stranger.subject_id end,
            case when crowded then '' else count_stranger.vault_id end, count_stranger.reason, case when crowded then '' else count_stranger.subject end)
    on conflict on constraint oidc_stranger_pkey do update
       set attempts = s.attempts + 1, last_at = clock_timestamp(), subject = excluded.subject;
end
$$;

-- The verdict where the tables say no: the failure with this code, arguments as of `lpm.failure`.
create function lpm.deny(policy uuid, code text, variadic arguments text[]) returns lpm.verdict
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    refusal lpm_api.answer := lpm.failure(deny.code, variadic deny.arguments);
    verdict lpm.verdict;
begin
    verdict.reason := deny.code;
    verdict.status := refusal.status;
    verdict.body := refusal.body;
    verdict.policy := deny.policy;
    verdict.granted := false;
    verdict.counted := false;
    verdict.renamed := false;
    return verdict;
end
$$;

-- Decides, writes the audit row (or counts a stranger), and returns what to answer; the same code for one-step
-- pull, exchange and ci-pull. `count_use`: the token is an OIDC token (a CI token has counted its own use).
create function lpm.decide_request(action text, request_id uuid, address text, issuer text, claims bytea, vault_id text, environment text,
                                   owner uuid, count_use boolean, only_policy uuid default null) returns lpm.decided
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
    decided lpm.decided;
    trusted record;
    job lpm.job;
    verdict lpm.verdict;
    holder_user uuid;       -- for whose vault it is decided: an account …
    holder_org uuid;        -- … or an org
    asked text := coalesce(decide_request.environment, 'default');
    known_vault boolean;
    used_up boolean;
    first_use uuid;         -- of a token that is used up
begin
    if decide_request.request_id is null or decide_request.vault_id is null then
        decided.answer := lpm.failure('bad_request', 'reason', 'request id and vault id are needed');
        return decided;
    end if;
    -- these columns only: whether it is the default takes three more lookups
    select i.provider, i.without_job_project, i.max_token_uses into trusted from lpm.issuers i where i.issuer = decide_request.issuer;
    if not found then
        decided.answer := lpm.failure('token_issuer', 'issuer', decide_request.issuer);
        return decided;
    end if;
    job := lpm.read_claims(trusted.provider, decide_request.issuer, decide_request.claims);
    if job.use_key is null then
        decided.answer := coalesce(job.refusal, lpm.failure('token_malformed', 'reason', 'the claims are missing'));
        return decided;
    end if;
    -- The gateway has looked at its own clock; a token that is over by either is over, or one of the two that is
    -- slow would take a token whose uses nobody remembers any more.
    if count_use and job.expires_at < clock_timestamp() - interval '30 seconds' then
        decided.answer := lpm.failure('token_expired');
        return decided;
    end if;
    known_vault := lpm.enter_vault(decide_request.vault_id, decide_request.owner);
    holder_user := lpm.scope_vault_user();
    holder_org := lpm.scope_vault_org();
    verdict := lpm.judge(trusted.provider, decide_request.claims,
        lpm.ci_facts(decide_request.vault_id, decide_request.issuer, job.subjects, job.subject_id, asked, action = 'ci_pull',
                     trusted.without_job_project, only_policy));
    if verdict.counted then
        perform lpm.count_stranger(decide_request.issuer, job.subject_id, case when known_vault then decide_request.vault_id else '' end,
                                   verdict.reason, job.subject);
        decided.answer := row (verdict.status, verdict.body)::lpm_api.answer;
        return decided;
    end if;

    -- Uses are counted per issuer and jti, denials included; what failed on our side (5xx) is not the job's fault.
    -- Remembered for longer than the token lives, also by a clock that is an hour wrong while they are removed.
    if count_use then
        if verdict.status < 500 then
            insert into lpm.oidc_token_use as u (use_key, uses, expires_at, first_request_id)
            values (job.use_key, 1, job.expires_at + interval '2 hours', decide_request.request_id)
            on conflict on constraint oidc_token_use_pkey do update set uses = u.uses + 1 where u.uses < trusted.max_token_uses;
            used_up := not found;
        else
            used_up := exists (select from lpm.oidc_token_use u where u.use_key = job.use_key and u.uses >= trusted.max_token_uses);
        end if;
        if used_up then
            verdict := lpm.deny(verdict.policy, 'replayed', 'max_uses',
                                case trusted.max_token_uses when 1 then 'once' else trusted.max_token_uses || ' times' end);
            select u.first_request_id into first_use from lpm.oidc_token_use u where u.use_key = job.use_key;
        end if;
    end if;

    -- The first grant records the ids behind the name. Whoever comes second decides again with the ids of the first.
    if verdict.granted and verdict.pin_id is not null then
        insert into lpm.oidc_subject_pin as n (vault_id, holder, issuer, subject, subject_id, owner_id, pinned_at)
        select p.vault_id, coalesce(p.user_id, p.org_id), p.issuer, p.subject, verdict.pin_id, verdict.pin_owner_id, clock_timestamp()
          from lpm.oidc_policy p where p.id = verdict.policy
        on conflict on constraint oidc_subject_pin_pkey do update
           set subject_id = excluded.subject_id, owner_id = excluded.owner_id, pinned_at = excluded.pinned_at
         where n.subject_id is null or n.subject_id = excluded.subject_id and n.owner_id is null;
        if not found then
            verdict := lpm.judge(trusted.provider, decide_request.claims,
                lpm.ci_facts(decide_request.vault_id, decide_request.issuer, job.subjects, job.subject_id, asked, action = 'ci_pull',
                             trusted.without_job_project, only_policy));
        end if;
    end if;

    if holder_user is not null and holder_org is not null then
        -- both open this vault id to CI: the policy says for whom it was, and where none does it was for the account
        select p.user_id, p.org_id into holder_user, holder_org from lpm.oidc_policy p where p.id = verdict.policy;
        if not found then
            holder_user := lpm.scope_vault_user();
            if verdict.granted then
                -- revoked since it was judged: nobody knows whose row may be read
                verdict := lpm.deny(null, 'no_policy', 'subject', job.subject, 'provider', trusted.provider);
            end if;
        end if;
    end if;
    if verdict.granted and action = 'ci_pull' and not lpm.note_grant(pg_current_xact_id()) then
        -- not preloaded, so there is no memory in which it would wait to be opened
        verdict := lpm.deny(verdict.policy, 'no_escrow_key');
    end if;
    insert into lpm.audit_log (request_id, action, decision, reason, vault_id, owner_user_id, owner_org_id, provider, issuer, repository, branch,
                               workflow, event, run, sha, actor, environment, environments, policy_id, address, metadata)
    values (decide_request.request_id, decide_request.action,
            case when verdict.granted then 'granted' when verdict.status >= 500 then 'failed' else 'denied' end,
            coalesce(verdict.reason, case when verdict.renamed then 'renamed' end), decide_request.vault_id,
            holder_user, holder_org, trusted.provider, decide_request.issuer, job.repository, job.branch, job.workflow, job.event, job.run, job.sha, job.actor,
            lpm.presentable(asked), verdict.environments, verdict.policy, lpm.presentable(decide_request.address),
            json_strip_nulls(json_build_object('subjectId', job.subject_id, 'ownerId', job.owner_id, 'firstUse', first_use)));
    return row (row (verdict.status, verdict.body)::lpm_api.answer, verdict.policy, job.expires_at, job.token_name)::lpm.decided;
end
$$;

-- POST /api/vault/oidc: an OIDC token for a token that is good for one vault, policy and environment
create function lpm_api.exchange(request_id uuid, address text, issuer text, claims bytea, vault_id text, environment text, owner uuid,
                                 ci_token_hash bytea) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    refusal lpm_api.answer := lpm.refuse_session();
    decided lpm.decided;
    expires timestamptz := clock_timestamp() + interval '5 minutes';
begin
    if refusal.status is not null then
        return refusal;
    end if;
    if octet_length(exchange.ci_token_hash) is distinct from 32 then
        return lpm.failure('bad_request', 'reason', 'the hash of a CI token has 32 bytes');
    end if;
    decided := lpm.decide_request('ci_exchange', exchange.request_id, exchange.address, exchange.issuer, exchange.claims,
                                  exchange.vault_id, exchange.environment, exchange.owner, count_use => true);
    if (decided.answer).status is distinct from 200 then
        return decided.answer;
    end if;
    insert into lpm.ci_token (stored_hash, name, vault_id, policy_id, owner, issuer, claims, environment, expires_at)
    values (sha256(exchange.ci_token_hash), decided.name, exchange.vault_id, decided.policy_id, exchange.owner, exchange.issuer,
            exchange.claims, coalesce(exchange.environment, 'default'), expires)
    on conflict do nothing;
    if not found then
        return lpm.failure('ci_token_invalid');
    end if;
    return row (200, json_build_object('expiresAt', lpm.rfc3339(expires))::text)::lpm_api.answer;
end
$$;

-- POST /api/vault/oidc/pull, first half: 200 without a body means granted, then `open`
create function lpm_api.decide(request_id uuid, address text, issuer text, claims bytea, vault_id text, environment text, owner uuid)
returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    refusal lpm_api.answer := lpm.refuse_session();
    decided lpm.decided;
begin
    if refusal.status is not null then
        return refusal;
    end if;
    decided := lpm.decide_request('ci_pull', decide.request_id, decide.address, decide.issuer, decide.claims,
                                  decide.vault_id, decide.environment, decide.owner, count_use => true);
    return decided.answer;
end
$$;

-- GET /api/vaults/{id}/ci-pull, first half: decides again, with the claims that were exchanged
create function lpm_api.decide_ci(request_id uuid, address text, token_hash bytea, vault_id text, environment text) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    refusal lpm_api.answer := lpm.refuse_session();
    token lpm.ci_token;
    mismatch text;
    decided lpm.decided;
begin
    if refusal.status is not null then
        return refusal;
    end if;
    token := lpm.enter_ci_token(decide_ci.token_hash);
    if token.stored_hash is null then
        return lpm.failure('ci_token_invalid');
    end if;
    mismatch := case when token.vault_id <> decide_ci.vault_id then 'this vault'
                     when token.environment <> coalesce(decide_ci.environment, 'default') then
                         format('the environment `%s`', coalesce(decide_ci.environment, 'default')) end;
    if mismatch is not null then
        insert into lpm.audit_log (request_id, action, decision, reason, vault_id, owner_user_id, owner_org_id, issuer, environment, policy_id, address, metadata)
        values (decide_ci.request_id, 'ci_pull', 'denied', 'ci_token_scope', token.vault_id, lpm.scope_vault_user(),
                case when lpm.scope_vault_user() is null then lpm.scope_vault_org() end, token.issuer,
                lpm.presentable(coalesce(decide_ci.environment, 'default')), token.policy_id, lpm.presentable(decide_ci.address),
                json_build_object('asked', lpm.presentable(decide_ci.vault_id), 'token', token.name));
        return lpm.failure('ci_token_scope', 'what', mismatch);
    end if;
    decided := lpm.decide_request('ci_pull', decide_ci.request_id, decide_ci.address, token.issuer, token.claims,
                                  token.vault_id, token.environment, token.owner, count_use => false, only_policy => token.policy_id);
    if (decided.answer).status >= 500 then
        -- what failed on our side is not the job's fault
        perform lpm.return_ci_token_use(decide_ci.token_hash);
    end if;
    return decided.answer;
end
$$;

-- Second half of both: the environment of a granted, committed, recent request, once.
create function lpm_api.open(request_id uuid) returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    granted lpm.audit_log;
    stored lpm.vault_sync;
    answer lpm_api.answer;
    target pg_lsn;
begin
    -- A standby shows the grant as well, and would open it once more; an old snapshot shows an escrow that is off.
    answer := lpm.refuse_session();
    if answer.status is not null then
        return answer;
    end if;
    -- Whatever this transaction has written could still be rolled back, the audit row included.
    if pg_current_xact_id_if_assigned() is not null then
        return lpm.failure('not_openable');
    end if;
    granted := lpm.enter_request(open.request_id);
    if granted.id is null then
        return lpm.failure('not_openable');
    end if;
    -- The commit is durable here, whatever synchronous_commit the client had set for it, and there.
    target := lpm.flush_decision(granted.transaction_id);
    if current_setting('synchronous_standby_names') <> '' and not lpm.commit_is_replicated(target) then
        return lpm.failure('audit_not_durable');
    end if;
    if not lpm.claim_open(granted.transaction_id) then
        return lpm.failure('not_openable');
    end if;
    select v.* into stored from lpm.vault_sync v
     where v.vault_id = granted.vault_id and (v.user_id = granted.owner_user_id or v.org_id = granted.owner_org_id);
    if stored.escrow_kind = 'aes' and stored.ci_escrow_wrapping_key is null then
        -- a push or share between decision and opening left CI out
        answer := case when stored.org_id is null then lpm.failure('escrow_mismatch')
                       else lpm.failure('org_share_without_escrow', 'org', (select o.slug from lpm.org o where o.id = stored.org_id)) end;
    else
        answer := lpm.open_vault(stored.ci_escrow_wrapping_key, stored.escrow_kind, stored.vault_id,
                                 case when stored.user_id is null then 'org' else 'user' end, coalesce(stored.user_id, stored.org_id),
                                 stored.blob_sha256, stored.encrypted_blob, stored.wrapped_key, granted.environment, granted.environments);
    end if;
    if answer.status = 200 then
        return answer;
    end if;
    insert into lpm.audit_log (request_id, action, decision, reason, vault_id, owner_user_id, owner_org_id, provider, issuer, repository,
                               branch, workflow, event, run, sha, actor, environment, policy_id, address)
    values (granted.request_id, 'ci_open', case when answer.status = 403 then 'denied' else 'failed' end, lpm.failure_code(answer.body),
            granted.vault_id, granted.owner_user_id, granted.owner_org_id, granted.provider, granted.issuer, granted.repository,
            granted.branch, granted.workflow, granted.event, granted.run, granted.sha, granted.actor, granted.environment,
            granted.policy_id, granted.address);
    return answer;
end
$$;
