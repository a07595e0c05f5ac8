-- Disputes of invoiced fees. See onterms/business/disputes.

CREATE TABLE disputes (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    invoice_sid  text COLLATE "C" NOT NULL,
    state        text NOT NULL,
    version      bigint NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    reason       text NOT NULL,
    filed_by     text NOT NULL,
    filed_at     timestamptz NOT NULL,
    filed_on     date NOT NULL,
    deadline     date NOT NULL,
    -- With its tax; what of it was unpaid and is withheld.
    micros       bigint NOT NULL CHECK (micros > 0),
    withheld     bigint NOT NULL CHECK (withheld BETWEEN 0 AND micros),
    credited     bigint NOT NULL DEFAULT 0 CHECK (credited BETWEEN 0 AND micros),
    shielded     boolean NOT NULL,
    missed       integer NOT NULL DEFAULT 0,
    decided_by   text,
    decided_at   timestamptz,
    decision     text NOT NULL DEFAULT '',
    PRIMARY KEY (customer_sid, sid)
);
CREATE INDEX disputes_invoice ON disputes (customer_sid, invoice_sid);

CREATE TABLE dispute_lines (
    customer_sid text COLLATE "C" NOT NULL,
    dispute_sid  text COLLATE "C" NOT NULL,
    ref          text COLLATE "C" NOT NULL,
    net          bigint NOT NULL CHECK (net > 0),
    tax          bigint NOT NULL CHECK (tax >= 0),
    PRIMARY KEY (customer_sid, dispute_sid, ref)
);

-- What the customer is asked for so that the dispute can be decided.
CREATE TABLE dispute_tasks (
    customer_sid text COLLATE "C" NOT NULL,
    dispute_sid  text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    subject      text NOT NULL,
    due_on       date NOT NULL,
    state        text NOT NULL CHECK (state IN ('open', 'answered', 'missed')),
    answer       text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, dispute_sid, sid)
);
