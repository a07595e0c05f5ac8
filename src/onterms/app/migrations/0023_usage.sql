-- Who used what is rated: the credential behind each event. Its customer and account stand on the rated rows too.
CREATE TABLE usage_sources (
    customer_sid   text COLLATE "C" NOT NULL,
    id             text COLLATE "C" NOT NULL,
    account_sid    text COLLATE "C" NOT NULL,
    -- A key, or the account itself for its auth token and for what reached its numbers.
    credential_sid text COLLATE "C" NOT NULL,
    PRIMARY KEY (customer_sid, id)
);

CREATE TABLE usage_triggers (
    account_sid     text COLLATE "C" NOT NULL,
    sid             text COLLATE "C" NOT NULL,
    friendly_name   text NOT NULL,
    category        text NOT NULL,
    recurring       text NOT NULL CHECK (recurring IN ('daily', 'monthly', 'yearly', 'alltime')),
    trigger_by      text NOT NULL CHECK (trigger_by IN ('count', 'usage', 'price')),
    -- Millionths, of a count, a quantity or the currency.
    trigger_micros  bigint NOT NULL,
    current_micros  bigint NOT NULL,
    -- The first day of the period that current_micros is of.
    current_period  date NOT NULL,
    callback_url    text NOT NULL,
    callback_method text NOT NULL CHECK (callback_method IN ('GET', 'POST')),
    -- The first day of the last period in which it fired.
    fired_period    date,
    fired_at        timestamptz,
    -- A check of the account's triggers is under way.
    is_checking     boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
) WITH (fillfactor = 70);

-- The one sweep of overdue holds; a job of another version is void.
CREATE TABLE usage_sweeps (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL,
    due_at  timestamptz NOT NULL
);
