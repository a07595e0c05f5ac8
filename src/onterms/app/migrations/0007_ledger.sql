-- The ledger. See onterms/engines/ledger/__init__.py for how the rows move.

-- What a customer can spend in one currency: the row every hold is decided on.
CREATE TABLE ledger_funds (
    customer_sid text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('prepaid', 'invoiced')),
    -- Micro-units. A hold must leave posted - held at or above the floor; null is no floor.
    floor        bigint CHECK (floor <= 0),
    posted       bigint NOT NULL DEFAULT 0,
    held         bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    opened_at    timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, currency),
    CONSTRAINT ledger_funds_prepaid_floor CHECK (kind <> 'prepaid' OR (floor IS NOT NULL AND floor = 0)),
    CONSTRAINT ledger_funds_never_overspent CHECK (kind <> 'prepaid' OR posted >= held)
) WITH (fillfactor = 50);

CREATE TABLE ledger_transactions (
    customer_sid text COLLATE "C" NOT NULL,
    id           bigint GENERATED ALWAYS AS IDENTITY,
    -- The caller's idempotency key.
    key          text COLLATE "C" NOT NULL,
    kind         text NOT NULL,
    at           timestamptz NOT NULL,
    memo         jsonb NOT NULL,
    -- SHA-256 of what was asked for, so that a key used for something else is noticed.
    body_sha256  bytea NOT NULL,
    PRIMARY KEY (customer_sid, id),
    UNIQUE (customer_sid, key)
);

CREATE TABLE ledger_entries (
    customer_sid   text COLLATE "C" NOT NULL,
    transaction_id bigint NOT NULL,
    place          smallint NOT NULL,
    currency       text COLLATE "C" NOT NULL,
    account        text COLLATE "C" NOT NULL,
    -- Debits are positive.
    micros         bigint NOT NULL CHECK (micros <> 0),
    document       text COLLATE "C",
    PRIMARY KEY (customer_sid, transaction_id, place),
    FOREIGN KEY (customer_sid, transaction_id) REFERENCES ledger_transactions
);

CREATE INDEX ledger_entries_documents ON ledger_entries (customer_sid, document) WHERE document IS NOT NULL;

-- The sum of a customer's entries by account.
CREATE TABLE ledger_balances (
    customer_sid text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    account      text COLLATE "C" NOT NULL,
    micros       bigint NOT NULL,
    PRIMARY KEY (customer_sid, currency, account)
) WITH (fillfactor = 50);

CREATE TABLE ledger_holds (
    customer_sid text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    account_sid  text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    micros       bigint NOT NULL CHECK (micros > 0),
    -- How much of micros was added after the hold was made.
    extended     bigint NOT NULL DEFAULT 0 CHECK (extended >= 0),
    purpose      text NOT NULL,
    expires_at   timestamptz NOT NULL,
    state        text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'captured', 'released', 'expired')),
    captured     bigint NOT NULL DEFAULT 0 CHECK (captured BETWEEN 0 AND micros),
    -- ledger_leases.id at the time; null when it was taken from the funds directly.
    lease_id     bigint,
    created_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    -- ledger_transactions.key of the capture.
    ended_by     text COLLATE "C",
    PRIMARY KEY (customer_sid, id),
    CHECK ((state = 'held') = (ended_at IS NULL)),
    CHECK ((state = 'captured') = (ended_by IS NOT NULL))
) WITH (
    fillfactor = 80,
    -- Every hold is updated once; vacuum by count, not by a share of a table that is sometimes large.
    autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0.0, autovacuum_vacuum_insert_threshold = 50000
);

CREATE INDEX ledger_holds_expiring ON ledger_holds (expires_at) WHERE state = 'held';

-- Chunks of funds that workers spend in memory. A row is deleted when its chunk is returned: only a deletion is seen by
-- those that hold the row FOR KEY SHARE.
CREATE TABLE ledger_leases (
    customer_sid text COLLATE "C" NOT NULL,
    id           bigint GENERATED ALWAYS AS IDENTITY,
    currency     text COLLATE "C" NOT NULL,
    worker       text NOT NULL,
    chunk        bigint NOT NULL CHECK (chunk > 0),
    good_until   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, id)
) WITH (fillfactor = 50);

CREATE TABLE ledger_lease_spending (
    customer_sid text COLLATE "C" NOT NULL,
    lease_id     bigint NOT NULL,
    id           bigint GENERATED ALWAYS AS IDENTITY,
    micros       bigint NOT NULL CHECK (micros > 0),
    PRIMARY KEY (customer_sid, lease_id, id)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_holds_end_once BEFORE UPDATE ON ledger_holds
    FOR EACH ROW WHEN (OLD.state <> 'held') EXECUTE FUNCTION refuse_change();

-- All entries of a transaction are inserted by one statement, so their sum can be checked when it ends: once a
-- statement, not once a row as a deferred constraint would.
CREATE FUNCTION ledger_entries_must_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM inserted GROUP BY customer_sid, transaction_id, currency HAVING sum(micros) <> 0
    ) THEN
        RAISE EXCEPTION 'a transaction does not sum to zero' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_entries_balance AFTER INSERT ON ledger_entries REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_entries_must_balance();

-- The audit trail. See onterms/engines/audit/__init__.py.

CREATE TABLE audit_events (
    -- A customer's SID or "operator".
    scope         text COLLATE "C" NOT NULL,
    number        bigint NOT NULL,
    at            timestamptz NOT NULL,
    actor         text NOT NULL,
    aggregate     text NOT NULL,
    aggregate_sid text COLLATE "C" NOT NULL,
    from_state    text,
    to_state      text,
    cause         text NOT NULL,
    evidence      jsonb NOT NULL,
    prev_hash     bytea NOT NULL,
    hash          bytea NOT NULL,
    PRIMARY KEY (scope, number)
);

CREATE INDEX audit_events_aggregate ON audit_events (scope, aggregate_sid, number);

-- Where each chain ends, so that rows cut off its end are missed.
CREATE TABLE audit_heads (
    scope  text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL,
    hash   bytea NOT NULL
) WITH (fillfactor = 50);

CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
