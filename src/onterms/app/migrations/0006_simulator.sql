-- The simulator carrier: handsets, injected faults, and the sandbox's clock. See onterms/carriers/simulator/carrier.py.
--
-- None of these tables belongs to a customer, so none has account_sid: a handset is the world outside, where any account's
-- messages may arrive, as they do at a real telephone. They are reached only through /simulator/v1, which a production
-- install does not serve.

CREATE TABLE simulator_messages (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    handset     text NOT NULL,
    -- `undelivered` was taken from us and never reached the handset; the row still tells a repeat from a new message.
    direction   text NOT NULL CHECK (direction IN ('received', 'sent', 'undelivered')),
    sender      text NOT NULL,
    recipient   text NOT NULL,
    body        text NOT NULL,
    media_urls  jsonb,
    -- Ours. What one handset sends to another has none.
    message_sid text UNIQUE,
    encoding    text NOT NULL,
    segments    integer NOT NULL,
    at          timestamptz NOT NULL,
    -- Ids become visible in the order of commits, not of numbers; a reader that follows them needs to know who is still
    -- to come.
    txid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (handset, id)
);

CREATE TABLE simulator_handsets (
    number     text PRIMARY KEY,
    outcome    text NOT NULL,
    error_code integer,
    delay_s    double precision NOT NULL DEFAULT 0 CHECK (delay_s >= 0)
);

CREATE TABLE simulator_faults (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL,
    recipient   text,
    sender      text,
    host        text,
    code        integer,
    delay_s     double precision NOT NULL DEFAULT 0 CHECK (delay_s >= 0),
    -- How often it may still strike; null is until it is deleted.
    remaining   integer CHECK (remaining >= 0),
    probability double precision NOT NULL DEFAULT 1 CHECK (probability > 0 AND probability <= 1),
    seed        bigint NOT NULL DEFAULT 0,
    -- How often it matched, and how often it struck.
    seen        bigint NOT NULL DEFAULT 0,
    hits        bigint NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL
);

-- What the two tables above amount to, in one row that a submit reads in passing. Its lock is theirs.
CREATE TABLE simulator_state (
    only_row           boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    messages_disturbed boolean NOT NULL DEFAULT false,
    webhooks_disturbed boolean NOT NULL DEFAULT false
);
INSERT INTO simulator_state DEFAULT VALUES;

-- A sandbox's clock is the machine's plus an offset. While `stands_at` is set it stands still: because somebody holds it
-- (`is_held`), or because it is being moved and its timers run at this very moment.
CREATE TABLE simulator_clock (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    offset_us bigint NOT NULL DEFAULT 0,
    is_held   boolean NOT NULL DEFAULT false,
    stands_at timestamptz,
    CHECK (stands_at IS NOT NULL OR NOT is_held)
);
INSERT INTO simulator_clock DEFAULT VALUES;
