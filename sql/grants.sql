-- Owner and whole ACL of every object, from one matrix. The end of every install and update script: default
-- privileges or an earlier version may have granted anything, so first all is taken, then this is given.

do $grants$
declare
    object record;
    grantee record;
begin
    -- Owners before grants: a change of owner rewrites the ACL. What needs the installing superuser stays its own.
    for object in
        select c.oid::regclass::text as name, c.relkind from pg_catalog.pg_class c
         where c.relnamespace in ('lpm'::regnamespace, 'lpm_dashboard'::regnamespace) and c.relkind in ('r', 'v', 'S')
           -- an identity column's sequence follows its table
           and not exists (select from pg_catalog.pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype = 'i' and c.relkind = 'S')
    loop
        execute format('alter %s %s owner to %I', case object.relkind when 'v' then 'view' else 'table' end, object.name,
                       case when object.name like 'lpm\_dashboard.%' then 'lpm_definer' else 'lpm_owner' end);
    end loop;
    for object in
        select p.oid::regprocedure::text as name, p.pronamespace::regnamespace::text as home, p.prokind, l.lanname as language, p.proname, p.prosecdef
          from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid = p.prolang
         where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace)
    loop
        if object.home = 'lpm_api' and object.proname not in ('issuers', 'ready') then
            execute format('alter routine %s owner to lpm_definer', object.name);
        elsif object.proname not in ('create_gateway_login', 'commit_is_replicated', 'digest', 'hmac', 'gen_random_bytes') then
            execute format('alter routine %s owner to lpm_owner', object.name);
        end if;
    end loop;
    for object in select t.oid::regtype::text as name from pg_catalog.pg_type t join pg_catalog.pg_class c on c.oid = t.typrelid
                   where t.typnamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace) and c.relkind = 'c' loop
        execute format('alter type %s owner to lpm_owner', object.name);
    end loop;

    -- Take everything from everybody.
    for grantee in
        select distinct case when a.grantee = 0 then 'public' else quote_ident(r.rolname) end as name
          from (select (aclexplode(n.nspacl)).grantee from pg_catalog.pg_namespace n where n.nspname in ('lpm', 'lpm_api', 'lpm_dashboard')
                union select (aclexplode(c.relacl)).grantee from pg_catalog.pg_class c where c.relnamespace in ('lpm'::regnamespace, 'lpm_dashboard'::regnamespace)
                union select (aclexplode(coalesce(p.proacl, acldefault('f', p.proowner)))).grantee from pg_catalog.pg_proc p
                       where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace)
                union select 0::oid) a
          left join pg_catalog.pg_roles r on r.oid = a.grantee
         where a.grantee = 0 or r.rolname not in ('lpm_owner', 'lpm_definer') and r.oid <> current_user::regrole
    loop
        execute format('revoke all on schema lpm, lpm_api, lpm_dashboard from %s', grantee.name);
        execute format('revoke all on all tables in schema lpm, lpm_dashboard from %s', grantee.name);
        execute format('revoke all on all sequences in schema lpm from %s', grantee.name);
        execute format('revoke all on all routines in schema lpm, lpm_api from %s', grantee.name);
    end loop;
end
$grants$;

-- lpm_owner: its own tables and functions, and the one view that guards them against DROP EXTENSION.
grant usage, create on schema lpm to lpm_owner;
grant usage on schema lpm_api, lpm_dashboard to lpm_owner;

