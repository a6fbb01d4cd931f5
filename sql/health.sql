-- Operations: escrow keys, health, housekeeping, replication of the audit.

-- Whether the WAL up to `target` (which holds the audit row of a grant) is on the synchronous standbys: flushed, or
-- applied where the session waits for that. A lower level that a client sets does not count, and a wait that was
-- cancelled ends in success with a mere warning, so `open` looks itself. Runs as the installing superuser: others see
-- no positions in pg_stat_replication.
create function lpm.commit_is_replicated(target pg_lsn) returns boolean
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    names text := current_setting('synchronous_standby_names');
    needed int := coalesce((regexp_match(names, '^[[:space:]]*(?:first|any)?[[:space:]]*([0-9]+)[[:space:]]*[(]', 'i'))[1]::int, 1);
begin
    return (select count(*) >= needed
              from pg_catalog.pg_stat_replication r
             where r.sync_state in ('sync', 'quorum')
               and case current_setting('synchronous_commit') when 'remote_apply' then r.replay_lsn else r.flush_lsn end >= target);
end
$$;

-- What a finding says, how grave it is, and how to fix it. Security definer: it looks at roles and at every table.
create function lpm.find_health() returns table (what text, severity text, fix text)
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    source record;
begin
    select * into source from lpm.escrow_key_source();
    if not source.preloaded then
        return query select 'pg_lpm is not preloaded: CI pulls answer 503', 'critical',
                            'set shared_preload_libraries = ''pg_lpm'' and restart';
    elsif source.error is not null then
        return query select format('the escrow keys could not be read (%s); %s', source.error,
                                   case when source.keys > 0 then 'the last good ones stay in use' else 'none is loaded' end), 'critical',
                            'mend the source, then select lpm.reload_escrow_keys()';
    elsif source.keys = 0 then
        return query select 'no escrow key is configured: CI pulls answer 503', 'critical',
                            'set pg_lpm.escrow_key_file in postgresql.conf, then select pg_reload_conf()';
    end if;
    -- The postmaster writes its environment down before it loads any library.
    if source.from_environment and current_setting('log_min_messages') in ('debug3', 'debug4', 'debug5') then
        return query select format('log_min_messages is %s: at its next start the server logs VAULT_CI_ESCROW_KEY', current_setting('log_min_messages')),
                            'critical', 'keep the key in a file (pg_lpm.escrow_key_file), or log less';
    end if;
    if source.preloaded and not source.protected then
        return query select 'pg_lpm.protect_memory is off: core dumps and /proc can show keys', 'warning', 'remove the setting and restart';
    end if;
    return query
        select format('%s escrowed vaults need the key %s, which is not loaded', count(*), split_part(v.ci_escrow_wrapping_key, '.', 2)), 'critical',
               'add the key to the escrow key source, or have their owners run lpm env oidc allow again'
          from lpm.vault_sync v
         where v.ci_escrow_wrapping_key is not null and not lpm.has_escrow_key(split_part(v.ci_escrow_wrapping_key, '.', 2))
         group by split_part(v.ci_escrow_wrapping_key, '.', 2);
    return query
        select format('%s vaults are open to CI, and their last push left CI out: pulls answer 409', count(*)), 'info',
               'their owners run lpm env push, or lpm env share, with this lpm'
          from lpm.vault_sync v where v.escrow_kind = 'aes' and v.ci_escrow_wrapping_key is null and v.version > 0 having count(*) > 0;
    return query
        select format('%s vaults are open to CI by the wrapping key of a machine, which opens every vault of that machine', count(*)), 'info',
               'their owners run lpm env oidc allow with this lpm, where no published client pushes'
          from lpm.vault_sync v where v.escrow_kind = 'wrapping' having count(*) > 0;
    return query
        select format('the gateway login %I %s', r.rolname, problem.what), 'critical', problem.fix
          from pg_catalog.pg_roles r
          cross join lateral (values
              (r.rolsuper or r.rolbypassrls or r.rolcreaterole, 'has SUPERUSER, BYPASSRLS or CREATEROLE', format('alter role %I nosuperuser nobypassrls nocreaterole', r.rolname)),
              (pg_has_role(r.rolname, 'lpm_admin', 'member') or pg_has_role(r.rolname, 'lpm_owner', 'member') or pg_has_role(r.rolname, 'lpm_definer', 'member'),
               'is also a member of lpm_admin, lpm_owner or lpm_definer', 'give the gateway a login of its own: select lpm.create_gateway_login(…)'),
              (not coalesce((select s.setconfig @> array['log_parameter_max_length=0'] from pg_catalog.pg_db_role_setting s where s.setrole = r.oid and s.setdatabase = 0), false),
               'may have its parameters logged', format('alter role %I set log_parameter_max_length = 0', r.rolname))
          ) problem (present, what, fix)
         where r.rolcanlogin and not r.rolsuper and pg_has_role(r.rolname, 'lpm_gateway', 'member') and problem.present;
    return query
        select format('%s may read every escrowed secret: %s', r.rolname, concat_ws(', ',
                   case when r.rolsuper then 'superuser' end,
                   case when not r.rolsuper and pg_has_role(r.rolname, 'pg_read_server_files', 'member') then 'pg_read_server_files' end,
                   case when not r.rolsuper and pg_has_role(r.rolname, 'pg_execute_server_program', 'member') then 'pg_execute_server_program' end,
                   case when not r.rolsuper and pg_has_role(r.rolname, 'pg_write_server_files', 'member') then 'pg_write_server_files' end,
                   case when not r.rolsuper and r.rolcreaterole and current_setting('server_version_num')::int < 160000 then 'CREATEROLE' end,
                   case when not r.rolsuper and pg_has_role(r.rolname, 'lpm_admin', 'member') then 'lpm_admin' end,
                   case when not r.rolsuper and pg_has_role(r.rolname, 'lpm_owner', 'member') then 'lpm_owner' end,
                   case when not r.rolsuper and pg_has_role(r.rolname, 'lpm_gateway', 'member') then 'lpm_gateway (by inventing claims, not without an audit row)' end)),
               'info', 'trusted by design; see docs/SECURITY.md'
          from pg_catalog.pg_roles r
         where r.rolcanlogin
           and (r.rolsuper or pg_has_role(r.rolname, 'pg_write_server_files', 'member')
                or r.rolcreaterole and current_setting('server_version_num')::int < 160000 or pg_has_role(r.rolname, 'pg_read_server_files', 'member') or pg_has_role(r.rolname, 'pg_execute_server_program', 'member')
                or pg_has_role(r.rolname, 'lpm_admin', 'member') or pg_has_role(r.rolname, 'lpm_owner', 'member') or pg_has_role(r.rolname, 'lpm_gateway', 'member'))
         order by r.rolname;
    return query
        select format('%s may grant %s to others', m.member::regrole, m.roleid::regrole), 'critical',
               format('revoke admin option for %s from %s', m.roleid::regrole, m.member::regrole)
          from pg_catalog.pg_auth_members m
          join pg_catalog.pg_roles r on r.oid = m.member
          join pg_catalog.pg_roles ours on ours.oid = m.roleid
         where m.admin_option and not r.rolsuper
           and ours.rolname in ('lpm_owner', 'lpm_definer', 'lpm_gateway', 'lpm_admin', 'lpm_operator', 'lpm_auditor', 'lpm_dashboard')
         order by m.roleid, m.member;
    return query
        select format('row security is off on %s', c.oid::regclass), 'critical', format('alter table %s enable row level security', c.oid::regclass)
          from pg_catalog.pg_class c where c.relnamespace = 'lpm'::regnamespace and c.relkind = 'r' and not c.relrowsecurity;
    return query
        select format('%s expired token uses, CI tokens and tokens of login sessions wait to be removed', w.waiting), 'warning',
               'select lpm.remove_expired(), from cron or pg_cron every hour'
          from (select (select count(*) from (select from lpm.oidc_token_use u where u.expires_at < clock_timestamp() limit 100001) x)
                     + (select count(*) from lpm.ci_token t where t.expires_at < clock_timestamp())
                     + (select count(*) from lpm.access_token t where t.session_id is not null and t.expires_at < clock_timestamp())
                     + (select count(*) from lpm.session_refresh r where r.expires_at < clock_timestamp()) as waiting) w
         where w.waiting > 100000;
    return query
        select format('fsync is %s, full_page_writes is %s: audit rows can be lost in a crash', current_setting('fsync'), current_setting('full_page_writes')),
               'critical', 'turn both on'
         where current_setting('fsync') = 'off' or current_setting('full_page_writes') = 'off';
