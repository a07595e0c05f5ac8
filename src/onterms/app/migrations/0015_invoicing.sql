-- Invoices, credit and debit notes. See onterms/business/invoicing.

-- Who is billed each month, by whom, and in whose name.
CREATE TABLE billing_profiles (
    customer_sid text COLLATE "C" NOT NULL PRIMARY KEY,
    -- The reseller that pays for this customer; null is the customer itself.
    bill_to      text COLLATE "C",
    -- The operator's entity that bills; null is the customer's contracting entity.
    issuer       text,
    capacity     text NOT NULL CHECK (capacity IN ('principal', 'agent')),
    currency     text COLLATE "C",
    enrolled_at  timestamptz NOT NULL,
    CHECK (bill_to <> customer_sid)
);
CREATE INDEX billing_profiles_reseller ON billing_profiles (bill_to) WHERE bill_to IS NOT NULL;

-- The last number of each series; it moves with the document's own transaction, so there is no gap.
CREATE TABLE invoice_numbers (
    issuer text NOT NULL,
    series text NOT NULL,
    year   integer NOT NULL,
    last   bigint NOT NULL,
    PRIMARY KEY (issuer, series, year)
);

CREATE TABLE invoice_closes (
    customer_sid text COLLATE "C" NOT NULL,
    until_on     date NOT NULL,
    closed_at    timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, until_on)
);

CREATE TABLE invoices (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('invoice', 'debit_note')),
    number       text NOT NULL,
    state        text NOT NULL,
    issuer       text NOT NULL,
    capacity     text NOT NULL CHECK (capacity IN ('principal', 'agent')),
    on_behalf_of text,
    currency     text COLLATE "C" NOT NULL,
    period_from  date NOT NULL,
    period_to    date NOT NULL,
    issued_on    date NOT NULL,
    due_on       date NOT NULL,
    total        bigint NOT NULL CHECK (total >= 0),
    -- The document as it was finalised, and its hash.
    body         bytea NOT NULL,
    sha256       text NOT NULL,
    -- Under which SID pricing keeps the usage on it: several invoices of one close share it.
    usage_sid    text COLLATE "C" NOT NULL,
    notice_sid   text COLLATE "C",
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid),
    UNIQUE (issuer, number)
);

CREATE TABLE invoice_lines (
    customer_sid text COLLATE "C" NOT NULL,
    invoice_sid  text COLLATE "C" NOT NULL,
    ref          text COLLATE "C" NOT NULL,
    place        integer NOT NULL,
    kind         text NOT NULL,
    name         text NOT NULL,
    service      text NOT NULL,
    -- Whose usage it is, where a reseller is billed for several.
    section      text COLLATE "C" NOT NULL,
    period       text,
    qty          bigint NOT NULL,
    unit         text NOT NULL,
    price        bigint,
    exact        bigint NOT NULL,
    micros       bigint NOT NULL,
    supplied_at  timestamptz NOT NULL,
    -- Of tax lines: what is taxed, where and at which rate, and the refs of the lines in the base.
    jurisdiction text,
    base         bigint,
    rate         bigint,
    taxed        jsonb NOT NULL,
    PRIMARY KEY (customer_sid, invoice_sid, ref)
);

-- A part of an invoice with a day of its own: the document itself (part is empty), or what was disputed of it.
CREATE TABLE invoice_parts (
    customer_sid text COLLATE "C" NOT NULL,
    invoice_sid  text COLLATE "C" NOT NULL,
    part         text COLLATE "C" NOT NULL,
    due_on       date NOT NULL,
    disputed     boolean NOT NULL,
    PRIMARY KEY (customer_sid, invoice_sid, part)
);

-- What changed an invoice's open amount, by the contract day on which it counts.
CREATE TABLE invoice_movements (
    customer_sid text COLLATE "C" NOT NULL,
    invoice_sid  text COLLATE "C" NOT NULL,
    part         text COLLATE "C" NOT NULL,
    id           bigint GENERATED ALWAYS AS IDENTITY,
    kind         text NOT NULL,
    -- Fees are fees, surcharges and taxes; late fees are not among them.
    fees         bigint NOT NULL,
    late         bigint NOT NULL,
    on_day       date NOT NULL,
    source       text NOT NULL,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, invoice_sid, part, id)
);

-- Lines that wait for the next invoice: late fees and what takes them back.
CREATE TABLE invoice_charges (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    kind         text NOT NULL,
    name         text NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    micros       bigint NOT NULL,
    arose_at     timestamptz NOT NULL,
    invoice_sid  text COLLATE "C",
    PRIMARY KEY (customer_sid, sid)
);

CREATE TABLE invoice_payments (
    customer_sid text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    micros       bigint NOT NULL,
    received_on  date NOT NULL,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, key)
);

CREATE TABLE credit_notes (
    customer_sid text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    invoice_sid  text COLLATE "C" NOT NULL,
    number       text NOT NULL,
    issuer       text NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    reason       text NOT NULL,
    issued_on    date NOT NULL,
    total        bigint NOT NULL CHECK (total > 0),
    -- What came off the unpaid document, and what went back to the balance.
    off_document bigint NOT NULL,
    to_balance   bigint NOT NULL,
    lines        jsonb NOT NULL,
    sha256       text NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, sid),
    UNIQUE (issuer, number),
    CHECK (off_document >= 0 AND to_balance >= 0 AND off_document + to_balance = total)
);
CREATE INDEX credit_notes_invoice ON credit_notes (customer_sid, invoice_sid);

-- A finalised document never changes; only its state and the notice that carried it do.
CREATE FUNCTION invoices_are_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR (to_jsonb(NEW) - 'state' - 'notice_sid') <> (to_jsonb(OLD) - 'state' - 'notice_sid') THEN
        RAISE EXCEPTION 'a finalised document does not change' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoices_immutable BEFORE UPDATE OR DELETE ON invoices
    FOR EACH ROW EXECUTE FUNCTION invoices_are_immutable();
CREATE TRIGGER invoice_lines_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON invoice_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER invoice_movements_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON invoice_movements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER credit_notes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON credit_notes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
