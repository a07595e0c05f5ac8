-- How an account's files are kept and shown; an account without a row has the defaults.

CREATE TABLE messaging_media_settings (
    account_sid    text COLLATE "C" PRIMARY KEY,
    -- Whether fetching a file by its address in the API takes credentials.
    requires_auth  boolean NOT NULL,
    -- After how many days files are removed; null keeps them until somebody does.
    retention_days integer CHECK (retention_days > 0),
    -- Which run of the removal is the one that goes on.
    run            text NOT NULL,
    date_updated   timestamptz NOT NULL
);
CREATE INDEX message_media_age ON message_media (account_sid, date_created);
