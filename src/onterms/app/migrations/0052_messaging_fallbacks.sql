-- Messages that go by RCS first and by SMS or MMS where that does not reach anybody in its time.

CREATE TABLE messaging_fallbacks (
    account_sid text COLLATE "C" NOT NULL,
    sid         text COLLATE "C" NOT NULL,
    -- FallbackFrom; empty where the Messaging Service chooses.
    sender      text        NOT NULL,
    -- When RCS began to be tried.
    since       timestamptz,
    is_tried    boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (account_sid, sid),
    FOREIGN KEY (account_sid, sid) REFERENCES messages (account_sid, sid) ON DELETE CASCADE
);
