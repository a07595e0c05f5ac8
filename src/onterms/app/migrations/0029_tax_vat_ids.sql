-- Under which identifier a customer accounts for value added tax, from a day on.
CREATE TABLE vat_ids (
    customer_sid text COLLATE "C" NOT NULL,
    from_on date NOT NULL,
    vat_id text COLLATE "C" NOT NULL,
    -- Whether the operator asked the authority about it; where a check digit decides, nobody has to.
    confirmed boolean NOT NULL,
    evidence text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, from_on)
);

-- The operator's companies have one too, which their electronic invoices bear.
ALTER TABLE contracting_entities ADD COLUMN vat_id text NOT NULL DEFAULT '';
