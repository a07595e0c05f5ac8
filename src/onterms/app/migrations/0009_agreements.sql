-- Agreements: documents and their versions, who is bound by which, and with what evidence. See onterms/business/agreements.

CREATE TABLE documents (
    name       text COLLATE "C" PRIMARY KEY,
    title      text NOT NULL,
    -- The rank in the order of precedence; NULL for a legal page that is no part of the contract.
    rank       smallint CHECK (rank BETWEEN 1 AND 6),
    -- Accepted together with the terms, or only by itself (a waiver, a partner guide).
    linked     boolean NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE document_versions (
    sid                   text COLLATE "C" PRIMARY KEY,
    document              text COLLATE "C" NOT NULL REFERENCES documents (name),
    label                 text NOT NULL,
    state                 text NOT NULL CHECK (state IN ('draft', 'scheduled', 'published')),
    -- Orders the published versions of a document.
    number                integer,
    published_on          date,
    new_effective_on      date,
    existing_effective_on date,
    material              boolean NOT NULL,
    exempt_reason         text CHECK (exempt_reason IN ('law', 'regulation', 'carrier')),
    exempt_evidence       text,
    binding_md            text NOT NULL,
    summary_md            text NOT NULL,
    sha256                text NOT NULL,
    summary_sha256        text NOT NULL,
    -- Which table of countries, parties, laws and courts goes with these words.
    parties               jsonb,
    created_at            timestamptz NOT NULL,
    published_at          timestamptz,
    UNIQUE (document, number),
    CHECK ((state = 'published') = (published_at IS NOT NULL)),
    CHECK (state = 'draft' OR num_nulls(published_on, new_effective_on, existing_effective_on) = 0),
    CHECK (exempt_reason IS NULL OR exempt_evidence IS NOT NULL)
);

-- Whatever a program does: words that were published stay, and stay the same.
CREATE FUNCTION refuse_change_of_published() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a published version is never changed and never deleted';
END $$;

CREATE TRIGGER published_versions_stay BEFORE UPDATE OR DELETE ON document_versions
    FOR EACH ROW WHEN (OLD.state = 'published') EXECUTE FUNCTION refuse_change_of_published();

-- The state of one version for one customer.
CREATE TABLE bindings (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    version_sid  text COLLATE "C" NOT NULL REFERENCES document_versions (sid),
    document     text COLLATE "C" NOT NULL,
    state        text NOT NULL CHECK (state IN
                 ('pending', 'noticed', 'effective', 'accepted', 'declined', 'exempt_effective')),
    notice_sid   text COLLATE "C",
    given_on     date,
    effective_on date,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, version_sid)
);

CREATE INDEX bindings_of_version ON bindings (version_sid, customer_sid) WHERE notice_sid IS NULL;
CREATE UNIQUE INDEX bindings_of_notice ON bindings (notice_sid) WHERE notice_sid IS NOT NULL;

CREATE TABLE acceptances (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    document     text COLLATE "C" NOT NULL,
    version_sid  text COLLATE "C" NOT NULL REFERENCES document_versions (sid),
    sha256       text NOT NULL,
    mode         text NOT NULL CHECK (mode IN ('click', 'signature', 'continued_use')),
    accepted_at  timestamptz NOT NULL,
    actor        text NOT NULL,
    role         text NOT NULL,
    authority    boolean NOT NULL,
    ip           text NOT NULL,
    request_id   text NOT NULL,
    -- The exact version of each linked document at this moment, by document.
    bundle       jsonb NOT NULL,
    PRIMARY KEY (customer_sid, sid),
    UNIQUE (customer_sid, version_sid)
);

-- The contract with a customer: the online terms, or a contract of its own that covers some services.
CREATE TABLE agreements (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('online', 'separate')),
    state        text NOT NULL CHECK (state IN ('active', 'ended')),
    title        text NOT NULL,
    services     text[] NOT NULL,
    binding_md   text NOT NULL,
    from_on      date NOT NULL,
    until_on     date,
    effective_at timestamptz NOT NULL,
    ended_at     timestamptz,
    PRIMARY KEY (customer_sid, sid),
    CHECK ((state = 'ended') = (ended_at IS NOT NULL))
);

CREATE UNIQUE INDEX agreements_online ON agreements (customer_sid) WHERE kind = 'online' AND state = 'active';

-- Papers beside the contract: kept as a reference, never read by the resolver.
CREATE TABLE attachments (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('purchase_order', 'vendor_portal', 'sales_email', 'chat', 'note')),
    reference    text NOT NULL,
    text         text NOT NULL,
    signed       boolean NOT NULL,
    void         boolean NOT NULL CHECK (void),
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid)
);

-- A court cut a clause of a version down: shown struck, with its reason, and not resolved any more.
CREATE TABLE clause_overrides (
    version_sid text COLLATE "C" NOT NULL REFERENCES document_versions (sid),
    clause      text NOT NULL,
    reason      text NOT NULL,
    replacement text NOT NULL,
    decided_by  text NOT NULL,
    from_on     date NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (version_sid, clause)
);

-- The operator's own companies; the last row that began on or before a day holds on it.
CREATE TABLE contracting_entities (
    key         text NOT NULL CHECK (key IN ('default', 'europe', 'japan')),
    from_on     date NOT NULL,
    name        text NOT NULL,
    address     text NOT NULL,
    country     text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (key, from_on)
);

-- Where the contract gives two answers and neither prevails: for counsel.
CREATE TABLE legal_tasks (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    sid          text COLLATE "C" NOT NULL,
    kind         text NOT NULL,
    clause       text NOT NULL,
    subject      text NOT NULL,
    created_at   timestamptz NOT NULL,
    done_at      timestamptz,
    PRIMARY KEY (customer_sid, sid)
);

CREATE UNIQUE INDEX legal_tasks_open ON legal_tasks (customer_sid, kind, subject) WHERE done_at IS NULL;
