-- Dunning: notices of late payment, late fees, suspension. See onterms/business/collections.

CREATE TABLE dunning (
    customer_sid text COLLATE "C" NOT NULL PRIMARY KEY,
    state        text NOT NULL CHECK (state IN ('clear', 'past_due', 'cure', 'breached', 'suspended')),
    version      bigint NOT NULL,
    changed_at   timestamptz NOT NULL,
    -- The notice that the suspension stands on.
    notice_sid   text COLLATE "C",
    -- The day on which the next clock runs out.
    review_on    date,
    CHECK (state <> 'suspended' OR notice_sid IS NOT NULL)
);

-- One for each invoice, and for each part of it that became due on a day of its own.
CREATE TABLE late_notices (
    customer_sid text COLLATE "C" NOT NULL,
    invoice_sid  text COLLATE "C" NOT NULL,
    part         text COLLATE "C" NOT NULL,
    notice_sid   text COLLATE "C" NOT NULL,
    sent_at      timestamptz NOT NULL,
    given_on     date,
    cure_until   date,
    voided_at    timestamptz,
    PRIMARY KEY (customer_sid, invoice_sid, part, notice_sid)
);
CREATE INDEX late_notices_notice ON late_notices (customer_sid, notice_sid);

-- What was assessed: each row is the difference to what was assessed before.
CREATE TABLE late_fees (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    invoice_sid  text COLLATE "C" NOT NULL,
    part         text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    micros       bigint NOT NULL,
    from_on      date NOT NULL,
    until_on     date NOT NULL,
    contract     bigint NOT NULL,
    legal        bigint,
    flags        jsonb NOT NULL,
    assessed_by  text NOT NULL,
    assessed_at  timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid)
);

-- What the operator may do and has not decided: the operator's tasks.
CREATE TABLE collection_proposals (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('notice', 'late_fee', 'suspension', 'rate_missing')),
    invoice_sid  text COLLATE "C" NOT NULL,
    part         text COLLATE "C" NOT NULL,
    state        text NOT NULL CHECK (state IN ('open', 'approved', 'declined', 'moot')),
    currency     text COLLATE "C",
    micros       bigint,
    evidence     jsonb NOT NULL,
    created_at   timestamptz NOT NULL,
    decided_by   text,
    decided_at   timestamptz,
    PRIMARY KEY (customer_sid, sid)
);
CREATE UNIQUE INDEX collection_proposals_open ON collection_proposals (customer_sid, kind, invoice_sid, part)
    WHERE state = 'open';

-- The operator's switches; the last row holds.
CREATE TABLE collection_policies (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notice      text NOT NULL CHECK (notice IN ('off', 'propose', 'auto')),
    late_fee    text NOT NULL CHECK (late_fee IN ('off', 'propose', 'auto')),
    suspension  text NOT NULL CHECK (suspension IN ('off', 'propose', 'auto')),
    fee_start   text NOT NULL CHECK (fee_start IN ('cure_expiry', 'due_date')),
    recorded_by text NOT NULL,
    recorded_at timestamptz NOT NULL
);

-- The most that law allows, or what a government pays. Rates in millionths a year.
CREATE TABLE legal_maxima (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    applies_to   text NOT NULL CHECK (applies_to IN ('commercial', 'government')),
    -- A country, or country-subdivision, which goes first.
    jurisdiction text COLLATE "C" NOT NULL,
    rate         bigint NOT NULL CHECK (rate >= 0),
    from_on      date NOT NULL,
    until_on     date CHECK (until_on > from_on),
    source       text NOT NULL,
    recorded_at  timestamptz NOT NULL
);
