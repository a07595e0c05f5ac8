-- Durable jobs. See onterms/engines/jobs/worker.py for how the rows move.

CREATE TABLE job_workers (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    boot_id     uuid NOT NULL UNIQUE,
    -- Compared with clock_timestamp() only, never with business time.
    lease_until timestamptz NOT NULL
);

CREATE TABLE jobs (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task        text NOT NULL,
    account_sid text,
    payload     jsonb NOT NULL,
    order_key   text,
    rate_key    text,
    cost        integer NOT NULL DEFAULT 1 CHECK (cost >= 0),
    due_at      timestamptz NOT NULL,
    -- Set while due_at is a place in the queue of rate_key that is already paid for.
    slot_at     timestamptz,
    attempt     integer NOT NULL DEFAULT 0,
    -- How many workers died or vanished while they held this job.
    lost        integer NOT NULL DEFAULT 0,
    state       text NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'leased', 'dead')),
    -- job_workers.id, without a foreign key: its check would cost more than the insert. A job whose worker is gone is free.
    leased_by   bigint,
    error       text,
    created_at  timestamptz NOT NULL,
    CHECK ((state = 'leased') = (leased_by IS NOT NULL))
) WITH (
    -- Every job leaves a dead row behind; vacuum by count, not by a share of a table that is sometimes large.
    autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0.0, autovacuum_vacuum_insert_threshold = 50000
);

CREATE INDEX jobs_due ON jobs (task, due_at, id) WHERE state = 'ready';
CREATE INDEX jobs_keyed ON jobs (task, due_at)
    WHERE state = 'ready' AND (order_key IS NOT NULL OR rate_key IS NOT NULL);
CREATE INDEX jobs_held ON jobs (leased_by) WHERE state = 'leased';
CREATE INDEX jobs_ordered ON jobs (order_key, id) WHERE order_key IS NOT NULL AND state <> 'dead';
CREATE INDEX jobs_in_turn ON jobs (order_key, id) WHERE order_key IS NOT NULL AND state = 'leased';
CREATE INDEX jobs_slots ON jobs (rate_key, id) WHERE slot_at IS NOT NULL AND state = 'ready';
CREATE INDEX jobs_dead ON jobs (id) WHERE state = 'dead';

CREATE TABLE rate_buckets (
    key     text PRIMARY KEY,
    per_s   numeric NOT NULL CHECK (per_s > 0),
    burst   integer NOT NULL CHECK (burst > 0),
    -- The theoretical arrival time of the generic cell rate algorithm (ITU-T I.371); null is long ago.
    next_at timestamptz
) WITH (fillfactor = 50);

-- The append-only event log. See onterms/engines/log/__init__.py.

CREATE SEQUENCE events_id_seq AS bigint;

CREATE TABLE events (
    id          bigint NOT NULL DEFAULT nextval('events_id_seq'),
    at          timestamptz NOT NULL,
    account_sid text NOT NULL,
    type        text NOT NULL,
    subject_sid text NOT NULL,
    data        jsonb NOT NULL,
    -- The writer's transaction id plus log_epoch.base.
    txid        bigint NOT NULL,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

ALTER SEQUENCE events_id_seq OWNED BY events.id;

CREATE INDEX events_subject ON events (account_sid, subject_sid, id);
CREATE INDEX events_position ON events (txid, id);

-- Room for the first events; log.ensure_partitions makes more, of the same size.
CREATE TABLE events_000000 PARTITION OF events FOR VALUES FROM (0) TO (10000000);
CREATE TABLE events_000001 PARTITION OF events FOR VALUES FROM (10000000) TO (20000000);

-- Transaction ids start again when a dump is restored into another cluster; the base keeps the log's order growing.
CREATE TABLE log_epoch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    base     bigint NOT NULL
);
INSERT INTO log_epoch (base) VALUES (0);

CREATE TABLE log_consumers (
    name text PRIMARY KEY,
    txid bigint NOT NULL,
    id   bigint NOT NULL
) WITH (fillfactor = 50);
