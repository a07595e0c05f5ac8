-- Payments. See onterms/business/payments/__init__.py for how the rows move. Amounts are micro-units.

-- Who a customer is at a payment provider.
CREATE TABLE payment_customers (
    customer_sid text COLLATE "C" NOT NULL,
    provider     text NOT NULL,
    reference    text COLLATE "C" NOT NULL,
    PRIMARY KEY (customer_sid, provider)
);

-- Cards. Only what a person needs to recognise one is kept here; the number never comes this way.
CREATE TABLE payment_methods (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    provider     text NOT NULL,
    reference    text COLLATE "C" NOT NULL,
    brand        text NOT NULL,
    last4        text NOT NULL,
    exp_month    smallint NOT NULL,
    exp_year     smallint NOT NULL,
    created_at   timestamptz NOT NULL,
    removed_at   timestamptz,
    PRIMARY KEY (customer_sid, sid)
);

CREATE UNIQUE INDEX payment_methods_once ON payment_methods (customer_sid, provider, reference)
    WHERE removed_at IS NULL;

-- How a customer pays and where it stands. The row is also the lock under which a customer's money moves.
CREATE TABLE payment_standings (
    customer_sid text COLLATE "C" PRIMARY KEY,
    method       text NOT NULL DEFAULT 'card' CHECK (method IN ('card', 'invoice')),
    card_sid     text COLLATE "C",
    state        text NOT NULL DEFAULT 'ok' CHECK (state IN ('ok', 'insufficient', 'suspended')),
    cause        text NOT NULL DEFAULT '',
    since        timestamptz NOT NULL,
    -- A suspension that waits for the operator, where the policy is to propose.
    proposed_at  timestamptz,
    version      bigint NOT NULL DEFAULT 1
);

CREATE TABLE payment_top_ups (
    customer_sid    text COLLATE "C" NOT NULL,
    sid             text COLLATE "C" NOT NULL,
    origin          text NOT NULL CHECK (origin IN ('manual', 'auto', 'sandbox')),
    card_sid        text COLLATE "C",
    provider        text NOT NULL,
    currency        text NOT NULL,
    micros          bigint NOT NULL CHECK (micros > 0),
    state           text NOT NULL CHECK (state IN ('created', 'processing', 'needs_action', 'succeeded', 'failed')),
    -- The provider's id of the charge.
    reference       text COLLATE "C",
    failure_code    text,
    failure_message text,
    -- What the customer's browser needs to confirm the payment.
    action          text,
    idempotency_key text COLLATE "C",
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid)
);

CREATE UNIQUE INDEX payment_top_ups_key ON payment_top_ups (customer_sid, idempotency_key);
CREATE UNIQUE INDEX payment_top_ups_reference ON payment_top_ups (provider, reference);
CREATE UNIQUE INDEX payment_top_ups_one_recharge ON payment_top_ups (customer_sid, currency)
    WHERE origin = 'auto' AND state IN ('created', 'processing', 'needs_action');

CREATE TABLE payment_chargebacks (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    top_up_sid   text COLLATE "C" NOT NULL,
    provider     text NOT NULL,
    reference    text COLLATE "C" NOT NULL,
    micros       bigint NOT NULL CHECK (micros > 0),
    state        text NOT NULL CHECK (state IN ('opened', 'won', 'lost')),
    reason       text NOT NULL,
    opened_at    timestamptz NOT NULL,
    closed_at    timestamptz,
    PRIMARY KEY (customer_sid, sid),
    UNIQUE (provider, reference),
    FOREIGN KEY (customer_sid, top_up_sid) REFERENCES payment_top_ups (customer_sid, sid)
);

-- Every genuine event a provider told, once. A parked one tells of a charge whose id is not known yet.
CREATE TABLE payment_webhooks (
    provider    text NOT NULL,
    event_id    text COLLATE "C" NOT NULL,
    kind        text NOT NULL,
    reference   text COLLATE "C",
    event       jsonb NOT NULL,
    body_sha256 bytea NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN ('new', 'applied', 'stale', 'parked', 'ignored', 'mismatch')),
    received_at timestamptz NOT NULL,
    PRIMARY KEY (provider, event_id)
);

CREATE INDEX payment_webhooks_parked ON payment_webhooks (provider, reference) WHERE outcome = 'parked';

CREATE TABLE payment_auto_recharges (
    customer_sid text COLLATE "C" NOT NULL,
    currency     text NOT NULL,
    threshold    bigint NOT NULL CHECK (threshold >= 0),
    amount       bigint NOT NULL CHECK (amount > 0),
    cap_per_day  bigint NOT NULL,
    state        text NOT NULL CHECK (state IN ('on', 'off', 'paused')),
    reason       text NOT NULL,
    version      bigint NOT NULL DEFAULT 1,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, currency),
    CHECK (cap_per_day >= amount)
);

