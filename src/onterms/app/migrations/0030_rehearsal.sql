-- Rehearsals: what was asked for and what came of it. See onterms/business/rehearsal.

CREATE TABLE simulations (
    sid         text COLLATE "C" PRIMARY KEY,
    status      text NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed')),
    -- A customer's SID, or "all".
    scope       text COLLATE "C" NOT NULL,
    -- Null is the moment of the copy.
    from_at     timestamptz,
    days        integer NOT NULL CHECK (days > 0),
    assumptions jsonb NOT NULL,
    limits      jsonb NOT NULL,
    -- The database of the copy, written down before it is made and until it is dropped.
    scratch     text,
    reason      text,
    result      jsonb,
    created_at  timestamptz NOT NULL,
    started_at  timestamptz,
    ended_at    timestamptz,
    CHECK ((status IN ('completed', 'failed')) = (ended_at IS NOT NULL))
);

CREATE INDEX simulations_open ON simulations (status, sid) WHERE status IN ('queued', 'running');
