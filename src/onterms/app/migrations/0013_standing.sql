-- Standing: what keeps a customer from using the services. See onterms/business/standing.

-- A block is a fact that another room set. The effective state is made of all open ones.
CREATE TABLE standing_blocks (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    -- Who set it, and who alone lifts it: dunning, suspension, prepaid, agreement, screening.
    source       text NOT NULL,
    ref          text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('send', 'new_accounts', 'everything')),
    scope        text NOT NULL CHECK (scope IN ('customer', 'account', 'service_country')),
    account_sid  text NOT NULL DEFAULT '',
    service      text NOT NULL DEFAULT '',
    country      text NOT NULL DEFAULT '',
    reason       text NOT NULL,
    clause       text NOT NULL,
    notice_sid   text,
    set_at       timestamptz NOT NULL,
    lifted_at    timestamptz,
    PRIMARY KEY (customer_sid, sid),
    CHECK ((scope = 'account') = (account_sid <> '')),
    CHECK ((scope = 'service_country') = (service <> '' OR country <> '')),
    -- Clause 2.3: no suspension without notice.
    CHECK (reason <> 'suspended' OR notice_sid IS NOT NULL)
);

CREATE UNIQUE INDEX standing_blocks_open ON standing_blocks (customer_sid, source, ref) WHERE lifted_at IS NULL;

-- Grows with each change, so that a cache knows the newer of two answers.
CREATE TABLE standing_versions (
    customer_sid text COLLATE "C" PRIMARY KEY,
    version      bigint NOT NULL
);
