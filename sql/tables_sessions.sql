-- Tables of login sessions and of pairing. Hashes are stored as everywhere: SHA-256(h), h = what the gateway sends.

-- What a device got for a personal access token that signed in on the page. A session lives as long as it is refreshed, is
-- not ended, and its token lives (`lpm.session_lives`). `pat_id` is no foreign key: access tokens refer to sessions, and a
-- restore of a dump cannot load a circle. A session whose token is gone has ended.
create table lpm.session (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references lpm.account on delete cascade,
    pat_id uuid not null,
    device text not null,
    created_at timestamptz not null default clock_timestamp(),
    refreshed_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,    -- that of its newest refresh token
    ended_at timestamptz
);
create index session_account on lpm.session (user_id);
create index session_token on lpm.session (pat_id);

-- The access tokens of a session are tokens like others; their scope is that of the session's token.
alter table lpm.access_token
    add column session_id uuid references lpm.session on delete cascade,
    -- the token that this one replaced, and when: its holder may ask again for a while
    add column previous_hash bytea unique check (octet_length(previous_hash) = 32),
    add column rotated_at timestamptz,
    add check ((previous_hash is null) = (rotated_at is null));
create index access_token_session on lpm.access_token (session_id) where session_id is not null;

-- Every refresh token of a session that has not expired: an old one that comes back says that somebody has a copy. A refresh
-- replaces its generation and makes the next one, which has several tokens where several refreshed at once.
create table lpm.session_refresh (
    stored_hash bytea primary key check (octet_length(stored_hash) = 32),
    session_id uuid not null references lpm.session on delete cascade,
    generation int not null,
    issued_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    replaced_at timestamptz
);
create index session_refresh_session on lpm.session_refresh (session_id);

-- From the sign-in page to the command line that waits for it: good once, for two minutes.
create table lpm.login_code (
    stored_hash bytea primary key check (octet_length(stored_hash) = 32),
    user_id uuid not null references lpm.account on delete cascade,
    pat_id uuid not null references lpm.access_token on delete cascade,
    device text not null,
    fingerprint text,
    expires_at timestamptz not null,
    used_at timestamptz
);
create index login_code_user on lpm.login_code (user_id);
create index login_code_pat on lpm.login_code (pat_id);

-- A browser that asks for the wrapping key, and what a command line sealed for it. A row whose key was read stays as long as
-- its session: whoever unpairs ends the sessions that have the key.
create table lpm.pairing_session (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references lpm.account on delete cascade,
    session_id uuid not null references lpm.session on delete cascade,     -- the browser's
    code text collate "C" not null check (code ~ '^[A-Z0-9]{6}$'),
    status text not null default 'pending' check (status in ('pending', 'approved', 'consumed', 'revoked')),
    browser_public_key text not null,
    device_label text,
    encrypted_wrapping_key text,
    ephemeral_public_key text,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    check ((status = 'approved') = (encrypted_wrapping_key is not null)),
    check ((status = 'approved') = (ephemeral_public_key is not null))
);
create unique index pairing_session_code on lpm.pairing_session (code) where status = 'pending';
create index pairing_session_user on lpm.pairing_session (user_id);
create index pairing_session_session on lpm.pairing_session (session_id);

-- Codes that were no code of the account that tried them.
create table lpm.pairing_miss (
    id bigint generated always as identity primary key,
    user_id uuid not null references lpm.account on delete cascade,
    created_at timestamptz not null default clock_timestamp()
);
create index pairing_miss_user on lpm.pairing_miss (user_id, created_at);