CREATE TABLE invoicing_applications (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    state        text NOT NULL CHECK (state IN ('requested', 'approved', 'declined', 'withdrawn')),
    currency     text NOT NULL,
    note         text NOT NULL,
    credit_limit bigint CHECK (credit_limit >= 0),
    net_days     integer CHECK (net_days > 0),
    reason       text NOT NULL DEFAULT '',
    decided_by   text,
    decided_at   timestamptz,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid),
    CHECK ((state = 'approved') = (credit_limit IS NOT NULL AND net_days IS NOT NULL))
);

CREATE UNIQUE INDEX invoicing_applications_one ON invoicing_applications (customer_sid)
    WHERE state IN ('requested', 'approved');

-- Money that came in by bank, as the operator entered it.
CREATE TABLE payments (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    currency     text NOT NULL,
    micros       bigint NOT NULL CHECK (micros > 0),
    received_on  date NOT NULL,
    -- The bank's words for this transfer: the same one is never entered twice.
    reference    text NOT NULL,
    instruction  jsonb NOT NULL,
    recorded_by  text NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid),
    UNIQUE (customer_sid, reference)
);

-- What a payment or top-up settled, by document; no document is what is owed without one.
CREATE TABLE payment_allocations (
    customer_sid text COLLATE "C" NOT NULL,
    source_sid   text COLLATE "C" NOT NULL,
    place        integer NOT NULL,
    document     text COLLATE "C",
    currency     text NOT NULL,
    taxes        bigint NOT NULL CHECK (taxes >= 0),
    surcharges   bigint NOT NULL CHECK (surcharges >= 0),
    fees         bigint NOT NULL CHECK (fees >= 0),
    at           timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, source_sid, place),
    CHECK (taxes + surcharges + fees > 0)
);

CREATE INDEX payment_allocations_documents ON payment_allocations (customer_sid, document);

CREATE TABLE payment_refunds (
    customer_sid    text COLLATE "C" NOT NULL,
    sid             text COLLATE "C" NOT NULL,
    -- A top-up or a payment.
    source_sid      text COLLATE "C" NOT NULL,
    provider        text NOT NULL,
    basis           text NOT NULL CHECK (basis IN ('5.4', '6.1.2', 'sla', 'error', 'dispute', 'goodwill')),
    taken_from      text NOT NULL CHECK (taken_from IN ('prepaid_balance', 'refunds')),
    currency        text NOT NULL,
    micros          bigint NOT NULL CHECK (micros > 0),
    state           text NOT NULL CHECK (state IN ('created', 'processing', 'succeeded', 'failed')),
    reference       text COLLATE "C",
    failure         text,
    note            text NOT NULL,
    requested_by    text NOT NULL,
    idempotency_key text COLLATE "C",
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid),
    UNIQUE (customer_sid, idempotency_key)
);

-- The payment simulator: a provider whose cards, charges and webhooks live in the database.

CREATE TABLE payment_simulator_settings (
    is_one             boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    webhook_delay_s    integer NOT NULL DEFAULT 1,
    webhook_copies     integer NOT NULL DEFAULT 1,
    holds_webhooks     boolean NOT NULL DEFAULT false,
    settles_later      boolean NOT NULL DEFAULT false,
    is_unreachable     boolean NOT NULL DEFAULT false,
    -- Charges of this many minor units and more are declined.
    declines_from      bigint
);

INSERT INTO payment_simulator_settings DEFAULT VALUES;

-- What was answered under each idempotency key.
CREATE TABLE payment_simulator_requests (
    key         text COLLATE "C" PRIMARY KEY,
    body_sha256 bytea NOT NULL,
    answer      jsonb NOT NULL,
    at          timestamptz NOT NULL
);

CREATE TABLE payment_simulator_cards (
    id         text COLLATE "C" PRIMARY KEY,
    customer   text COLLATE "C",
    number     text NOT NULL,
    brand      text NOT NULL,
    exp_month  smallint NOT NULL,
    exp_year   smallint NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE payment_simulator_charges (
    id           text COLLATE "C" PRIMARY KEY,
    customer     text COLLATE "C" NOT NULL,
    card         text COLLATE "C" NOT NULL,
    minor        bigint NOT NULL CHECK (minor > 0),
    refunded     bigint NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND minor),
    currency     text NOT NULL,
    state        text NOT NULL CHECK (state IN ('processing', 'needs_action', 'succeeded', 'failed')),
    code         text,
    told         jsonb NOT NULL,
    at           timestamptz NOT NULL,
    settled_at   timestamptz
);

CREATE TABLE payment_simulator_disputes (
    id        text COLLATE "C" PRIMARY KEY,
    charge    text COLLATE "C" NOT NULL REFERENCES payment_simulator_charges (id),
    minor     bigint NOT NULL,
    state     text NOT NULL CHECK (state IN ('opened', 'won', 'lost')),
    reason    text NOT NULL,
    opened_at timestamptz NOT NULL
);

CREATE TABLE payment_simulator_webhooks (
    id         text COLLATE "C" PRIMARY KEY,
    place      bigint GENERATED ALWAYS AS IDENTITY,
    kind       text NOT NULL,
    body       text NOT NULL,
    at         timestamptz NOT NULL,
    deliveries integer NOT NULL DEFAULT 0,
    answer     text
);
