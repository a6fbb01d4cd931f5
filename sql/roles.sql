-- What must hold before anything is created, the roles, and the two schemas beside `lpm`.
-- Runs first. Everything here either leaves the database as the rest expects it, or refuses.

do $install$
declare
    finding text;
begin
    if current_setting('server_encoding') <> 'UTF8' then
        raise exception 'pg_lpm needs a UTF8 database, this one is %', current_setting('server_encoding')
            using hint = 'create database … encoding ''UTF8'' template template0;';
    end if;

    -- A schema that someone prepared could hold functions that ours would call.
    select format('schema %I belongs to %s', n.nspname, n.nspowner::regrole) into finding
      from pg_catalog.pg_namespace n
     where n.nspname in ('lpm', 'lpm_api', 'lpm_dashboard') and n.nspowner <> current_user::regrole;
    if finding is not null then
        raise exception 'pg_lpm will not be installed: %', finding
            using hint = 'Drop it, or have its owner hand it over.';
    end if;
    select format('schema %I already contains %s', n.nspname, pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)) into finding
      from pg_catalog.pg_namespace n
      join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_namespace'::regclass and d.refobjid = n.oid and d.deptype = 'n'
     where n.nspname in ('lpm', 'lpm_api', 'lpm_dashboard')
       and d.classid <> 'pg_catalog.pg_extension'::regclass
     limit 1;
    if finding is not null then
        raise exception 'pg_lpm will not be installed: %', finding using hint = 'Drop it, or move it to another schema.';
    end if;

    -- Roles are shared by all databases of the cluster, so they may exist; not with powers of their own.
    select format('role %I has %s', r.rolname, concat_ws(', ',
               case when r.rolcanlogin then 'LOGIN' end, case when r.rolsuper then 'SUPERUSER' end,
               case when r.rolcreaterole then 'CREATEROLE' end, case when r.rolbypassrls then 'BYPASSRLS' end)) into finding
      from pg_catalog.pg_roles r
     where r.rolname in ('lpm_owner', 'lpm_definer', 'lpm_gateway', 'lpm_admin', 'lpm_operator', 'lpm_auditor', 'lpm_dashboard')
       and (r.rolcanlogin or r.rolsuper or r.rolcreaterole or r.rolbypassrls);
    if finding is not null then
        raise exception 'pg_lpm will not be installed: %', finding using hint = 'Take that from the role, or drop the role.';
    end if;
    select format('role %s is a member of %s', m.member::regrole, m.roleid::regrole) into finding
      from pg_catalog.pg_auth_members m
     where m.roleid::regrole::text in ('lpm_owner', 'lpm_definer') or m.member::regrole::text in ('lpm_owner', 'lpm_definer', 'lpm_gateway');
    if finding is not null then
        raise exception 'pg_lpm will not be installed: %', finding
            using hint = 'Nobody but the extension acts as lpm_owner or lpm_definer, and neither they nor lpm_gateway have rights of others: revoke the membership.';
    end if;
    -- Whoever made one of the roles beforehand may keep the right to hand it out.
    select format('role %s may grant %s to others', m.member::regrole, m.roleid::regrole) into finding
      from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.member
     where m.admin_option and not r.rolsuper
       and m.roleid::regrole::text in ('lpm_gateway', 'lpm_admin', 'lpm_operator', 'lpm_auditor', 'lpm_dashboard');
    if finding is not null then
        raise exception 'pg_lpm will not be installed: %', finding
            using hint = 'revoke admin option for … from …; who is to hand out the role can have it again afterwards, and lpm.health will name them.';
    end if;
    -- From an installation in another database, or prepared by somebody: only the DBA can tell.
    for finding in
        select format('role %s is already a member of %s, and so has its rights in this database too', m.member::regrole, m.roleid::regrole)
          from pg_catalog.pg_auth_members m
         where m.roleid::regrole::text in ('lpm_gateway', 'lpm_admin', 'lpm_operator', 'lpm_auditor', 'lpm_dashboard')
         order by m.roleid, m.member
    loop
        raise warning '%', finding;
    end loop;
end
$install$;

do $roles$
declare
    role_name text;
begin
    foreach role_name in array array['lpm_owner', 'lpm_definer', 'lpm_gateway', 'lpm_admin', 'lpm_operator', 'lpm_auditor', 'lpm_dashboard'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = role_name) then
            execute format('create role %I nologin', role_name);
        end if;
    end loop;
end
$roles$;

comment on role lpm_owner is 'pg_lpm: owns the tables and the admin functions; nobody logs in as it';
comment on role lpm_definer is 'pg_lpm: runs lpm_api, bound by row security; nobody logs in as it';
comment on role lpm_gateway is 'pg_lpm: may execute lpm_api, nothing else';
comment on role lpm_admin is 'pg_lpm: users, orgs, tokens, issuers; trusted with every escrowed secret';
comment on role lpm_operator is 'pg_lpm: health, explain, housekeeping';
comment on role lpm_auditor is 'pg_lpm: reads the audit view';
comment on role lpm_dashboard is 'pg_lpm: reads the dashboard views';

create schema if not exists lpm_api;
create schema if not exists lpm_dashboard;

-- What every function of lpm_api returns: the HTTP status and the finished body.
create type lpm_api.answer as (status int, body text);

-- What `lpm.read_claims` and `lpm.judge` return. Types of their own and no sets: plpgsql assigns what such a function
-- returns without an executor around it, and CI pulls come by here.
create type lpm.job as (
    refusal lpm_api.answer,     -- where the claims are not acceptable; all else is null then
    subjects text[],
    subject text,
    subject_id text,
    owner_id text,
    use_key bytea,
    expires_at timestamptz,
    token_name text,
    -- for the audit: cut and escaped
    repository text,
    branch text,
    workflow text,
    event text,
    run text,
    sha text,
    actor text
);
create type lpm.verdict as (
    reason text,
    status int,
    body text,
    policy uuid,
    granted boolean,
    counted boolean,            -- a stranger, to be counted and not audited
    environments text[],
    renamed boolean,
    pin_id text,
    pin_owner_id text
);

-- pgcrypto lives where the DBA has it, maybe where nobody else may look; only these three wrappers name that
-- schema, and they run as the installing superuser. Their bodies are bound when they are made (begin atomic):
-- looked up by name at each call, whoever owns the database could put a function of their own in the place.
do $pgcrypto$
declare
    home text := (select n.nspname from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace where e.extname = 'pgcrypto');
begin
    execute format($f$
        create function lpm.digest(data bytea, algorithm text) returns bytea
        language sql immutable strict parallel safe security definer set search_path = pg_catalog, pg_temp
        begin atomic select %1$I.digest(data, algorithm); end
    $f$, home);
    execute format($f$
        create function lpm.hmac(data bytea, key bytea, algorithm text) returns bytea
        language sql immutable strict parallel safe security definer set search_path = pg_catalog, pg_temp
        begin atomic select %1$I.hmac(data, key, algorithm); end
    $f$, home);
    execute format($f$
        create function lpm.gen_random_bytes(count int) returns bytea
        language sql volatile strict parallel safe security definer set search_path = pg_catalog, pg_temp
        begin atomic select %1$I.gen_random_bytes(count); end
    $f$, home);
end
$pgcrypto$;
