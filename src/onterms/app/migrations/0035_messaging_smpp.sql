-- The SMPP server: who may bind by short credentials, what is under way to those who are bound. account_sid leads keys.

CREATE TABLE smpp_users (
    account_sid    text COLLATE "C" NOT NULL,
    sid            text COLLATE "C" NOT NULL,
    system_id      text COLLATE "C" NOT NULL,
    -- scrypt: what people choose can be guessed, and SMPP has room for few characters.
    password_salt  bytea       NOT NULL,
    password_hash  bytea       NOT NULL,
    bind_types     text[]      NOT NULL,
    -- Networks that may bind; none is all.
    allowed_ips    text[]      NOT NULL,
    window_max     int         NOT NULL CHECK (window_max > 0),
    -- Messages a second and bind; 0 is as many as come.
    rate_per_s     int         NOT NULL CHECK (rate_per_s >= 0),
    binds_max      int         NOT NULL CHECK (binds_max > 0),
    alphabet       text        NOT NULL CHECK (alphabet IN ('gsm', 'gsm-packed', 'latin-1', 'ascii')),
    long_inbound   text        NOT NULL CHECK (long_inbound IN ('udh', 'udh16', 'sar', 'payload')),
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);

-- A name comes without an account.
CREATE UNIQUE INDEX smpp_users_name ON smpp_users (system_id);

-- Numbers whose inbound messages go to an SMPP user and not to a webhook.
CREATE TABLE smpp_numbers (
    account_sid  text COLLATE "C" NOT NULL,
    phone_number text COLLATE "C" NOT NULL,
    user_sid     text COLLATE "C" NOT NULL,
    PRIMARY KEY (account_sid, phone_number),
    FOREIGN KEY (account_sid, user_sid) REFERENCES smpp_users (account_sid, sid) ON DELETE CASCADE
);

-- Messages whose end is to be reported, and how: receipts is registered_delivery's 1 (always), 2 (on failure) or 3 (on
-- success). user_key is an SMPP user, or the account or key that bound by its own SID.
CREATE TABLE smpp_messages (
    account_sid text COLLATE "C" NOT NULL,
    sid         text COLLATE "C" NOT NULL,
    user_key    text COLLATE "C" NOT NULL,
    receipts    smallint    NOT NULL CHECK (receipts BETWEEN 1 AND 3),
    -- The message_id that was answered: of several recipients, the first one's.
    answered_as text COLLATE "C" NOT NULL,
    -- Addresses as they came: type, plan and number.
    source      text        NOT NULL,
    destination text        NOT NULL,
    PRIMARY KEY (account_sid, sid),
    FOREIGN KEY (account_sid, sid) REFERENCES messages (account_sid, sid) ON DELETE CASCADE
);

-- Receipts and inbound messages on their way to a bound session.
CREATE TABLE smpp_deliveries (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_sid   text COLLATE "C" NOT NULL,
    user_key      text COLLATE "C" NOT NULL,
    kind          text        NOT NULL CHECK (kind IN ('receipt', 'message')),
    message_sid   text COLLATE "C" NOT NULL,
    -- Of receipts. What they say is fixed when they are made.
    answered_as   text,
    source        text,
    destination   text,
    status        text,
    error_code    int,
    body          text,
    submitted_at  timestamptz,
    made_at       timestamptz NOT NULL,
    not_before    timestamptz,
    claimed_by    text,
    claimed_until timestamptz
);

CREATE INDEX smpp_deliveries_user ON smpp_deliveries (user_key, id);

CREATE FUNCTION smpp_deliveries_told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('onterms_smpp', user_key) FROM (SELECT DISTINCT user_key FROM made) AS told;
    RETURN NULL;
END $$;

CREATE TRIGGER smpp_deliveries_made AFTER INSERT ON smpp_deliveries REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION smpp_deliveries_told();

-- Parts of long messages that were answered and wait for the others.
CREATE TABLE smpp_submit_parts (
    account_sid    text COLLATE "C" NOT NULL,
    user_key       text COLLATE "C" NOT NULL,
    source         text COLLATE "C" NOT NULL,
    destination    text COLLATE "C" NOT NULL,
    reference      int         NOT NULL,
    total          int         NOT NULL,
    number         int         NOT NULL,
    -- The SID of the message that they will be.
    sid            text COLLATE "C" NOT NULL,
    -- UTF-16, for a part may end within a character.
    body           bytea       NOT NULL,
    receipts       smallint    NOT NULL,
    valid_until    timestamptz,
    due_at         timestamptz,
    credential_sid text        NOT NULL,
    session_sid    text        NOT NULL,
    system_id      text        NOT NULL,
    made_at        timestamptz NOT NULL,
    PRIMARY KEY (account_sid, user_key, source, destination, reference, total, number)
);

CREATE INDEX smpp_submit_parts_sid ON smpp_submit_parts (account_sid, sid);

-- Who is bound, at which node.
CREATE TABLE smpp_sessions (
    account_sid text COLLATE "C" NOT NULL,
    sid         text COLLATE "C" NOT NULL,
    node        text        NOT NULL,
    user_key    text COLLATE "C" NOT NULL,
    system_id   text        NOT NULL,
    kind        text        NOT NULL,
    version     int         NOT NULL,
    peer        text        NOT NULL,
    is_tls      boolean     NOT NULL,
    bound_at    timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);
