-- The simulator's registrar: the texts by which owners of brands confirm them.

CREATE TABLE registrar_texts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_sid text COLLATE "C" NOT NULL,
    brand_sid   text COLLATE "C" NOT NULL,
    number      text COLLATE "C" NOT NULL,
    body        text        NOT NULL,
    sent_at     timestamptz NOT NULL,
    answer      text        NOT NULL DEFAULT '',
    answered_at timestamptz
);
CREATE INDEX registrar_texts_brands ON registrar_texts (account_sid, brand_sid, id);
CREATE INDEX registrar_texts_numbers ON registrar_texts (number, id);
