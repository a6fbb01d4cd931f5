-- Tables. Text that identifies something is compared byte for byte: collate "C".
-- Every table and sequence is registered for pg_dump in dump.sql; row security is in row_security.sql.

create table lpm.account (
    id uuid primary key default gen_random_uuid(),
    handle text collate "C" not null unique check (handle ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    plan text not null default 'free' check (plan in ('free', 'pro', 'org')),
    created_at timestamptz not null default clock_timestamp()
);

-- What a member's copies of an org's vault keys are wrapped for: X25519, one per account, returned as it came.
create table lpm.user_public_keys (
    user_id uuid primary key references lpm.account on delete cascade,
    public_key text collate "C" not null check (octet_length(public_key) = 44),
    changed_at timestamptz not null default clock_timestamp()
);

create table lpm.org (
    id uuid primary key default gen_random_uuid(),
    slug text collate "C" not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    plan text not null default 'free' check (plan in ('free', 'pro', 'org')),
    -- the lowest role that may share vaults
    may_share text not null default 'developer' check (may_share in ('owner', 'admin', 'maintainer', 'developer')),
    created_at timestamptz not null default clock_timestamp()
);

create table lpm.org_member (
    org_id uuid not null references lpm.org on delete cascade,
    user_id uuid not null references lpm.account on delete cascade,
    role text not null default 'developer' check (role in ('owner', 'admin', 'maintainer', 'developer')),
    created_at timestamptz not null default clock_timestamp(),
    primary key (org_id, user_id)
);
create index org_member_user on lpm.org_member (user_id);

-- By handle, whether there is such an account or not: nobody learns from an invitation who has one. Worth nothing
-- once `expires_at` has come, or when whoever made it may no longer make it (see lpm.end_invitations).
create table lpm.org_invitation (
    org_id uuid not null references lpm.org on delete cascade,
    handle text collate "C" not null check (handle ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    role text not null check (role in ('owner', 'admin', 'maintainer', 'developer')),
    invited_by uuid not null references lpm.account on delete cascade,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null default clock_timestamp() + interval '7 days',
    primary key (org_id, handle)
);
create index org_invitation_handle on lpm.org_invitation (handle);
create index org_invitation_inviter on lpm.org_invitation (invited_by);

-- stored_hash = SHA-256(h), h = what the gateway sends: a stolen table is no credential.
create table lpm.access_token (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references lpm.account on delete cascade,
    stored_hash bytea not null unique check (octet_length(stored_hash) = 32),
    name text not null,
    scope text not null default 'all' check (scope in ('all', 'read', 'none')),
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    revoked_at timestamptz
);
create index access_token_user on lpm.access_token (user_id);

-- Who may open a vault id to CI: whoever claimed it first, or the org that the claimer first shared it with.
create table lpm.vault_claim (
    vault_id text collate "C" primary key check (octet_length(vault_id) between 1 and 256),
    user_id uuid references lpm.account on delete cascade,
    org_id uuid references lpm.org on delete cascade,
    claimed_at timestamptz not null default clock_timestamp(),
    pushed boolean not null default false,
    check (user_id is not null or org_id is not null)
);
create index vault_claim_user on lpm.vault_claim (user_id);
create index vault_claim_org on lpm.vault_claim (org_id);

-- Ciphertext. Version 0: an escrow that arrived before the first push; nobody sees such a row.
create table lpm.vault_sync (
    id bigint generated always as identity primary key,
    vault_id text collate "C" not null check (octet_length(vault_id) between 1 and 256),
    user_id uuid references lpm.account on delete cascade,
    org_id uuid references lpm.org on delete cascade,
    version int not null default 0 check (version >= 0),
    encrypted_blob text,
    wrapped_key text,
    blob_sha256 bytea,
    -- What the owner opted in to, and the key. Kind `aes` without one: the last push or share left CI out.
    ci_escrow_wrapping_key text,
    escrow_kind text check (escrow_kind in ('wrapping', 'aes')),
    legacy_clients boolean not null default false,  -- kept with kind `wrapping`, for published clients
    name text,
    schema json,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    updated_by uuid,
    unique (vault_id, user_id),
    unique (vault_id, org_id),
    unique (id, org_id),
    check (num_nonnulls(user_id, org_id) = 1),
    check ((version = 0) = (encrypted_blob is null)),
    check (case escrow_kind when 'aes' then true when 'wrapping' then ci_escrow_wrapping_key is not null else ci_escrow_wrapping_key is null end),
    -- an org has no machine whose key could open its vaults
    check (user_id is not null or (escrow_kind is distinct from 'wrapping' and not legacy_clients))
);
create index vault_sync_user on lpm.vault_sync (user_id);
create index vault_sync_org on lpm.vault_sync (org_id);
-- base64 of ciphertext does not compress
alter table lpm.vault_sync alter column encrypted_blob set storage external;

-- The versions before the current one; with it, ten are kept. Of their escrow only what is theirs alone: kind `aes`.
create table lpm.vault_version (
    vault bigint not null references lpm.vault_sync on delete cascade,
    version int not null,
    encrypted_blob text not null,
    wrapped_key text,
    blob_sha256 bytea not null,
    ci_escrow_wrapping_key text,
    escrow_kind text check (escrow_kind = 'aes'),
    created_at timestamptz not null,
    created_by uuid,
    primary key (vault, version),
    check ((ci_escrow_wrapping_key is null) = (escrow_kind is null))
);
alter table lpm.vault_version alter column encrypted_blob set storage external;

-- The key of an org's vault, wrapped for each member whom the version was shared with; kept as long as the version.
-- There is no copy without a membership: whoever leaves an org loses every copy in that moment, whichever function it
-- is, and a share or restore that runs beside it waits for it or is waited for.
create table lpm.vault_org_keys (
    vault bigint not null,
    version int not null check (version > 0),
    user_id uuid not null,
    org_id uuid not null,
    wrapped_key text not null check (octet_length(wrapped_key) = 126),
    primary key (vault, version, user_id),
    foreign key (vault, org_id) references lpm.vault_sync (id, org_id) on delete cascade,
    foreign key (org_id, user_id) references lpm.org_member on delete cascade
);
create index vault_org_keys_member on lpm.vault_org_keys (org_id, user_id);

-- Every ciphertext that was ever pushed, and where to; never forgotten, whatever else is. Otherwise whoever stole a
-- developer's token could wait until a version is no longer kept, and push it under another vault's escrow.
create table lpm.blob_seen (
    blob_sha256 bytea primary key,
    vault_id text collate "C" not null,
    owner_id uuid not null
);

-- `document` is the policy's canonical encoding; the columns beside it are what lookups need.
create table lpm.oidc_policy (
    id uuid primary key default gen_random_uuid(),
    vault_id text collate "C" not null references lpm.vault_claim on delete cascade,
    user_id uuid references lpm.account on delete cascade,
    org_id uuid references lpm.org on delete cascade,
    issuer text collate "C" not null,
    subject text collate "C" not null,
    document json not null,
    document_sha256 bytea not null,
    author uuid,
    created_at timestamptz not null default clock_timestamp(),
    check (num_nonnulls(user_id, org_id) = 1)
);
create unique index oidc_policy_document on lpm.oidc_policy (vault_id, coalesce(user_id, org_id), document_sha256);
create index oidc_policy_user on lpm.oidc_policy (user_id);
create index oidc_policy_org on lpm.oidc_policy (org_id);
create index oidc_policy_subject on lpm.oidc_policy (vault_id, issuer, subject);

-- The never-reused ids behind a name, recorded by the first grant, shared by all policies of one owner that name the
-- subject: an account and an org can both open a vault id, and neither may decide whom the other's policies let in.
create table lpm.oidc_subject_pin (
    vault_id text collate "C" not null references lpm.vault_claim on delete cascade,
    holder uuid not null,   -- the account or org whose policies it serves
    issuer text collate "C" not null,
    subject text collate "C" not null,
    subject_id text collate "C",
    owner_id text collate "C",
    waiting_since timestamptz not null default clock_timestamp(),
    pinned_at timestamptz,
    primary key (vault_id, holder, issuer, subject)
);
create index oidc_subject_pin_id on lpm.oidc_subject_pin (vault_id, holder, issuer, subject_id);

-- What a DBA changed; what is built in is the view lpm.builtin_issuer.
create table lpm.oidc_issuer (
    issuer text collate "C" primary key check (issuer ~ '^https?://[!-~]+$' and octet_length(issuer) <= 512),
    provider text not null check (provider in ('github', 'gitlab')),
    trusted boolean not null default true,
    audiences text[] not null,
    jwks_uri text,
    jwks json,
    algorithms text[] not null,
    max_token_uses int not null check (max_token_uses between 1 and 1000),
    max_lifetime interval not null,
    max_age interval not null,
    allow_private_addresses boolean not null default false,
    without_job_project boolean not null default false,
    is_default boolean not null default false,
    changed_at timestamptz not null default clock_timestamp()
);
create unique index oidc_issuer_default on lpm.oidc_issuer (provider) where is_default and trusted;

-- use_key = SHA-256 of issuer and jti; kept beyond the token's expiry and the leeway.
create table lpm.oidc_token_use (
    use_key bytea primary key,
    uses int not null,
    expires_at timestamptz not null,
    first_request_id uuid not null
);

-- The token between exchange and pull. The claims stand here so that the pull decides again.
create table lpm.ci_token (
    stored_hash bytea primary key,
    name text not null,
    vault_id text collate "C" not null,
    policy_id uuid not null,
    owner uuid,
    issuer text collate "C" not null,
    claims bytea not null,
    environment text collate "C" not null,
    uses int not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null
);
create index ci_token_policy on lpm.ci_token (policy_id);

-- Tokens end with their policy. No foreign key: an exchange that meets a revocation would fail instead of being
-- answered, and ci-pull decides again anyway. That is also why a token that is being used is left alone: whoever
-- keeps its row locked would keep the policy from being revoked.
create function lpm.end_ci_tokens() returns trigger
language plpgsql volatile parallel unsafe security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from lpm.ci_token t
     where t.stored_hash in (select u.stored_hash from lpm.ci_token u where u.policy_id = old.id for update skip locked);
    return old;
end
$$;
create trigger end_ci_tokens after delete on lpm.oidc_policy for each row execute function lpm.end_ci_tokens();

-- One row per decision and per change. No foreign keys: the trail outlives what it speaks of.
create table lpm.audit_log (
    id bigint generated always as identity primary key,
    request_id uuid not null,
    transaction_id xid8 not null default pg_current_xact_id(),
    created_at timestamptz not null default clock_timestamp(),
    action text not null,
    decision text not null check (decision in ('granted', 'denied', 'failed', 'done')),
    reason text,
    vault_id text collate "C",
    user_id uuid,           -- who acted, where it was an account
    owner_user_id uuid,     -- whose vault it is: an account …
    owner_org_id uuid,      -- … or an org
    login text,             -- who acted, where it was a DBA: session_user
    provider text,
    issuer text,
    repository text,
    branch text,
    workflow text,
    event text,
    run text,
    sha text,
    actor text,
    environment text collate "C",
    environments text[],    -- what a grant permits `open` to hand out, in the order to try
    policy_id uuid,
    address text,
    metadata json
);
create unique index audit_log_request on lpm.audit_log (request_id) where action in ('ci_exchange', 'ci_pull');
create index audit_log_vault on lpm.audit_log (vault_id, owner_user_id, id);
-- what concerns all vaults of an org: who came, who left, who became what
create index audit_log_org on lpm.audit_log (owner_org_id, id) where vault_id is null and owner_org_id is not null;

-- Attempts that no policy names: counted, so that strangers can fill neither disk nor log. Empty texts mean: no
-- vault of ours; and for the subject: everybody who came after an issuer's rows of that hour were used up.
create table lpm.oidc_stranger (
    issuer text collate "C" not null,
    hour timestamptz not null,
    subject_id text collate "C" not null,
    vault_id text collate "C" not null,
    reason text not null,
    attempts bigint not null default 1,
    subject text not null,
    last_at timestamptz not null default clock_timestamp(),
    primary key (issuer, hour, subject_id, vault_id, reason)
);
