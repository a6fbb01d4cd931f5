-- Who is asking: each function of lpm_api enters exactly one scope before it touches a table, and row
-- security admits only what that scope covers. The scope lives in backend memory until the transaction
-- ends; only lpm_owner may set it, so only the functions of this file do.

-- What `enter_account` found. `refusal` is set where the caller may not go on.
create type lpm.caller as (
    refusal lpm_api.answer,
    user_id uuid,
    handle text,
    plan text,
    owns_vault boolean,     -- may attach policies and escrow to the vault in question
    token_id uuid,          -- the bearer …
    token_scope text,       -- … what it may: `all`, `read` or `none` …
    session_id uuid,        -- … and its login session, if it has one
    -- what `enter_org` adds
    org_id uuid,
    org text,               -- its slug
    org_plan text,
    role text,
    may_share boolean       -- this role may share the org's vaults
);

-- Higher is more. Null for what is no role.
create function lpm.role_rank(role text) returns int
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$ select array_position(array['developer', 'maintainer', 'admin', 'owner'], $1) $$;

-- Whoever has this role decides on members, invitations, policies and escrow of the org.
create function lpm.role_leads(role text) returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$ select $1 in ('owner', 'admin') $$;

-- Whether a moment was within the last 30 seconds; not of the future either, or a clock that is set back would prolong it.
create function lpm.just_now(moment timestamptz) returns boolean
language sql volatile parallel safe
set search_path = pg_catalog, pg_temp
as $$ select moment between clock_timestamp() - interval '30 seconds' and clock_timestamp() + interval '30 seconds' $$;

-- Whether a login session goes on: refreshed in time, not ended, and the token it came from is still good.
create function lpm.session_lives(session_id uuid) returns boolean
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select from lpm.session s join lpm.access_token p on p.id = s.pat_id
                    where s.id = session_lives.session_id and s.ended_at is null and s.expires_at > clock_timestamp()
                      and p.revoked_at is null and p.expires_at > clock_timestamp());
end
$$;

-- The account of a bearer token. `needs` is `none`, `read` or `all`. With `rotating` also that of a token that was replaced
-- just now: its holder may not have learnt the new one.
create function lpm.enter_account(token_hash bytea, needs text, vault_id text default null, rotating boolean default false) returns lpm.caller
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    stored bytea := sha256(enter_account.token_hash);
    found_token record;
    claim lpm.vault_claim;
    caller lpm.caller;
    orgs uuid[];
    led_orgs uuid[];
begin
    perform lpm.set_scope(null, null, null, null, null, null);
    caller.refusal := lpm.refuse_session();
    if (caller.refusal).status is not null then
        return caller;
    end if;
    if octet_length(enter_account.vault_id) not between 1 and 256 then
        caller.refusal := lpm.failure('bad_request', 'reason', 'a vault id has 1 to 256 bytes');
        return caller;
    end if;
    if rotating then
        -- locked, or somebody who rotates at the same time could come between this statement and the next
        select t.stored_hash into stored from lpm.access_token t
         where t.stored_hash = sha256(enter_account.token_hash)
            or t.previous_hash = sha256(enter_account.token_hash) and lpm.just_now(t.rotated_at)
           for no key update;
    end if;
    -- A session's token is worth what the token is worth that the session came from.
    select t.id as token_id, t.session_id, coalesce(p.scope, t.scope) as scope, a.id, a.handle, a.plan into found_token
      from lpm.access_token t
      join lpm.account a on a.id = t.user_id
      left join lpm.session s on s.id = t.session_id
      left join lpm.access_token p on p.id = s.pat_id
     where t.stored_hash = stored
       and t.revoked_at is null and t.expires_at > clock_timestamp()
       and (t.session_id is null
            or s.ended_at is null and s.expires_at > clock_timestamp() and p.revoked_at is null and p.expires_at > clock_timestamp());
    if not found then
        caller.refusal := lpm.failure(case when exists (
            select from lpm.access_token t where t.stored_hash = stored and t.session_id is not null and not lpm.session_lives(t.session_id))
            then 'session_ended' else 'unauthorized' end);
        return caller;
    end if;
    if not (found_token.scope = 'all' or found_token.scope = needs or needs = 'none') then
        caller.refusal := lpm.failure('token_scope', 'allowed',
            case found_token.scope when 'read' then 'read' else 'say who you are' end);
        return caller;
    end if;
    select coalesce(array_agg(m.org_id), '{}'),
           coalesce(array_agg(m.org_id) filter (where m.role in ('owner', 'admin')), '{}')
      into orgs, led_orgs
      from lpm.org_member m where m.user_id = found_token.id;
    select c.* into claim from lpm.vault_claim c where c.vault_id = enter_account.vault_id;
    caller.user_id := found_token.id;
    caller.handle := found_token.handle;
    caller.plan := found_token.plan;
    caller.token_id := found_token.token_id;
    caller.token_scope := found_token.scope;
    caller.session_id := found_token.session_id;
    caller.owns_vault := claim.user_id is not distinct from found_token.id and claim.user_id is not null
                      or coalesce(claim.org_id = any (led_orgs), false);
    if caller.owns_vault then
        perform lpm.set_scope(found_token.id, orgs, led_orgs, claim.vault_id,
                              case when claim.user_id = found_token.id then claim.user_id end, case when claim.org_id = any (led_orgs) then claim.org_id end);
    else
        perform lpm.set_scope(found_token.id, orgs, led_orgs, null, null, null);
    end if;
    return caller;
