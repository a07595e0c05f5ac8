-- Insights: an account's messages summed up by spans of time, so that a month is read in milliseconds. One table by five
-- minutes without our own addresses, of which there may be many, and one by the hour with them.

CREATE TABLE messaging_insights (
    account_sid text COLLATE "C" NOT NULL,
    -- Where the span of the messages' creation begins.
    span        timestamptz NOT NULL,
    direction   text NOT NULL,
    status      text NOT NULL,
    error_code  int  NOT NULL,
    -- Of the other side.
    country     text NOT NULL,
    carrier     text NOT NULL,
    service_sid text NOT NULL,
    -- Our own address; empty where it is not told apart.
    sender      text NOT NULL,
    messages    bigint NOT NULL,
    segments    bigint NOT NULL,
    -- How many were delivered within which time: counts by step of a scale that grows by a quarter each.
    latency     jsonb NOT NULL
);
CREATE INDEX messaging_insights_span ON messaging_insights (account_sid, span);

CREATE TABLE messaging_sender_insights (LIKE messaging_insights);
CREATE INDEX messaging_sender_insights_span ON messaging_sender_insights (account_sid, span);

-- Up to where an account's messages are summed up in a table, when they were last, and when those spans were looked at
-- again last that are over and may still change.
CREATE TABLE messaging_insight_marks (
    account_sid  text COLLATE "C" NOT NULL,
    table_name   text NOT NULL,
    summed_until timestamptz NOT NULL,
    looked_at    timestamptz NOT NULL,
    mended_at    timestamptz NOT NULL,
    PRIMARY KEY (account_sid, table_name)
);
