-- WhatsApp over Meta's Cloud API: the operator's business accounts, customers' numbers there, what is under way.

CREATE TABLE whatsapp_accounts (
    waba_id      text COLLATE "C" PRIMARY KEY,
    name         text        NOT NULL,
    -- With the version: https://graph.facebook.com/v23.0
    base_url     text        NOT NULL,
    -- Sealed with the vault, each under the business account's id.
    token        bytea       NOT NULL,
    app_secret   bytea       NOT NULL,
    verify_token bytea       NOT NULL,
    -- Whose it is, so that its numbers need no proof; null where every account may have numbers in it.
    owner_sid    text COLLATE "C",
    -- Whether files are uploaded rather than fetched from us by link.
    uploads      boolean     NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);

CREATE TABLE whatsapp_numbers (
    account_sid     text COLLATE "C" NOT NULL,
    sender_sid      text COLLATE "C" NOT NULL,
    address         text COLLATE "C" NOT NULL,
    waba_id         text COLLATE "C" NOT NULL REFERENCES whatsapp_accounts (waba_id) ON DELETE CASCADE,
    phone_number_id text COLLATE "C" NOT NULL,
    -- A token of the sender's own, where it has one; sealed under its SID.
    token           bytea,
    is_verified     boolean     NOT NULL,
    enrolled_at     timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sender_sid)
);
CREATE INDEX whatsapp_numbers_upstream ON whatsapp_numbers (waba_id, phone_number_id);
-- Whoever proved that a number is his has it alone.
CREATE UNIQUE INDEX whatsapp_numbers_verified ON whatsapp_numbers (phone_number_id) WHERE is_verified;

-- What was handed over: written before it is, so that nothing goes twice.
CREATE TABLE whatsapp_messages (
    message_sid     text COLLATE "C" PRIMARY KEY,
    account_sid     text COLLATE "C" NOT NULL,
    phone_number_id text COLLATE "C" NOT NULL,
    -- Meta's name, once it is known.
    wamid           text COLLATE "C",
    refused_code    int,
    refused_reason  text,
    created_at      timestamptz NOT NULL
);
CREATE INDEX whatsapp_messages_wamid ON whatsapp_messages (wamid);
CREATE INDEX whatsapp_messages_age ON whatsapp_messages (created_at);

-- Meta docs, customer service windows: 24 hours from a person's last message.
CREATE TABLE whatsapp_windows (
    account_sid text COLLATE "C" NOT NULL,
    sender      text COLLATE "C" NOT NULL,
    peer        text COLLATE "C" NOT NULL,
    heard_at    timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sender, peer)
);

CREATE TABLE whatsapp_templates (
    account_sid text COLLATE "C" NOT NULL,
    content_sid text COLLATE "C" NOT NULL,
    waba_id     text COLLATE "C" NOT NULL REFERENCES whatsapp_accounts (waba_id) ON DELETE CASCADE,
    template_id text COLLATE "C" NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (account_sid, content_sid)
);
CREATE INDEX whatsapp_templates_upstream ON whatsapp_templates (waba_id, template_id);