end
$$;

-- The account of a bearer token as a member of this org. An org that it is no member of answers as one that does not
-- exist. With `managing` one at a time: whoever changes who is a member, or what a member is, and expects that to be
-- as it was read.
--
-- Order of locks, as everywhere: the org's row, the membership, the claim of a vault id, the vault's row. The caller's
-- membership stays locked, so it cannot end before what it permits has been done, or the other way round.
create function lpm.enter_org(token_hash bytea, needs text, slug text, vault_id text default null, managing boolean default false) returns lpm.caller
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    caller lpm.caller := lpm.enter_account(enter_org.token_hash, enter_org.needs, enter_org.vault_id);
    me uuid := caller.user_id;
    org lpm.org;
    role text;
begin
    if (caller.refusal).status is not null then
        return caller;
    end if;
    if managing then
        -- only for members: strangers lock nothing
        perform from lpm.org o join lpm.org_member m on m.org_id = o.id
          where o.slug = enter_org.slug and m.user_id = me for no key update of o;
    end if;
    select m.role into role from lpm.org o join lpm.org_member m on m.org_id = o.id
     where o.slug = enter_org.slug and m.user_id = me for key share of m;
    if not found then
        perform lpm.set_scope(null, null, null, null, null, null);
        caller.refusal := lpm.failure('org_unknown', 'org', enter_org.slug);
        return caller;
    end if;
    select o.* into org from lpm.org o where o.slug = enter_org.slug;
    if lpm.role_leads(role) is distinct from org.id = any (lpm.scope_led_orgs()) then
        -- it has become another one while this waited
        caller := lpm.enter_account(enter_org.token_hash, enter_org.needs, enter_org.vault_id);
        if (caller.refusal).status is not null then
            return caller;
        end if;
    end if;
    caller.org_id := org.id;
    caller.org := org.slug;
    caller.org_plan := org.plan;
    caller.role := role;
    caller.may_share := lpm.role_rank(role) >= lpm.role_rank(org.may_share);
    return caller;
end
$$;

-- For what an account has of its own and an org has too: with `org` as its member, else as the account.
create function lpm.enter_owner(token_hash bytea, needs text, vault_id text, org text) returns lpm.caller
language plpgsql volatile parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
    if enter_owner.org is null then
        return lpm.enter_account(enter_owner.token_hash, enter_owner.needs, enter_owner.vault_id);
    end if;
    return lpm.enter_org(enter_owner.token_hash, enter_owner.needs, enter_owner.org, enter_owner.vault_id);
end
$$;

-- The vault of a CI request, and only the rows of those who may open it to CI. An owner that is named and
-- does not match is treated like a vault that does not exist.
create function lpm.enter_vault(vault_id text, owner uuid) returns boolean
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    claim lpm.vault_claim;
begin
    select c.* into claim from lpm.vault_claim c
     where c.vault_id = enter_vault.vault_id
       and (enter_vault.owner is null or enter_vault.owner in (c.user_id, c.org_id));
    -- an account and an org may both open the vault id to CI: whoever is named, and nobody else
    return lpm.set_scope(null, null, null, claim.vault_id,
                         case when enter_vault.owner is null or enter_vault.owner = claim.user_id then claim.user_id end,
                         case when enter_vault.owner is null or enter_vault.owner = claim.org_id then claim.org_id end);
end
$$;

-- The CI token of a bearer: counts one of its three uses and enters its vault.
create function lpm.enter_ci_token(token_hash bytea) returns lpm.ci_token
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    token lpm.ci_token;
begin
    perform lpm.set_scope(null, null, null, null, null, null);
    update lpm.ci_token t set uses = t.uses + 1
     where t.stored_hash = sha256(enter_ci_token.token_hash)
       and t.uses < 3 and t.expires_at > clock_timestamp()
       -- or a clock that is set back would prolong it
       and t.created_at < clock_timestamp() + interval '30 seconds'
    returning t.* into token;
    perform lpm.enter_vault(token.vault_id, token.owner);
    return token;
end
$$;