-- lpm_definer: what lpm_api does, row by row, bound by row security.
grant usage on schema lpm, lpm_api to lpm_definer;
grant select on lpm.account, lpm.vault_claim, lpm.issuers, lpm.oidc_stranger to lpm_definer;
grant select, update (may_share) on lpm.org to lpm_definer;
grant select, delete, update (role) on lpm.org_member to lpm_definer;
grant select, insert, update on lpm.user_public_keys to lpm_definer;
grant select, insert, update, delete on lpm.org_invitation to lpm_definer;
grant select, insert, delete on lpm.vault_org_keys to lpm_definer;
grant select, insert, update on lpm.vault_sync to lpm_definer;
grant select, insert, update, delete on lpm.vault_version to lpm_definer;
grant select, insert, delete on lpm.oidc_policy to lpm_definer;
grant select, insert, update on lpm.oidc_subject_pin, lpm.oidc_token_use, lpm.oidc_stranger to lpm_definer;
grant insert on lpm.ci_token to lpm_definer;
grant select, insert, update, delete on lpm.access_token, lpm.login_code, lpm.pairing_session to lpm_definer;
grant select, insert, update on lpm.session, lpm.session_refresh to lpm_definer;
grant select, insert on lpm.pairing_miss to lpm_definer;
grant select, insert on lpm.audit_log to lpm_definer;
grant execute on function
    lpm.enter_account, lpm.enter_org, lpm.enter_owner, lpm.role_rank, lpm.role_leads, lpm.end_invitations, lpm.end_membership, lpm.hold_members, lpm.join_org,
    lpm.own_invitations, lpm.decline_invitation, lpm.enter_vault, lpm.enter_ci_token, lpm.return_ci_token_use, lpm.enter_request, lpm.claim_vault, lpm.claim_blob,
    lpm.bring_escrow, lpm.keep_version, lpm.forget_versions, lpm.bring_back, lpm.refuse_role, lpm.role_problem, lpm.describe_member, lpm.has_other_owner,
    lpm.refuse_session, lpm.audit, lpm.refuse, lpm.refuse_with, lpm.rfc3339, lpm.permits, lpm.forget_pins, lpm.ci_facts, lpm.count_stranger, lpm.deny, lpm.decide_request,
    lpm.rehearse, lpm.commit_is_replicated,
    lpm.failure, lpm.failure_code, lpm.presentable, lpm.scope_account, lpm.scope_orgs, lpm.scope_led_orgs, lpm.scope_vault, lpm.scope_vault_user,
    lpm.scope_vault_org, lpm.scope_has_account, lpm.scope_has_org, lpm.scope_owns, lpm.scope_leads, lpm.scope_opens, lpm.is_fellow, lpm.check_push, lpm.check_share, lpm.check_public_key, lpm.parse_policy, lpm.describe_policy, lpm.read_claims, lpm.complete_claims, lpm.judge, lpm.explain_checks,
    lpm.just_now, lpm.session_lives, lpm.are_hashes, lpm.close_session, lpm.issue_session_tokens, lpm.enter_login_code, lpm.enter_refresh_token,
    lpm.lock_account, lpm.find_pairing, lpm.pairing_status, lpm.enter_pairing, lpm.end_pairings,
    lpm.accept_escrow, lpm.open_vault, lpm.claim_open, lpm.note_grant, lpm.flush_decision, lpm.loaded_escrow_keys, lpm.has_escrow_key, lpm.has_escrow_keys
to lpm_definer;
grant execute on function lpm.digest, lpm.hmac, lpm.gen_random_bytes, lpm.commit_is_replicated to lpm_owner;

-- lpm_gateway: the API, nothing else.
grant usage on schema lpm_api to lpm_gateway;
grant execute on all functions in schema lpm_api to lpm_gateway;

-- People.
grant usage on schema lpm to lpm_admin, lpm_operator, lpm_auditor;
grant usage on schema lpm_dashboard to lpm_dashboard, lpm_auditor;
grant select on lpm_dashboard.vaults, lpm_dashboard.policies, lpm_dashboard.audit, lpm_dashboard.strangers to lpm_dashboard;
grant select on lpm_dashboard.audit to lpm_auditor;
-- row security asks for the scope of whoever reads a view; there is none then
grant execute on function lpm.scope_account, lpm.scope_orgs, lpm.scope_led_orgs, lpm.scope_vault, lpm.scope_vault_user, lpm.scope_vault_org,
    lpm.scope_has_account, lpm.scope_has_org, lpm.scope_owns, lpm.scope_leads, lpm.scope_opens, lpm.is_fellow
to lpm_dashboard, lpm_auditor;
grant execute on function
    lpm.create_user, lpm.drop_user, lpm.create_token, lpm.revoke_tokens, lpm.list_sessions, lpm.end_sessions, lpm.set_plan, lpm.create_org, lpm.add_member, lpm.remove_member, lpm.set_sharing,
    lpm.create_gateway_login, lpm.trust_issuer, lpm.distrust_issuer, lpm.reserve_vault, lpm.transfer_vault, lpm.repin, lpm.delete_vault,
    lpm.restore_version
to lpm_admin;
grant execute on function lpm.explain, lpm.reload_escrow_keys, lpm.remove_expired, lpm.find_health, lpm.list_escrow_keys to lpm_admin, lpm_operator;
grant select on lpm.health, lpm.escrow_keys, lpm.issuers to lpm_admin, lpm_operator;
