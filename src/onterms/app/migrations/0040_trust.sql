-- Who customers are, as reviewers see it: profiles and products, what they are made of, and how they were judged.

CREATE TABLE trust_bundles (
    account_sid     text COLLATE "C" NOT NULL,
    sid             text COLLATE "C" NOT NULL,
    kind            text        NOT NULL CHECK (kind IN ('customer_profile', 'trust_product')),
    policy_sid      text COLLATE "C" NOT NULL,
    friendly_name   text        NOT NULL,
    email           text        NOT NULL,
    status_callback text        NOT NULL,
    status          text        NOT NULL,
    errors          jsonb       NOT NULL,
    valid_until     timestamptz,
    -- When it was last handed in; the reviewer's job of an earlier time is stale.
    submitted_at    timestamptz,
    date_created    timestamptz NOT NULL,
    date_updated    timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);

CREATE TABLE trust_end_users (
    account_sid   text COLLATE "C" NOT NULL,
    sid           text COLLATE "C" NOT NULL,
    friendly_name text        NOT NULL,
    type          text        NOT NULL,
    attributes    jsonb       NOT NULL,
    date_created  timestamptz NOT NULL,
    date_updated  timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);

CREATE TABLE trust_documents (
    account_sid   text COLLATE "C" NOT NULL,
    sid           text COLLATE "C" NOT NULL,
    friendly_name text        NOT NULL,
    type          text        NOT NULL,
    attributes    jsonb       NOT NULL,
    status        text        NOT NULL,
    date_created  timestamptz NOT NULL,
    date_updated  timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);

CREATE TABLE trust_entities (
    account_sid  text COLLATE "C" NOT NULL,
    bundle_sid   text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    object_sid   text COLLATE "C" NOT NULL,
    -- What the object is, by its type's name; of a bundle its policy.
    object_type  text        NOT NULL,
    -- Whose the object is: a subaccount may name its main account's profile.
    owner_sid    text COLLATE "C" NOT NULL,
    date_created timestamptz NOT NULL,
    PRIMARY KEY (account_sid, bundle_sid, sid),
    FOREIGN KEY (account_sid, bundle_sid) REFERENCES trust_bundles (account_sid, sid) ON DELETE CASCADE
);
CREATE UNIQUE INDEX trust_entities_once ON trust_entities (account_sid, bundle_sid, object_sid);
CREATE INDEX trust_entities_objects ON trust_entities (account_sid, object_sid);

CREATE TABLE trust_endpoints (
    account_sid   text COLLATE "C" NOT NULL,
    bundle_sid    text COLLATE "C" NOT NULL,
    sid           text COLLATE "C" NOT NULL,
    endpoint_type text        NOT NULL,
    endpoint_sid  text COLLATE "C" NOT NULL,
    date_created  timestamptz NOT NULL,
    PRIMARY KEY (account_sid, bundle_sid, sid),
    FOREIGN KEY (account_sid, bundle_sid) REFERENCES trust_bundles (account_sid, sid) ON DELETE CASCADE
);
CREATE UNIQUE INDEX trust_endpoints_once ON trust_endpoints (account_sid, bundle_sid, endpoint_sid);

CREATE TABLE trust_evaluations (
    account_sid  text COLLATE "C" NOT NULL,
    bundle_sid   text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    policy_sid   text COLLATE "C" NOT NULL,
    status       text        NOT NULL CHECK (status IN ('compliant', 'noncompliant')),
    results      jsonb       NOT NULL,
    date_created timestamptz NOT NULL,
    PRIMARY KEY (account_sid, bundle_sid, sid),
    FOREIGN KEY (account_sid, bundle_sid) REFERENCES trust_bundles (account_sid, sid) ON DELETE CASCADE
);