-- Takes back what `enter_ci_token` counted in the same transaction.
create function lpm.return_ci_token_use(token_hash bytea) returns void
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update lpm.ci_token t set uses = t.uses - 1 where t.stored_hash = sha256(return_ci_token_use.token_hash);
end
$$;

-- The granted request that `open` names, or null: it must be a pull, recent, and committed.
create function lpm.enter_request(request_id uuid) returns lpm.audit_log
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    entry lpm.audit_log;
begin
    select a.* into entry from lpm.audit_log a
     where a.request_id = enter_request.request_id and a.action = 'ci_pull' and a.decision = 'granted'
       -- also not of the future: a clock that is set back would prolong it
       and a.created_at between clock_timestamp() - interval '30 seconds' and clock_timestamp() + interval '30 seconds'
       -- revoked since
       and exists (select from lpm.oidc_policy p where p.id = a.policy_id);
    if found and pg_xact_status(entry.transaction_id) = 'committed'
       and lpm.set_scope(null, null, null, entry.vault_id, entry.owner_user_id, entry.owner_org_id) then
        return entry;
    end if;
    perform lpm.set_scope(null, null, null, null, null, null);
    return null;
end
$$;

-- Claims the vault id for the account in scope (or for an org: one that it leads, or with a share one that it is in),
-- if nobody holds it. What an act for an org claims is the org's alone, so that whoever did it takes nothing along when
-- they leave. What the account itself holds is from then on the org's too: the org that the claimer first shared it
-- with. A claim that never saw a push lapses after 24 hours. Answers `mine`, `theirs` or `limited`.
create function lpm.claim_vault(vault_id text, org uuid default null, pushing boolean default false) returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    me uuid := lpm.scope_account();
    holder lpm.vault_claim;
    waiting bigint;
begin
    if me is null or claim_vault.vault_id is null
       or (org is not null and not org = any (case when pushing then lpm.scope_orgs() else lpm.scope_led_orgs() end)) then
        return 'theirs';
    end if;
    delete from lpm.vault_claim c
     where c.vault_id = claim_vault.vault_id and not c.pushed and c.claimed_at < clock_timestamp() - interval '24 hours'
       and not exists (select from lpm.vault_sync v where v.vault_id = c.vault_id and v.version > 0 and (v.user_id = c.user_id or v.org_id = c.org_id))
       and c.user_id is distinct from me and not coalesce(c.org_id = any (lpm.scope_led_orgs()), false);
    if not pushing and not exists (select from lpm.vault_claim c where c.vault_id = claim_vault.vault_id) then
        -- one at a time, or many at once would each see fewer
        perform from lpm.account a where a.id = me for no key update;
        select count(*) into waiting from lpm.vault_claim c
         where (org is null and c.user_id = me or c.org_id = org) and not c.pushed and c.claimed_at > clock_timestamp() - interval '24 hours';
        if waiting >= 20 then
            return 'limited';
        end if;
    end if;
    insert into lpm.vault_claim (vault_id, user_id, org_id, pushed)
    values (claim_vault.vault_id, case when org is null then me end, org, pushing or exists (
        select from lpm.vault_sync v where v.vault_id = claim_vault.vault_id and v.version > 0 and (org is null and v.user_id = me or v.org_id = org)))
    on conflict on constraint vault_claim_pkey do nothing;
    select c.* into holder from lpm.vault_claim c where c.vault_id = claim_vault.vault_id for update;
    if org is not null and holder.user_id = me and holder.org_id is null then
        update lpm.vault_claim c set org_id = org where c.vault_id = claim_vault.vault_id;
        holder.org_id := org;
    end if;
    if (org is null and holder.user_id = me) or (org is not null and holder.org_id = org) then
        if pushing and not holder.pushed then
            update lpm.vault_claim c set pushed = true where c.vault_id = claim_vault.vault_id;
        end if;
        perform lpm.set_scope(me, lpm.scope_orgs(), lpm.scope_led_orgs(), holder.vault_id, case when holder.user_id = me then me end,
                              case when holder.org_id = any (lpm.scope_led_orgs()) then holder.org_id end);
        return 'mine';
    end if;
    return 'theirs';
end
$$;

-- Notes that this ciphertext belongs to this vault of this owner; false where it belongs to another already.
-- Looks across accounts, and tells one bit.
create function lpm.claim_blob(blob_sha256 bytea, vault_id text, owner_id uuid) returns boolean
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into lpm.blob_seen (blob_sha256, vault_id, owner_id) values (claim_blob.blob_sha256, claim_blob.vault_id, claim_blob.owner_id)
    on conflict on constraint blob_seen_pkey do nothing;
    return exists (select from lpm.blob_seen b where b.blob_sha256 = claim_blob.blob_sha256
                      and b.vault_id = claim_blob.vault_id and b.owner_id = claim_blob.owner_id);
end
$$;
