-- Accounts and their credentials. See onterms/business/accounts.

CREATE TABLE accounts (
    sid                  text PRIMARY KEY,
    -- The parent of a subaccount, the account that test credentials stand for, or itself.
    owner_sid            text NOT NULL REFERENCES accounts (sid),
    friendly_name        text NOT NULL,
    type                 text NOT NULL CHECK (type IN ('Trial', 'Full')),
    -- What was set on this account; what holds also depends on its owner.
    status               text NOT NULL CHECK (status IN ('active', 'suspended', 'closed')),
    suspended_by         text CHECK (suspended_by IN ('parent', 'operator')),
    test                 boolean NOT NULL DEFAULT false,
    -- Grows with every change to the account or its credentials; caches compare it.
    version              bigint NOT NULL DEFAULT 1,
    -- Sealed to sign with, and a digest to check with.
    token_sealed         bytea NOT NULL,
    token_digest         bytea NOT NULL,
    secondary_sealed     bytea,
    secondary_digest     bytea,
    secondary_created_at timestamptz,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    CHECK ((status = 'suspended') = (suspended_by IS NOT NULL)),
    CHECK (NOT (test AND owner_sid = sid)),
    CHECK (num_nulls(secondary_sealed, secondary_digest, secondary_created_at) IN (0, 3))
);

CREATE INDEX accounts_owned ON accounts (owner_sid, sid);
CREATE UNIQUE INDEX accounts_test ON accounts (owner_sid) WHERE test;

-- At most one row: the account made at the first start.
CREATE TABLE accounts_first (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    account_sid text NOT NULL REFERENCES accounts (sid)
);

CREATE TABLE operator_keys (
    name       text PRIMARY KEY,
    digest     bytea NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE api_keys (
    account_sid   text NOT NULL REFERENCES accounts (sid),
    sid           text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('standard', 'main')),
    friendly_name text NOT NULL,
    secret_sealed bytea NOT NULL,
    secret_digest bytea NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);

-- A key's SID is a user name, which comes without an account.
CREATE UNIQUE INDEX api_keys_sid ON api_keys (sid);

CREATE TABLE oauth_apps (
    account_sid        text NOT NULL REFERENCES accounts (sid),
    sid                text NOT NULL,
    type               text NOT NULL,
    friendly_name      text NOT NULL,
    description        text NOT NULL,
    access_token_ttl_s integer NOT NULL CHECK (access_token_ttl_s > 0),
    secret_digest      bytea NOT NULL,
    created_by         text NOT NULL,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);

CREATE UNIQUE INDEX oauth_apps_sid ON oauth_apps (sid);

CREATE TABLE oauth_access_tokens (
    account_sid text NOT NULL,
    app_sid     text NOT NULL,
    digest      bytea NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (account_sid, app_sid, digest),
    FOREIGN KEY (account_sid, app_sid) REFERENCES oauth_apps (account_sid, sid) ON DELETE CASCADE
);
