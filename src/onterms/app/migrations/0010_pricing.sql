-- Whether what was read into a cache of prices is still what is written; it grows with each change.
CREATE TABLE price_version (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);
INSERT INTO price_version (version) VALUES (1);

-- The operator's list prices. Rows are only ever added: which one counts for an instant as known at another is a
-- question of both times, so a past rating can be reproduced.
CREATE TABLE list_prices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    book text NOT NULL,
    service text COLLATE "C" NOT NULL,
    direction text COLLATE "C" NOT NULL,
    -- Empty for the service's default.
    country text COLLATE "C" NOT NULL,
    -- Empty, or + and digits.
    prefix text COLLATE "C" NOT NULL,
    unit text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    name text NOT NULL,
    micros bigint NOT NULL CHECK (micros >= 0),
    tier_mode text CHECK (tier_mode IN ('graduated', 'volume')),
    tiers jsonb,
    effective_from timestamptz NOT NULL,
    effective_to timestamptz CHECK (effective_to > effective_from),
    recorded_at timestamptz NOT NULL,
    recorded_by text NOT NULL
);
CREATE INDEX list_prices_key ON list_prices (service, direction, unit, currency, country, prefix);

CREATE TABLE order_forms (
    customer_sid text COLLATE "C" NOT NULL,
    sid text COLLATE "C" NOT NULL,
    number text NOT NULL,
    state text NOT NULL,
    version bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    entity text NOT NULL,
    term_from date NOT NULL,
    term_to date NOT NULL CHECK (term_to >= term_from),
    renewal_months integer,
    net_days integer,
    prepaid_micros bigint NOT NULL,
    rates jsonb NOT NULL,
    commitments jsonb NOT NULL,
    overrides jsonb NOT NULL,
    order_only boolean NOT NULL,
    supersedes text COLLATE "C",
    signatures jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    signed_at timestamptz,
    -- The rates count in [active_from, active_to).
    active_from timestamptz,
    active_to timestamptz,
    ended_cause text,
    PRIMARY KEY (customer_sid, sid)
);
CREATE INDEX order_forms_signed ON order_forms (customer_sid) WHERE signed_at IS NOT NULL;

CREATE TABLE surcharge_rules (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    name text NOT NULL,
    carrier text COLLATE "C" NOT NULL,
    country text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    direction text COLLATE "C" NOT NULL,
    unit text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    micros bigint NOT NULL CHECK (micros >= 0),
    effective_from timestamptz NOT NULL,
    effective_to timestamptz CHECK (effective_to > effective_from),
    recorded_at timestamptz NOT NULL,
    recorded_by text NOT NULL,
    source text NOT NULL
);

-- What was used and what it costs. Rows are never changed but for the invoice they stand on.
CREATE TABLE rated_usage (
    customer_sid text COLLATE "C" NOT NULL,
    -- The producer's own identifier of the event, and 0 for its fee, more for the surcharges on it.
    id text COLLATE "C" NOT NULL,
    line integer NOT NULL,
    -- NULL where a line belongs to the customer as a whole.
    account_sid text COLLATE "C",
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('fee', 'surcharge', 'commitment', 'penalty')),
    name text NOT NULL,
    service text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,
    direction text COLLATE "C" NOT NULL,
    country text COLLATE "C" NOT NULL,
    unit text COLLATE "C" NOT NULL,
    qty bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    -- NULL where tiers leave no single price a unit.
    price bigint,
    micros bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- The list price or surcharge rule, or the place of the rate in the order form.
    price_row bigint NOT NULL,
    order_form text COLLATE "C" NOT NULL,
    -- Where the event stood in its tier's count when it came; NULL without tiers.
    tier_position bigint,
    correction_of text COLLATE "C",
    earlier_period boolean NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    invoice_sid text COLLATE "C",
    PRIMARY KEY (customer_sid, id, line)
);
CREATE INDEX rated_usage_account ON rated_usage (account_sid, occurred_at);
CREATE INDEX rated_usage_unbilled ON rated_usage (customer_sid, occurred_at) WHERE invoice_sid IS NULL;
CREATE INDEX rated_usage_billed ON rated_usage (customer_sid, invoice_sid) WHERE invoice_sid IS NOT NULL;
CREATE INDEX rated_usage_time ON rated_usage (customer_sid, occurred_at);
CREATE UNIQUE INDEX rated_usage_corrected ON rated_usage (customer_sid, correction_of, line)
    WHERE correction_of IS NOT NULL;

CREATE TABLE tier_counts (
    customer_sid text COLLATE "C" NOT NULL,
    -- Empty for tiers of the list.
    order_form text COLLATE "C" NOT NULL,
    service text COLLATE "C" NOT NULL,
    -- The contract month, YYYY-MM.
    period text COLLATE "C" NOT NULL,
    qty bigint NOT NULL,
    PRIMARY KEY (customer_sid, order_form, service, period)
);

-- Events that could not be rated, kept for the operator to look at: never silently dropped.
CREATE TABLE usage_quarantine (
    customer_sid text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    account_sid text COLLATE "C",
    reason text NOT NULL,
    body jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, id, fingerprint)
);

-- Until when a customer's usage is on invoices; what comes later for an earlier time goes on the next one, marked so.
CREATE TABLE usage_closed (
    customer_sid text COLLATE "C" PRIMARY KEY,
    until timestamptz NOT NULL
);

CREATE TABLE pass_through_charges (
    customer_sid text COLLATE "C" NOT NULL,
    sid text COLLATE "C" NOT NULL,
    authority text NOT NULL,
    case_reference text NOT NULL,
    currency text COLLATE "C" NOT NULL,
    micros bigint NOT NULL CHECK (micros > 0),
    imposed_on date NOT NULL,
    document_name text NOT NULL,
    document_sha256 text NOT NULL,
    document bytea NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid)
);
