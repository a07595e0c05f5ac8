-- What taxes there are. Rows are only added and end; none is changed.
CREATE TABLE tax_rules (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- ISO country, country-subdivision or country-subdivision-locality.
    jurisdiction text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    base text NOT NULL CHECK (base IN ('fees', 'fees_and_surcharges')),
    -- Millionths.
    rate bigint NOT NULL CHECK (rate >= 0),
    rounding text NOT NULL CHECK (rounding IN ('half_up', 'down')),
    effective_from timestamptz NOT NULL,
    effective_to timestamptz CHECK (effective_to > effective_from),
    source text NOT NULL,
    recorded_at timestamptz NOT NULL
);
CREATE INDEX tax_rules_jurisdiction ON tax_rules (jurisdiction);

CREATE TABLE tax_exemptions (
    customer_sid text COLLATE "C" NOT NULL,
    sid text COLLATE "C" NOT NULL,
    state text NOT NULL,
    kind text COLLATE "C" NOT NULL,
    jurisdiction text COLLATE "C" NOT NULL,
    certificate text NOT NULL,
    document_sha256 text NOT NULL,
    document bytea NOT NULL,
    valid_from date NOT NULL,
    valid_to date,
    submitted_at timestamptz NOT NULL,
    approved_at timestamptz,
    -- When an approved one stopped to count: expired or revoked.
    ended_at timestamptz,
    revoked_from timestamptz,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (customer_sid, sid)
);

-- What was left untaxed because of an exemption, so that it can be taxed if the exemption falls.
CREATE TABLE tax_exempted (
    customer_sid text COLLATE "C" NOT NULL,
    exemption_sid text COLLATE "C" NOT NULL,
    invoice_sid text COLLATE "C" NOT NULL,
    line_ref text COLLATE "C" NOT NULL,
    jurisdiction text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    base_micros bigint NOT NULL,
    rate bigint NOT NULL,
    rounding text NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- The day from which an authority counts interest.
    tax_due_on date NOT NULL,
    back_billing_sid text COLLATE "C",
    PRIMARY KEY (customer_sid, exemption_sid, invoice_sid, line_ref, jurisdiction, kind, rate)
);

CREATE TABLE tax_back_billings (
    customer_sid text COLLATE "C" NOT NULL,
    sid text COLLATE "C" NOT NULL,
    exemption_sid text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    tax_micros bigint NOT NULL,
    interest_micros bigint NOT NULL,
    penalty_micros bigint NOT NULL,
    lines jsonb NOT NULL,
    determined_on date NOT NULL,
    recorded_at timestamptz NOT NULL,
    debit_note_sid text COLLATE "C",
    PRIMARY KEY (customer_sid, sid)
);
CREATE UNIQUE INDEX tax_back_billings_once ON tax_back_billings (customer_sid, exemption_sid, currency);

CREATE TABLE withholding_profiles (
    customer_sid text COLLATE "C" NOT NULL,
    -- Whose law makes the customer withhold.
    country text COLLATE "C" NOT NULL,
    rate bigint NOT NULL CHECK (rate >= 0 AND rate < 1000000),
    policy text NOT NULL CHECK (policy IN ('gross_up', 'accept_certificate')),
    -- The operator's certificate that lowers the rate.
    treaty_rate bigint CHECK (treaty_rate >= 0 AND treaty_rate < 1000000),
    treaty_certificate text,
    treaty_from date,
    treaty_to date,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (customer_sid)
);

CREATE TABLE withholding_proofs (
    customer_sid text COLLATE "C" NOT NULL,
    sid text COLLATE "C" NOT NULL,
    state text NOT NULL,
    invoice_sid text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    micros bigint NOT NULL CHECK (micros > 0),
    document_name text NOT NULL,
    document_sha256 text NOT NULL,
    document bytea NOT NULL,
    uploaded_at timestamptz NOT NULL,
    reviewed_at timestamptz,
    decided_at timestamptz,
    decided_by text,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (customer_sid, sid)
);
CREATE INDEX withholding_proofs_invoice ON withholding_proofs (customer_sid, invoice_sid);
