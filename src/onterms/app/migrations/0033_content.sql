-- Content templates and what reviewers said of them.

CREATE TABLE content_templates (
    account_sid   text COLLATE "C" NOT NULL,
    sid           text COLLATE "C" NOT NULL,
    friendly_name text        NOT NULL,
    language      text        NOT NULL,
    variables     jsonb       NOT NULL,
    types         jsonb       NOT NULL,
    date_created  timestamptz NOT NULL,
    date_updated  timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);

CREATE TABLE content_approvals (
    account_sid      text COLLATE "C" NOT NULL,
    content_sid      text COLLATE "C" NOT NULL,
    name             text        NOT NULL,
    category         text        NOT NULL,
    content_type     text        NOT NULL,
    status           text        NOT NULL,
    rejection_reason text        NOT NULL,
    date_created     timestamptz NOT NULL,
    date_updated     timestamptz NOT NULL,
    PRIMARY KEY (account_sid, content_sid),
    FOREIGN KEY (account_sid, content_sid) REFERENCES content_templates (account_sid, sid) ON DELETE CASCADE
);
