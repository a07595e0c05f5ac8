-- The messaging room. account_sid leads every key, so that partitioning by tenant stays open.

CREATE TABLE messages (
    account_sid     text COLLATE "C" NOT NULL,
    sid             text COLLATE "C" NOT NULL,
    direction       text        NOT NULL CHECK (direction IN ('inbound', 'outbound-api', 'outbound-call', 'outbound-reply')),
    sender          text COLLATE "C" NOT NULL,
    recipient       text COLLATE "C" NOT NULL,
    -- The handset's side of the conversation: the recipient of what we send, the sender of what we get.
    peer            text COLLATE "C" NOT NULL,
    body            text        NOT NULL,
    encoding        text        NOT NULL,
    num_segments    int         NOT NULL,
    num_media       int         NOT NULL DEFAULT 0,
    -- What the customer asked us to fetch and attach; the fetched files are in message_media.
    media_urls      text[],
    status          text        NOT NULL,
    error_code      int,
    price_micros    bigint,
    price_unit      text        NOT NULL DEFAULT 'USD',
    status_callback text,
    carrier         text,
    carrier_id      text,
    -- A message still in the queue after this moment is not sent any more (30036).
    valid_until     timestamptz,
    date_created    timestamptz NOT NULL,
    date_sent       timestamptz,
    date_updated    timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
) WITH (fillfactor = 80);

-- Lists are ordered by creation, which the digits of a SID tell; its prefix (SM or MM) does not take part.
CREATE INDEX messages_order ON messages (account_sid, substr(sid, 3));
CREATE INDEX messages_peer ON messages (account_sid, peer, substr(sid, 3));
-- A carrier that repeats an inbound message is recognised by its own id.
CREATE UNIQUE INDEX messages_inbound_once ON messages (carrier, carrier_id) WHERE direction = 'inbound';

CREATE TABLE message_media (
    account_sid  text COLLATE "C" NOT NULL,
    message_sid  text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    content_type text        NOT NULL,
    data         bytea       NOT NULL,
    date_created timestamptz NOT NULL,
    PRIMARY KEY (account_sid, message_sid, sid),
    FOREIGN KEY (account_sid, message_sid) REFERENCES messages (account_sid, sid) ON DELETE CASCADE
);

-- Who asked which sender to stop. A row stays when the peer starts again, as evidence, with opted_out false.
CREATE TABLE message_opt_outs (
    account_sid text COLLATE "C" NOT NULL,
    sender      text COLLATE "C" NOT NULL,
    peer        text COLLATE "C" NOT NULL,
    opted_out   boolean     NOT NULL,
    keyword     text        NOT NULL,
    changed_at  timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sender, peer)
);

-- Countries an account may not send to; a country without a row is open.
CREATE TABLE message_blocked_countries (
    account_sid text COLLATE "C" NOT NULL,
    country     text NOT NULL,
    PRIMARY KEY (account_sid, country)
);

-- Cookies that a webhook set for one conversation, given back with the conversation's next message.
CREATE TABLE message_cookies (
    account_sid text COLLATE "C" NOT NULL,
    sender      text COLLATE "C" NOT NULL,
    peer        text COLLATE "C" NOT NULL,
    name        text        NOT NULL,
    value       text        NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sender, peer, name)
);
