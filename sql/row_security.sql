-- Row security: what lpm_definer sees and changes in each scope. Not forced, so lpm_owner (admin
-- functions, housekeeping) is exempt; everybody else has no rights on the tables at all.
--
-- The dashboard's views belong to lpm_definer too. In a view, current_user is the person who asks, in a
-- function of lpm_api it is lpm_definer itself, so the `dashboard` rules never widen lpm_api. PostgreSQL tries the
-- rules of a table in the order of their names, last first, and looking roles up costs more than comparing ids: so
-- these have the first name.

do $enable$
declare
    relation regclass;
begin
    for relation in select c.oid::regclass from pg_catalog.pg_class c where c.relnamespace = 'lpm'::regnamespace and c.relkind = 'r' loop
        execute format('alter table %s enable row level security', relation);
    end loop;
end
$enable$;

-- Whether an account is a member of an org in scope. As lpm_owner: whoever reads a view may not even name schema lpm.
create function lpm.is_fellow(user_id uuid) returns boolean
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select from lpm.org_member m where m.user_id = is_fellow.user_id and m.org_id = any (lpm.scope_orgs()));
end
$$;

create policy mine on lpm.account to lpm_definer using (lpm.scope_has_account(id));
create policy mine on lpm.org for select to lpm_definer using (lpm.scope_has_org(id));
create policy mine on lpm.org_member for select to lpm_definer using (org_id = any (lpm.scope_orgs()));
-- locked by every member, changed by those who lead
create policy locked on lpm.org_member for update to lpm_definer
    using (org_id = any (lpm.scope_orgs())) with check (org_id = any (lpm.scope_led_orgs()));
create policy left_by on lpm.org_member for delete to lpm_definer
    using (org_id = any (lpm.scope_led_orgs()) or user_id = lpm.scope_account());
create policy led on lpm.org for update to lpm_definer using (id = any (lpm.scope_led_orgs()));
create policy led on lpm.org_invitation to lpm_definer using (org_id = any (lpm.scope_led_orgs()));

-- an account knows its fellow members: their handles, and what to wrap keys for. A function and no subselect, which
-- would be part of the plan of every CI pull, where nobody has fellows
create policy fellow on lpm.account for select to lpm_definer using (lpm.is_fellow(id));
create policy mine on lpm.user_public_keys to lpm_definer using (user_id = lpm.scope_account());
create policy fellow on lpm.user_public_keys for select to lpm_definer using (lpm.is_fellow(user_id));

create policy mine on lpm.access_token to lpm_definer using (user_id = lpm.scope_account());
create policy mine on lpm.session to lpm_definer using (user_id = lpm.scope_account());
create policy mine on lpm.session_refresh to lpm_definer
    using (exists (select from lpm.session s where s.id = session_id and s.user_id = lpm.scope_account()));
create policy mine on lpm.login_code to lpm_definer using (user_id = lpm.scope_account());
create policy mine on lpm.pairing_session to lpm_definer using (user_id = lpm.scope_account());
create policy mine on lpm.pairing_miss to lpm_definer using (user_id = lpm.scope_account());

create policy owned on lpm.vault_claim for select to lpm_definer using (vault_id = lpm.scope_vault());

create policy mine on lpm.vault_sync to lpm_definer using (lpm.scope_owns(user_id, org_id));
create policy opened on lpm.vault_sync for select to lpm_definer using (lpm.scope_opens(vault_id, user_id, org_id));

create policy mine on lpm.vault_version to lpm_definer
    using (exists (select from lpm.vault_sync v where v.id = vault
                   and (v.user_id = lpm.scope_account() or v.org_id = any (lpm.scope_orgs()))));

create policy mine on lpm.vault_org_keys to lpm_definer
    using (exists (select from lpm.vault_sync v where v.id = vault and v.org_id = any (lpm.scope_orgs())));

create policy mine on lpm.oidc_policy to lpm_definer using (lpm.scope_leads(user_id, org_id));
create policy opened on lpm.oidc_policy for select to lpm_definer using (lpm.scope_opens(vault_id, user_id, org_id));

create policy opened on lpm.oidc_subject_pin to lpm_definer using (lpm.scope_opens(vault_id, holder, holder));

create policy issued on lpm.ci_token for insert to lpm_definer with check (vault_id = lpm.scope_vault());
create policy counted on lpm.oidc_token_use to lpm_definer using (true);
create policy counted on lpm.oidc_stranger to lpm_definer using (true);
create policy trusted on lpm.oidc_issuer for select to lpm_definer using (true);

create policy written on lpm.audit_log for insert to lpm_definer with check (true);
create policy mine on lpm.audit_log for select to lpm_definer
    using (owner_user_id = lpm.scope_account()
           or owner_org_id in (select m.org_id from lpm.org_member m
                                where m.user_id = lpm.scope_account() and m.role in ('owner', 'admin', 'maintainer')));

create policy dashboard on lpm.account for select to lpm_definer
    using (pg_has_role(current_user, 'lpm_dashboard', 'usage') or pg_has_role(current_user, 'lpm_auditor', 'usage'));
create policy dashboard on lpm.org for select to lpm_definer
    using (pg_has_role(current_user, 'lpm_dashboard', 'usage') or pg_has_role(current_user, 'lpm_auditor', 'usage'));
create policy dashboard on lpm.vault_claim for select to lpm_definer using (pg_has_role(current_user, 'lpm_dashboard', 'usage'));
create policy dashboard on lpm.vault_sync for select to lpm_definer using (pg_has_role(current_user, 'lpm_dashboard', 'usage'));
create policy dashboard on lpm.oidc_policy for select to lpm_definer using (pg_has_role(current_user, 'lpm_dashboard', 'usage'));
create policy dashboard on lpm.oidc_subject_pin for select to lpm_definer using (pg_has_role(current_user, 'lpm_dashboard', 'usage'));
create policy dashboard on lpm.audit_log for select to lpm_definer
    using (pg_has_role(current_user, 'lpm_dashboard', 'usage') or pg_has_role(current_user, 'lpm_auditor', 'usage'));
