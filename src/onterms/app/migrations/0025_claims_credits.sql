-- What claims gave: each credit, whichever way it was given. See onterms/business/claims.

CREATE TABLE claim_credits (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    case_sid     text COLLATE "C" NOT NULL,
    clause       text NOT NULL,
    service      text NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    micros       bigint NOT NULL CHECK (micros > 0),
    -- The first day of what it is for: the cap of 7.2 counts it there.
    used_on      date NOT NULL,
    -- Credit notes on invoices, for what stood on them; the rest went to the balance.
    notes        text[] NOT NULL,
    to_balance   bigint NOT NULL CHECK (to_balance BETWEEN 0 AND micros),
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid)
);
