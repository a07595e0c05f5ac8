-- Whose data is where, who looked at it, who consented, who may hold audit reports. See onterms/business/privacy.

CREATE TABLE consents (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    identity     text NOT NULL,
    channel      text NOT NULL,
    purpose      text NOT NULL,
    source       text NOT NULL,
    given_at     timestamptz NOT NULL,
    recorded_at  timestamptz NOT NULL,
    withdrawn_at timestamptz,
    PRIMARY KEY (customer_sid, sid)
);

CREATE INDEX consents_of_identity ON consents (customer_sid, identity, channel);

-- Every look of the operator's people at what is confidential, and every refusal.
CREATE TABLE confidential_looks (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    actor        text NOT NULL,
    role         text NOT NULL,
    kind         text NOT NULL,
    subject_sid  text NOT NULL,
    break_glass  boolean NOT NULL,
    reason       text NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid),
    CHECK (NOT break_glass OR reason <> '')
);

CREATE TABLE audit_reports (
    sid        text COLLATE "C" PRIMARY KEY,
    title      text NOT NULL,
    content    text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE report_downloads (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    report_sid   text COLLATE "C" NOT NULL REFERENCES audit_reports (sid),
    actor        text NOT NULL,
    watermark    text NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid)
);
