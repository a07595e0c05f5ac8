-- Customers: who owes, who is related to whom, whom to write to, where they live. See onterms/business/customers.

-- A node of the ownership graph: a customer, or a parent or subsidiary that is none.
CREATE TABLE organizations (
    sid        text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL,
    country    text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE customers (
    customer_sid           text COLLATE "C" PRIMARY KEY REFERENCES organizations (sid),
    name                   text NOT NULL,
    org_type               text NOT NULL CHECK (org_type IN ('corporate', 'individual', 'nonprofit', 'government')),
    size                   text NOT NULL CHECK (size IN ('micro', 'small', 'other')),
    nonprofit              boolean NOT NULL,
    -- The terms are for business, trade and professional use; nobody else gets a row.
    business_use           boolean NOT NULL CHECK (business_use),
    gov_kind               text CHECK (gov_kind IN ('us_federal', 'us_state_local', 'us_tribal')),
    gov_verified_at        timestamptz,
    partner_since          date,
    partner_until          date,
    currency               text NOT NULL,
    compliance_attested_on date NOT NULL,
    no_antisocial_forces   boolean NOT NULL,
    version                bigint NOT NULL DEFAULT 1,
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL,
    CHECK (gov_verified_at IS NULL OR gov_kind IS NOT NULL)
);

-- Rows are only added: the last one that began on or before a day holds on it.
CREATE TABLE customer_domiciles (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    from_on      date NOT NULL,
    place        bigint GENERATED ALWAYS AS IDENTITY,
    country      text NOT NULL,
    subdivision  text NOT NULL,
    evidence     text NOT NULL,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, from_on, place)
);

-- Which main accounts a customer answers for. An assignment ends one row and begins another.
CREATE TABLE customer_accounts (
    customer_sid  text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    account_sid   text NOT NULL REFERENCES accounts (sid),
    from_at       timestamptz NOT NULL,
    until_at      timestamptz,
    PRIMARY KEY (customer_sid, account_sid, from_at)
);

CREATE UNIQUE INDEX customer_accounts_now ON customer_accounts (account_sid) WHERE until_at IS NULL;

-- Who administers an account for its customer, and which affiliate uses it; the last row holds.
CREATE TABLE customer_account_roles (
    customer_sid     text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    account_sid      text NOT NULL REFERENCES accounts (sid),
    place            bigint GENERATED ALWAYS AS IDENTITY,
    role             text NOT NULL CHECK (role IN ('administrator', 'user')),
    organization_sid text COLLATE "C" REFERENCES organizations (sid),
    from_on          date NOT NULL,
    recorded_at      timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, account_sid, role, from_on, place)
);

-- Units: share_ppm counts millionths of the voting interests, so that 50.01% is told from 50%.
CREATE TABLE ownerships (
    sid        text COLLATE "C" PRIMARY KEY,
    parent_sid text COLLATE "C" NOT NULL REFERENCES organizations (sid),
    child_sid  text COLLATE "C" NOT NULL REFERENCES organizations (sid),
    share_ppm  integer NOT NULL CHECK (share_ppm BETWEEN 1 AND 1000000),
    from_on    date NOT NULL,
    until_on   date,
    evidence   text NOT NULL,
    created_at timestamptz NOT NULL,
    CHECK (parent_sid <> child_sid),
    CHECK (until_on IS NULL OR until_on > from_on)
);

CREATE INDEX ownerships_down ON ownerships (parent_sid, child_sid);
CREATE INDEX ownerships_up ON ownerships (child_sid, parent_sid);

CREATE TABLE customer_contacts (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('owner', 'billing', 'legal', 'security', 'abuse', 'product', 'privacy')),
    name         text NOT NULL,
    address      text NOT NULL,
    verified_at  timestamptz,
    created_at   timestamptz NOT NULL,
    removed_at   timestamptz,
    PRIMARY KEY (customer_sid, sid)
);

CREATE TABLE end_users (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    identity     text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, identity)
);

-- What is known of an end user: an opt-out, a complaint, a hit on a list.
CREATE TABLE end_user_marks (
    customer_sid text COLLATE "C" NOT NULL,
    identity     text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('opt_out', 'complaint', 'sanctions')),
    note         text NOT NULL,
    created_at   timestamptz NOT NULL,
    confirmed_at timestamptz,
    ended_at     timestamptz,
    PRIMARY KEY (customer_sid, identity, sid),
    FOREIGN KEY (customer_sid, identity) REFERENCES end_users (customer_sid, identity)
);

CREATE TABLE customer_incidents (
    customer_sid    text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid             text COLLATE "C" NOT NULL,
    account_sid     text NOT NULL REFERENCES accounts (sid),
    description     text NOT NULL,
    noticed_at      timestamptz NOT NULL,
    reported_at     timestamptz NOT NULL,
    state           text NOT NULL CHECK (state IN ('reported', 'closed')),
    keys_revoked    integer,
    keys_revoked_at timestamptz,
    closed_at       timestamptz,
    PRIMARY KEY (customer_sid, sid)
);

CREATE TABLE assignment_requests (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    to_sid       text COLLATE "C" NOT NULL REFERENCES organizations (sid),
    basis        text NOT NULL CHECK (basis IN ('other', 'successor', 'affiliate')),
    proof        text NOT NULL,
    state        text NOT NULL CHECK (state IN ('requested', 'consented', 'refused', 'approved', 'void')),
    reason       text NOT NULL,
    decided_by   text,
    decided_at   timestamptz,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid)
);

-- What a customer is asked to do by a day.
CREATE TABLE customer_tasks (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    kind         text NOT NULL,
    clause       text NOT NULL,
    subject      text NOT NULL,
    due_on       date NOT NULL,
    created_at   timestamptz NOT NULL,
    done_at      timestamptz,
    PRIMARY KEY (customer_sid, sid),
    UNIQUE (customer_sid, kind, due_on)
);
