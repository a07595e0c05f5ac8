-- Notices: what was sent to whom on what evidence, what came in, and what the operator has to do. See
-- onterms/business/notices. The mailboxes are the simulator's; see onterms/carriers/mailbox.

CREATE TABLE notices (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    -- What it is about (late_payment, terms_update, suspension); rooms name their own.
    kind         text NOT NULL,
    -- Which contacts it is for.
    contact_kind text NOT NULL,
    -- Whom it went to: the kind asked for, or what it fell back to. Null until the mail is first tried.
    sent_to_kind text,
    subject      text NOT NULL,
    body         text NOT NULL,
    body_sha256  text NOT NULL,
    -- The row of another room that caused it.
    ref          text NOT NULL,
    state        text NOT NULL CHECK (state IN ('queued', 'sent', 'given', 'bounced', 'void')),
    given_at     timestamptz,
    given_on     date,
    voided_at    timestamptz,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    version      bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (customer_sid, sid),
    CHECK ((state = 'given') = (given_at IS NOT NULL)),
    CHECK ((given_at IS NULL) = (given_on IS NULL))
);

CREATE UNIQUE INDEX notices_sid ON notices (sid);

-- Evidence, one row an address.
CREATE TABLE notice_addresses (
    customer_sid text COLLATE "C" NOT NULL,
    notice_sid   text COLLATE "C" NOT NULL,
    place        integer NOT NULL,
    contact_sid  text NOT NULL,
    address      text NOT NULL,
    message_id   text NOT NULL UNIQUE,
    attempts     integer NOT NULL DEFAULT 0,
    first_at     timestamptz,
    last_at      timestamptz,
    server       text NOT NULL DEFAULT '',
    reply        text NOT NULL DEFAULT '',
    mail_sha256  text NOT NULL DEFAULT '',
    dkim         text NOT NULL DEFAULT '',
    accepted_at  timestamptz,
    refused_at   timestamptz,
    bounced_at   timestamptz,
    diagnostic   text NOT NULL DEFAULT '',
    PRIMARY KEY (customer_sid, notice_sid, place),
    FOREIGN KEY (customer_sid, notice_sid) REFERENCES notices (customer_sid, sid)
);

CREATE TABLE notice_attachments (
    customer_sid text COLLATE "C" NOT NULL,
    notice_sid   text COLLATE "C" NOT NULL,
    place        integer NOT NULL,
    name         text NOT NULL,
    content_type text NOT NULL,
    content      bytea NOT NULL,
    PRIMARY KEY (customer_sid, notice_sid, place),
    FOREIGN KEY (customer_sid, notice_sid) REFERENCES notices (customer_sid, sid)
);

-- What came to the operator's legal address or through the form. customer_sid is empty until somebody says whose it is.
CREATE TABLE notices_in (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    kind         text NOT NULL,
    channel      text NOT NULL CHECK (channel IN ('email', 'form')),
    sender       text NOT NULL,
    subject      text NOT NULL,
    body         text NOT NULL,
    message_id   text NOT NULL,
    raw          bytea NOT NULL,
    raw_sha256   text NOT NULL,
    received_at  timestamptz NOT NULL,
    received_on  date NOT NULL,
    PRIMARY KEY (customer_sid, sid)
);

CREATE UNIQUE INDEX notices_in_sid ON notices_in (sid);
-- The same mail brought twice is one notice.
CREATE UNIQUE INDEX notices_in_raw ON notices_in (raw_sha256) WHERE channel = 'email';

-- Whose contact wrote a mail.
CREATE INDEX customer_contacts_address ON customer_contacts (lower(address)) WHERE removed_at IS NULL;

CREATE TABLE operator_tasks (
    sid          text COLLATE "C" PRIMARY KEY,
    kind         text NOT NULL,
    subject      text NOT NULL,
    -- Empty where it is about no customer.
    customer_sid text COLLATE "C" NOT NULL,
    ref          text NOT NULL,
    due_on       date NOT NULL,
    created_at   timestamptz NOT NULL,
    done_at      timestamptz,
    done_by      text,
    note         text NOT NULL DEFAULT ''
);

CREATE UNIQUE INDEX operator_tasks_open ON operator_tasks (kind, customer_sid, ref) WHERE done_at IS NULL;
CREATE INDEX operator_tasks_due ON operator_tasks (due_on, sid) WHERE done_at IS NULL;

-- The simulator's mailboxes: the mail server of every address there is. As with its handsets none belongs to a customer.
CREATE TABLE mailbox_mails (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address     text NOT NULL,
    message_id  text NOT NULL,
    sender      text NOT NULL,
    subject     text NOT NULL,
    body        text NOT NULL,
    attachments jsonb NOT NULL,
    raw         bytea NOT NULL,
    at          timestamptz NOT NULL,
    -- Bounced mail was taken and not delivered.
    bounced_at  timestamptz,
    UNIQUE (address, message_id)
);

CREATE TABLE mailbox_settings (
    address        text PRIMARY KEY,
    -- accept, refuse or bounce
    behaviour      text NOT NULL CHECK (behaviour IN ('accept', 'refuse', 'bounce')),
    -- How long the server asks to come back later before it takes a mail.
    delay_s        integer NOT NULL DEFAULT 0 CHECK (delay_s >= 0),
    bounce_after_s integer NOT NULL DEFAULT 0 CHECK (bounce_after_s >= 0)
);

-- When a mail that is being delayed was first offered.
CREATE TABLE mailbox_offers (
    address    text NOT NULL,
    message_id text NOT NULL,
    at         timestamptz NOT NULL,
    PRIMARY KEY (address, message_id)
);
