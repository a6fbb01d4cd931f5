-- Issuers. What is built in is code (this view), so that dump and restore cannot lose an update of it; a
-- DBA's changes are rows of lpm.oidc_issuer, which win.

create view lpm.builtin_issuer with (security_barrier) as
select b.issuer collate "C" as issuer, b.provider, true as trusted, array['https://lpm.dev'] as audiences,
       null::text as jwks_uri, null::json as jwks, array['RS256'] as algorithms,
       b.max_token_uses, b.max_lifetime, b.max_age,
       false as allow_private_addresses, false as without_job_project, true as is_default
  from (values
        -- a GitHub job mints a token whenever it wants one; it lives five minutes
        ('https://token.actions.githubusercontent.com', 'github', 1, interval '10 minutes', interval '10 minutes'),
        -- a GitLab job has one token for its whole life, so retries share it
        ('https://gitlab.com', 'gitlab', 20, interval '24 hours', interval '24 hours')
       ) b (issuer, provider, max_token_uses, max_lifetime, max_age);

create view lpm.issuers with (security_barrier) as
select i.issuer, i.provider, i.audiences, i.jwks_uri, i.jwks, i.algorithms, i.max_token_uses, i.max_lifetime, i.max_age,
       i.allow_private_addresses, i.without_job_project,
       -- what is built in is the default until another one is made it
       i.is_default or (exists (select from lpm.builtin_issuer b where b.issuer = i.issuer and b.provider = i.provider)
                        and not exists (select from lpm.oidc_issuer d where d.provider = i.provider and d.is_default and d.trusted)) as is_default,
       i.changed_at
  from lpm.oidc_issuer i where i.trusted
union all
select b.issuer, b.provider, b.audiences, b.jwks_uri, b.jwks, b.algorithms, b.max_token_uses, b.max_lifetime, b.max_age,
       b.allow_private_addresses, b.without_job_project,
       not exists (select from lpm.oidc_issuer d where d.provider = b.provider and d.is_default and d.trusted),
       null::timestamptz
  from lpm.builtin_issuer b
 where not exists (select from lpm.oidc_issuer o where o.issuer = b.issuer);
comment on view lpm.issuers is 'Issuers whose tokens are accepted; change with lpm.trust_issuer and lpm.distrust_issuer';

-- For the gateway: everything it needs to verify signatures.
create function lpm_api.issuers() returns lpm_api.answer
language sql stable parallel safe security definer
set search_path = pg_catalog, pg_temp
as $$
    select row (200, json_build_object('issuers', coalesce(json_agg(json_build_object(
               'issuer', i.issuer, 'provider', i.provider, 'audiences', i.audiences, 'algorithms', i.algorithms,
               'maxLifetime', extract(epoch from i.max_lifetime)::bigint, 'maxAge', extract(epoch from i.max_age)::bigint,
               'jwksUri', i.jwks_uri, 'jwks', i.jwks, 'allowPrivateAddresses', i.allow_private_addresses) order by i.issuer), '[]'))::text)::lpm_api.answer
      from lpm.issuers i
$$;

create function lpm_api.ready() returns lpm_api.answer
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_read_only')::boolean then
        return lpm.failure('read_only');
    end if;
    -- without its synchronous standbys nothing that is decided is ever answered
    if current_setting('synchronous_standby_names') <> '' and not lpm.commit_is_replicated('0/0') then
        return lpm.failure('audit_not_durable');
    end if;
    return row (200, json_build_object('status', 'ready', 'escrowKey', lpm.has_escrow_keys())::text);
end
$$;
