-- Views for an operator's dashboard: never plaintext, ciphertext, keys or hashes. Tenants see their part through
-- lpm_api, not through these.

create view lpm_dashboard.vaults with (security_barrier) as
select v.vault_id, v.name, coalesce(a.handle, o.slug) as owner, case when v.user_id is not null then 'user' else 'org' end as owner_kind,
       coalesce(a.plan, o.plan) as plan, v.version, v.escrow_kind is not null as ci_escrow, v.escrow_kind,
       v.legacy_clients, v.escrow_kind = 'aes' and v.ci_escrow_wrapping_key is null as ci_left_out,
       octet_length(v.encrypted_blob) as encrypted_bytes, v.created_at, v.updated_at,
       (select count(*) from lpm.oidc_policy p where p.vault_id = v.vault_id and (p.user_id = v.user_id or p.org_id = v.org_id)) as policies,
       exists (select from lpm.vault_claim c where c.vault_id = v.vault_id and (c.user_id = v.user_id or c.org_id = v.org_id)) as owns_vault_id
  from lpm.vault_sync v
  left join lpm.account a on a.id = v.user_id
  left join lpm.org o on o.id = v.org_id
 where v.version > 0;

create view lpm_dashboard.policies with (security_barrier) as
select p.id, p.vault_id, coalesce(a.handle, o.slug) as owner, case when p.user_id is not null then 'personal' else 'org' end as scope,
       p.document ->> 'provider' as provider, p.issuer, p.subject, p.document -> 'allowedBranches' as allowed_branches,
       p.document -> 'allowedTags' as allowed_tags, p.document -> 'allowedEvents' as allowed_events,
       p.document -> 'allowedEnvironments' as allowed_environments, (p.document ->> 'allowForks')::boolean as allow_forks,
       p.document as policy, author.handle as author, p.created_at, n.subject_id as pinned_id, n.owner_id as pinned_owner_id, n.pinned_at,
       case when n.subject_id is null then n.waiting_since + interval '30 days' end as lapses_at,
       (select max(l.created_at) from lpm.audit_log l where l.vault_id = p.vault_id and l.policy_id = p.id and l.decision = 'granted') as last_grant_at
  from lpm.oidc_policy p
  left join lpm.account a on a.id = p.user_id
  left join lpm.org o on o.id = p.org_id
  left join lpm.account author on author.id = p.author
  left join lpm.oidc_subject_pin n on n.vault_id = p.vault_id and n.holder = coalesce(p.user_id, p.org_id) and n.issuer = p.issuer and n.subject = p.subject;

create view lpm_dashboard.audit with (security_barrier) as
select l.id, l.created_at, l.request_id, l.action, l.decision, l.reason, l.vault_id, coalesce(a.handle, o.slug) as owner,
       coalesce(who.handle, l.login, l.actor) as actor, l.provider, l.issuer, l.repository as repo, l.branch, l.workflow, l.event, l.run, l.sha,
       l.environment, l.policy_id as policy, l.address, l.metadata
  from lpm.audit_log l
  left join lpm.account a on a.id = l.owner_user_id
  left join lpm.org o on o.id = l.owner_org_id
  left join lpm.account who on who.id = l.user_id;

create view lpm_dashboard.strangers with (security_barrier) as
select s.hour, s.issuer, nullif(s.subject, '') as subject, nullif(s.subject_id, '') as subject_id, nullif(s.vault_id, '') as vault_id, s.reason, s.attempts, s.last_at from lpm.oidc_stranger s
 where pg_has_role(current_user, 'lpm_dashboard', 'usage');
