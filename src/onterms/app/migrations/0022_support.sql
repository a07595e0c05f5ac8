-- Support plans, announced changes, redacted public records. Tickets, enrolments and the rest are cases.
-- See onterms/business/support.

CREATE TABLE support_plans (
    name    text COLLATE "C" NOT NULL,
    from_at timestamptz NOT NULL,
    -- Units: minutes until the first answer, by priority.
    targets jsonb NOT NULL,
    PRIMARY KEY (name, from_at)
);

CREATE TABLE service_changes (
    sid             text COLLATE "C" PRIMARY KEY,
    title           text NOT NULL,
    endpoint        text NOT NULL,
    breaking        boolean NOT NULL,
    planned_on      date NOT NULL,
    announced_on    date NOT NULL,
    override_reason text NOT NULL,
    exempt_reason   text NOT NULL CHECK (exempt_reason IN ('', 'security', 'carrier', 'law')),
    state           text NOT NULL CHECK (state IN ('announced', 'cancelled')),
    CHECK (NOT breaking OR planned_on >= announced_on + 60 OR override_reason <> '')
);

CREATE TABLE public_records (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    sha256       bytea NOT NULL,
    redacted     jsonb NOT NULL,
    masked       integer NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid)
);
