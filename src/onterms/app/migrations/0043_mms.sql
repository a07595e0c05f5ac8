-- The MMS carriers: which MMSCs there are, which way messages with files go, and what is under way. See
-- onterms/carriers/mms.
--
-- Carriers and routes are the operator's and have no account_sid.

CREATE TABLE mms_carriers (
    sid              text COLLATE "C" PRIMARY KEY,
    name             text NOT NULL UNIQUE,
    -- Sealed by the vault for this row; empty where there is none. What we show the MMSC, what it shows us, and the key
    -- of our certificate.
    password         bytea NOT NULL,
    inbound_password bytea NOT NULL,
    tls_key          bytea NOT NULL,
    settings         jsonb NOT NULL,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL
);

CREATE TABLE mms_routes (
    sid         text COLLATE "C" PRIMARY KEY,
    carrier_sid text COLLATE "C" NOT NULL REFERENCES mms_carriers ON DELETE CASCADE,
    -- Digits that recipients begin with, without the plus; empty is everybody.
    prefix      text COLLATE "C" NOT NULL,
    priority    integer NOT NULL DEFAULT 0,
    enabled     boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL
);

-- Messages that were handed to an MMSC and whose end is not known, from before the request is written on.
CREATE TABLE mms_sent (
    sid         text COLLATE "C" PRIMARY KEY,
    account_sid text COLLATE "C" NOT NULL,
    carrier_sid text COLLATE "C" NOT NULL,
    -- Digits alone: reports write numbers in ways of their own.
    sender      text NOT NULL,
    recipient   text NOT NULL,
    written_at  timestamptz NOT NULL,
    -- How the MMSC calls it.
    carrier_id  text,
    -- No answer came and none will: only a report can tell.
    is_lost     boolean NOT NULL DEFAULT false
);
CREATE INDEX mms_sent_names ON mms_sent (carrier_sid, carrier_id) WHERE carrier_id IS NOT NULL;
CREATE INDEX mms_sent_unanswered ON mms_sent (carrier_sid, recipient) WHERE carrier_id IS NULL;
CREATE INDEX mms_sent_age ON mms_sent (written_at);

-- Reports that came before anybody knew their messages.
CREATE TABLE mms_reports (
    carrier_sid text COLLATE "C" NOT NULL,
    carrier_id  text NOT NULL,
    sender      text NOT NULL,
    recipient   text NOT NULL,
    state       text NOT NULL,
    code        integer,
    done_at     timestamptz NOT NULL,
    came_at     timestamptz NOT NULL,
    PRIMARY KEY (carrier_sid, carrier_id)
);
CREATE INDEX mms_reports_age ON mms_reports (came_at);