end
$$;

create view lpm.health with (security_barrier) as select what, severity, fix from lpm.find_health();
comment on view lpm.health is 'One row per finding: what, severity (critical, warning, info), how to fix';

-- The loaded escrow keys, newest first: never the keys themselves.
create function lpm.list_escrow_keys() returns table (id text, fingerprint text, public_key text, seals_new boolean, vaults bigint)
language sql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
    select k.id, k.fingerprint, encode(k.public_key, 'base64'), k.position = 1,
           (select count(*) from lpm.vault_sync v where v.ci_escrow_wrapping_key like 'v1.' || replace(k.id, '_', '\_') || '.%')
      from lpm.loaded_escrow_keys() k order by k.position
$$;
create view lpm.escrow_keys with (security_barrier) as select id, fingerprint, public_key, seals_new, vaults from lpm.list_escrow_keys();
comment on view lpm.escrow_keys is 'Loaded escrow keys by id and fingerprint, newest first, and how many vaults each one opens';

-- Removes token uses, CI tokens, invitations, stranger counts, and what login sessions and pairings leave behind: what no
-- longer decides anything. Returns how many rows.
create function lpm.remove_expired() returns bigint
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    removed bigint;
    total bigint := 0;
begin
    delete from lpm.oidc_token_use u where u.expires_at < clock_timestamp();
    get diagnostics removed = row_count;
    total := total + removed;
    delete from lpm.ci_token t where t.expires_at < clock_timestamp();
    get diagnostics removed = row_count;
    total := total + removed;
    delete from lpm.org_invitation i where i.expires_at < clock_timestamp();
    get diagnostics removed = row_count;
    total := total + removed;
    delete from lpm.oidc_stranger s where s.hour < clock_timestamp() - interval '30 days';
    get diagnostics removed = row_count;
    total := total + removed;
    -- Hourly, so a session whose end somebody is just being told goes with the next run. What is of it goes with it.
    delete from lpm.session s where not lpm.session_lives(s.id) and coalesce(s.ended_at, s.refreshed_at) < clock_timestamp() - interval '1 hour';
    get diagnostics removed = row_count;
    total := total + removed;
    delete from lpm.access_token t where t.session_id is not null and t.expires_at < clock_timestamp();
    get diagnostics removed = row_count;
    total := total + removed;
    delete from lpm.session_refresh r where r.expires_at < clock_timestamp();
    get diagnostics removed = row_count;
    total := total + removed;
    delete from lpm.login_code c where c.expires_at < clock_timestamp() - interval '10 minutes';
    get diagnostics removed = row_count;
    total := total + removed;
    -- a pairing whose key was read stays as long as its session: whoever unpairs wants to end that
    delete from lpm.pairing_session p where p.status in ('pending', 'approved') and p.expires_at < clock_timestamp();
    get diagnostics removed = row_count;
    total := total + removed;
    delete from lpm.pairing_miss m where m.created_at < clock_timestamp() - interval '10 minutes';
    get diagnostics removed = row_count;
    return total + removed;
end
$$;
