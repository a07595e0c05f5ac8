-- How fast senders may send, where the operator says otherwise than the defaults. See
-- onterms/products/messaging/service/queues.py.

CREATE TABLE messaging_sender_rates (
    sid            text COLLATE "C" PRIMARY KEY,
    -- Null for all accounts.
    account_sid    text COLLATE "C",
    -- A number, short code or name, null for all of the account or the type.
    sender         text,
    sender_type    text,
    -- Zero is as fast as the carrier takes it.
    segments_per_s double precision NOT NULL CHECK (segments_per_s >= 0),
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    CHECK (sender IS NULL OR (account_sid IS NOT NULL AND sender_type IS NULL)),
    CHECK (account_sid IS NOT NULL OR sender_type IS NOT NULL)
);

CREATE UNIQUE INDEX messaging_sender_rates_of ON messaging_sender_rates (account_sid, sender, sender_type)
    NULLS NOT DISTINCT;

-- All queues of one account, or of one kind.
CREATE INDEX rate_buckets_by_key ON rate_buckets (key COLLATE "C");

-- Claims in turns step from account to account. Other claims cannot take it, as a plan that was made while the table was
-- nearly empty otherwise would: they do not say that there is an account.
CREATE INDEX jobs_of_accounts ON jobs (task, account_sid, due_at, id) WHERE state = 'ready' AND account_sid IS NOT NULL;
