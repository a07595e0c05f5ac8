-- Which agreements have ended. How they did is a case; see onterms/business/termination.

CREATE TABLE agreement_ends (
    customer_sid text COLLATE "C" PRIMARY KEY REFERENCES customers (customer_sid),
    case_sid     text COLLATE "C" NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('convenience', 'breach', 'insolvency', 'trade', 'ip')),
    ended_at     timestamptz NOT NULL
);
