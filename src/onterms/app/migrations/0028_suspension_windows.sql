-- Conduct, asked by the running server: windows of use that were watched, and how to find what was sent in one.

-- A window that was watched to its end; its job is void when it comes again.
CREATE TABLE usage_window_runs (
    start_at timestamptz PRIMARY KEY,
    done_at  timestamptz NOT NULL
);

-- What was sent in a quarter of an hour, whoever sent it. Rows come in the order of their time, so a summary of each
-- group of pages is enough, and costs next to nothing at each insert.
CREATE INDEX messages_created ON messages USING brin (date_created) WITH (pages_per_range = 16, autosummarize = on);
