-- Cases of every kind, suspensions among them, and what decides on them: use policy, spikes, lists of sanctions, places.
-- See onterms/business/cases and onterms/business/suspension.

-- Whatever takes several steps between operator and customer. The kind's table of moves is in code.
CREATE TABLE cases (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    kind         text NOT NULL,
    state        text NOT NULL,
    version      bigint NOT NULL,
    facts        jsonb NOT NULL,
    opened_at    timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid)
);

CREATE INDEX cases_of_kind ON cases (customer_sid, kind, state);
CREATE INDEX cases_queue ON cases (kind, state, sid);

-- Which accounts a suspension took, and what each was before the first of those that overlap.
CREATE TABLE suspended_accounts (
    customer_sid  text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    account_sid   text NOT NULL REFERENCES accounts (sid),
    case_sid      text COLLATE "C" NOT NULL,
    status_before text NOT NULL CHECK (status_before IN ('active', 'suspended')),
    from_at       timestamptz NOT NULL,
    until_at      timestamptz,
    PRIMARY KEY (customer_sid, account_sid, case_sid)
);

-- Units in 15 minutes, from which the usual for an hour of the week is told.
CREATE TABLE usage_windows (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    service      text NOT NULL,
    country      text NOT NULL,
    start_at     timestamptz NOT NULL,
    units        bigint NOT NULL CHECK (units >= 0),
    PRIMARY KEY (customer_sid, service, country, start_at)
);

CREATE TABLE aup_rules (
    sid        text COLLATE "C" PRIMARY KEY,
    service    text NOT NULL,
    country    text NOT NULL,
    condition  jsonb NOT NULL,
    action     text NOT NULL CHECK (action IN ('block', 'queue', 'flag')),
    weight     integer NOT NULL CHECK (weight BETWEEN 0 AND 1000000),
    text_ref   text NOT NULL,
    from_at    timestamptz NOT NULL,
    until_at   timestamptz
);

CREATE TABLE aup_hits (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    rule_sid     text NOT NULL,
    end_user     text NOT NULL,
    weight       integer NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid)
);

CREATE INDEX aup_hits_recent ON aup_hits (customer_sid, at);

CREATE TABLE sanctions_lists (
    sid         text COLLATE "C" PRIMARY KEY,
    name        text NOT NULL,
    sha256      bytea NOT NULL,
    entries     integer NOT NULL,
    imported_at timestamptz NOT NULL,
    replaced_at timestamptz
);

CREATE UNIQUE INDEX sanctions_lists_now ON sanctions_lists (name) WHERE replaced_at IS NULL;

CREATE TABLE sanctions_entries (
    list_sid    text COLLATE "C" NOT NULL REFERENCES sanctions_lists (sid),
    entry_id    text COLLATE "C" NOT NULL,
    names       text[] NOT NULL,
    countries   text[] NOT NULL,
    listed_on   date,
    delisted_on date,
    PRIMARY KEY (list_sid, entry_id)
);

-- Where a service may not be provided, nobody may sign in from, or nothing may be sent to.
CREATE TABLE place_blocks (
    sid         text COLLATE "C" PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('service', 'region', 'embargo')),
    service     text NOT NULL,
    country     text NOT NULL,
    subdivision text NOT NULL,
    reason      text NOT NULL,
    from_at     timestamptz NOT NULL,
    until_at    timestamptz
);
