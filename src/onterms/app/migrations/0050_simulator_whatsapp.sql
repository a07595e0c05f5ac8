-- The simulator's side of WhatsApp: what Meta keeps. None of it belongs to a customer; see 0006_simulator.sql.

ALTER TABLE simulator_messages ADD COLUMN content jsonb;

CREATE TABLE simulator_whatsapp_numbers (
    phone_number_id text PRIMARY KEY,
    waba_id         text    NOT NULL,
    number          text    NOT NULL UNIQUE,
    name            text    NOT NULL,
    code            text    NOT NULL DEFAULT '',
    is_verified     boolean NOT NULL,
    is_registered   boolean NOT NULL DEFAULT false,
    profile         jsonb   NOT NULL DEFAULT '{}'
);

-- When a handset last wrote to a number.
CREATE TABLE simulator_whatsapp_chats (
    phone_number_id text        NOT NULL,
    handset         text        NOT NULL,
    heard_at        timestamptz NOT NULL,
    PRIMARY KEY (phone_number_id, handset)
);

CREATE TABLE simulator_whatsapp_messages (
    wamid           text PRIMARY KEY,
    phone_number_id text    NOT NULL,
    handset         text    NOT NULL,
    -- The row of simulator_messages.
    message_id      bigint  NOT NULL,
    is_inbound      boolean NOT NULL,
    opaque          text    NOT NULL,
    -- A handset that has read it says so once.
    is_read         boolean NOT NULL
);
CREATE INDEX simulator_whatsapp_messages_handset ON simulator_whatsapp_messages (handset, message_id);

CREATE TABLE simulator_whatsapp_templates (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    waba_id    text  NOT NULL,
    name       text  NOT NULL,
    language   text  NOT NULL,
    category   text  NOT NULL,
    components jsonb NOT NULL,
    status     text  NOT NULL,
    UNIQUE (waba_id, name, language)
);

CREATE TABLE simulator_whatsapp_files (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content_type text  NOT NULL,
    data         bytea NOT NULL
);
