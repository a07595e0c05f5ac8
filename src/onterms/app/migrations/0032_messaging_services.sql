-- Messaging Services: pools of senders with settings, what is scheduled, short links, and feedback.

ALTER TABLE messages ADD COLUMN messaging_service_sid text COLLATE "C";

CREATE TABLE messaging_services (
    account_sid                   text COLLATE "C" NOT NULL,
    sid                           text COLLATE "C" NOT NULL,
    friendly_name                 text        NOT NULL,
    inbound_request_url           text        NOT NULL,
    inbound_method                text        NOT NULL,
    fallback_url                  text        NOT NULL,
    fallback_method               text        NOT NULL,
    status_callback               text        NOT NULL,
    sticky_sender                 boolean     NOT NULL,
    mms_converter                 boolean     NOT NULL,
    smart_encoding                boolean     NOT NULL,
    fallback_to_long_code         boolean     NOT NULL,
    area_code_geomatch            boolean     NOT NULL,
    validity_period               int         NOT NULL,
    usecase                       text        NOT NULL,
    use_inbound_webhook_on_number boolean     NOT NULL,
    -- Whether the account's short domain shortens links of this service.
    shortens_links                boolean     NOT NULL DEFAULT true,
    -- Opt-out words and replies of the service's own; null where the default ones hold.
    opt_out                       jsonb,
    date_created                  timestamptz NOT NULL,
    date_updated                  timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);

CREATE TABLE messaging_service_senders (
    account_sid  text COLLATE "C" NOT NULL,
    service_sid  text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    kind         text        NOT NULL CHECK (kind IN ('phone_number', 'alpha_sender', 'destination_alpha_sender')),
    sender       text COLLATE "C" NOT NULL,
    -- Of a number its own country, of a destination alpha sender the only one it is for, else empty.
    country      text        NOT NULL,
    -- Segments sent, by which traffic is spread.
    used         bigint      NOT NULL,
    date_created timestamptz NOT NULL,
    date_updated timestamptz NOT NULL,
    PRIMARY KEY (account_sid, service_sid, sid),
    FOREIGN KEY (account_sid, service_sid) REFERENCES messaging_services (account_sid, sid) ON DELETE CASCADE
);
-- A number stands in one service only.
CREATE UNIQUE INDEX messaging_service_numbers ON messaging_service_senders (account_sid, sender)
    WHERE kind = 'phone_number';

-- By which sender a service first wrote to somebody.
CREATE TABLE messaging_sticky_senders (
    account_sid text COLLATE "C" NOT NULL,
    service_sid text COLLATE "C" NOT NULL,
    peer        text COLLATE "C" NOT NULL,
    sender      text COLLATE "C" NOT NULL,
    PRIMARY KEY (account_sid, service_sid, peer),
    FOREIGN KEY (account_sid, service_sid) REFERENCES messaging_services (account_sid, sid) ON DELETE CASCADE
);

-- What waits for its time; counted for each account.
CREATE TABLE messaging_scheduled (
    account_sid text COLLATE "C" NOT NULL,
    sid         text COLLATE "C" NOT NULL,
    send_at     timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);

-- The short domain of an account: one, made with its first service.
CREATE TABLE messaging_domains (
    account_sid         text COLLATE "C" PRIMARY KEY,
    sid                 text COLLATE "C" NOT NULL,
    config_sid          text COLLATE "C" NOT NULL,
    fallback_url        text        NOT NULL,
    callback_url        text        NOT NULL,
    continue_on_failure boolean     NOT NULL,
    disable_https       boolean     NOT NULL,
    date_created        timestamptz NOT NULL,
    date_updated        timestamptz NOT NULL
);

CREATE TABLE messaging_links (
    code         text COLLATE "C" PRIMARY KEY,
    account_sid  text COLLATE "C" NOT NULL,
    message_sid  text COLLATE "C" NOT NULL,
    -- As it was sent.
    short_link   text        NOT NULL,
    link         text        NOT NULL,
    -- A file that a message shows as a link is no click to report.
    reports      boolean     NOT NULL,
    date_created timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);

-- Whether a message reached its purpose, as the customer says.
CREATE TABLE message_feedback (
    account_sid  text COLLATE "C" NOT NULL,
    message_sid  text COLLATE "C" NOT NULL,
    outcome      text        NOT NULL CHECK (outcome IN ('confirmed', 'unconfirmed')),
    date_created timestamptz NOT NULL,
    date_updated timestamptz NOT NULL,
    PRIMARY KEY (account_sid, message_sid),
    FOREIGN KEY (account_sid, message_sid) REFERENCES messages (account_sid, sid) ON DELETE CASCADE
);
