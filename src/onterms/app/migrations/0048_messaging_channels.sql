-- Channels in the messaging room: senders that are no telephone numbers, what messages show there and what they bring.

CREATE TABLE channel_senders (
    account_sid     text COLLATE "C" NOT NULL,
    sid             text COLLATE "C" NOT NULL,
    channel         text        NOT NULL,
    -- As it stands in From: whatsapp:+14155550123, rcs:agent.
    address         text COLLATE "C" NOT NULL,
    status          text        NOT NULL,
    configuration   jsonb       NOT NULL,
    webhook         jsonb       NOT NULL,
    profile         jsonb       NOT NULL,
    properties      jsonb       NOT NULL,
    offline_reasons jsonb       NOT NULL,
    date_created    timestamptz NOT NULL,
    date_updated    timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);
CREATE UNIQUE INDEX channel_senders_own ON channel_senders (account_sid, address);
-- Whoever proved that an address is his has it alone; asking for it proves nothing.
CREATE UNIQUE INDEX channel_senders_online ON channel_senders (address) WHERE status IN ('ONLINE', 'ONLINE:UPDATING');

-- What a message on a channel shows (outbound) or brought (inbound) beside its text.
CREATE TABLE channel_messages (
    account_sid    text COLLATE "C" NOT NULL,
    message_sid    text COLLATE "C" NOT NULL,
    content        jsonb,
    details        jsonb,
    -- The network's own words on a failure.
    status_message text,
    -- By which name the network knows a message that we sent: who answers it names that.
    network_id     text COLLATE "C",
    PRIMARY KEY (account_sid, message_sid),
    FOREIGN KEY (account_sid, message_sid) REFERENCES messages (account_sid, sid) ON DELETE CASCADE
);
CREATE INDEX channel_messages_named ON channel_messages (account_sid, network_id) WHERE network_id IS NOT NULL;

CREATE UNIQUE INDEX messaging_service_channels ON messaging_service_senders (account_sid, sender)
    WHERE kind = 'channel_sender';
