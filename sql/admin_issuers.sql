-- Admin functions: which issuers are trusted. Gateways that listen on lpm_issuers hear of each change when it commits.

-- Trusts an issuer, or changes one that is trusted; what is not given keeps its value, or gets the provider's.
create function lpm.trust_issuer(provider text, issuer text, audiences text[] default null, jwks_uri text default null, jwks json default null,
                                 algorithms text[] default null, max_token_uses int default null, max_lifetime interval default null,
                                 max_age interval default null, allow_private_addresses boolean default null,
                                 without_job_project boolean default null, is_default boolean default null) returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    base record;
    refusal text;
begin
    if trust_issuer.provider is null or trust_issuer.provider not in ('github', 'gitlab') then
        raise exception 'the provider "%" is not supported', trust_issuer.provider
            using errcode = 'invalid_parameter_value', hint = 'Use github or gitlab: the kind of claims that the issuer signs.';
    end if;
    refusal := lpm.issuer_problem(trust_issuer.issuer, trust_issuer.jwks_uri, coalesce(trust_issuer.allow_private_addresses, false),
                                  trust_issuer.algorithms, trust_issuer.jwks::text);
    if refusal is not null then
        raise exception '%', refusal using errcode = 'invalid_parameter_value';
    end if;
    -- what there is, else what is built in for this issuer, else what is built in for its kind
    select i.* into base from lpm.oidc_issuer i where i.issuer = trust_issuer.issuer and i.provider = trust_issuer.provider;
    if not found then
        select b.*, clock_timestamp() as changed_at into base from lpm.builtin_issuer b
         where b.provider = trust_issuer.provider order by b.issuer <> trust_issuer.issuer limit 1;
        base.is_default := false;
    end if;
    if coalesce(trust_issuer.is_default, false) then
        update lpm.oidc_issuer i set is_default = false where i.provider = trust_issuer.provider and i.issuer <> trust_issuer.issuer and i.is_default;
    end if;
    insert into lpm.oidc_issuer as i (issuer, provider, trusted, audiences, jwks_uri, jwks, algorithms, max_token_uses, max_lifetime, max_age,
                                      allow_private_addresses, without_job_project, is_default)
    values (trust_issuer.issuer, trust_issuer.provider, true, coalesce(trust_issuer.audiences, base.audiences),
            coalesce(trust_issuer.jwks_uri, base.jwks_uri), coalesce(trust_issuer.jwks, base.jwks), coalesce(trust_issuer.algorithms, base.algorithms),
            coalesce(trust_issuer.max_token_uses, base.max_token_uses), coalesce(trust_issuer.max_lifetime, base.max_lifetime),
            coalesce(trust_issuer.max_age, base.max_age), coalesce(trust_issuer.allow_private_addresses, base.allow_private_addresses),
            coalesce(trust_issuer.without_job_project, base.without_job_project), coalesce(trust_issuer.is_default, base.is_default))
    on conflict on constraint oidc_issuer_pkey do update
       set provider = excluded.provider, trusted = true, audiences = excluded.audiences, jwks_uri = excluded.jwks_uri, jwks = excluded.jwks,
           algorithms = excluded.algorithms, max_token_uses = excluded.max_token_uses, max_lifetime = excluded.max_lifetime,
           max_age = excluded.max_age, allow_private_addresses = excluded.allow_private_addresses,
           without_job_project = excluded.without_job_project, is_default = excluded.is_default, changed_at = clock_timestamp();
    perform pg_notify('lpm_issuers', '');
    perform lpm.audit_admin('issuer_trust', metadata => json_build_object('issuer', trust_issuer.issuer, 'provider', trust_issuer.provider));
    return trust_issuer.issuer;
end
$$;

-- Its tokens are refused from the next request on; policies that name it stay, and grant nothing.
create function lpm.distrust_issuer(issuer text) returns text
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from lpm.issuers i where i.issuer = distrust_issuer.issuer) then
        raise exception 'the issuer "%" is not trusted', distrust_issuer.issuer
            using errcode = 'no_data_found', hint = 'select issuer from lpm.issuers;';
    end if;
    -- a built-in issuer needs a row that says no; any other is forgotten with its settings
    delete from lpm.oidc_issuer i where i.issuer = distrust_issuer.issuer;
    insert into lpm.oidc_issuer (issuer, provider, trusted, audiences, algorithms, max_token_uses, max_lifetime, max_age)
    select b.issuer, b.provider, false, b.audiences, b.algorithms, b.max_token_uses, b.max_lifetime, b.max_age
      from lpm.builtin_issuer b where b.issuer = distrust_issuer.issuer;
    perform pg_notify('lpm_issuers', '');
    perform lpm.audit_admin('issuer_distrust', metadata => json_build_object('issuer', distrust_issuer.issuer));
    return distrust_issuer.issuer;
end
$$;
