-- Consent: opt-out words of single numbers, opt-outs told through the API, contacts, the rules of compliance, and numbers
-- that their carriers took out of service.

-- How a wish came, when not by a keyword, and when it was given.
ALTER TABLE message_opt_outs ADD COLUMN source text NOT NULL DEFAULT '';
ALTER TABLE message_opt_outs ADD COLUMN consented_at timestamptz;

-- Opt-out words and replies of a number's own, by the SID under which the account holds it.
CREATE TABLE messaging_number_words (
    account_sid text COLLATE "C" NOT NULL,
    number_sid  text COLLATE "C" NOT NULL,
    opt_out     jsonb       NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (account_sid, number_sid)
);

-- Where contacts live, as the customer says.
CREATE TABLE messaging_contacts (
    account_sid text COLLATE "C" NOT NULL,
    contact     text COLLATE "C" NOT NULL,
    country     text        NOT NULL,
    zip_code    text        NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (account_sid, contact)
);

-- What an account wants looked at before its messages go out.
CREATE TABLE messaging_compliance (
    account_sid text COLLATE "C" PRIMARY KEY,
    settings    jsonb       NOT NULL,
    updated_at  timestamptz NOT NULL
);

-- Numbers that carriers took from their subscribers. They belong to no customer: whoever has an account may read them.
CREATE TABLE number_deactivations (
    day          date NOT NULL,
    phone_number text COLLATE "C" NOT NULL,
    PRIMARY KEY (day, phone_number)
);
CREATE INDEX number_deactivations_number ON number_deactivations (phone_number, day);
