-- Which account used which operation last on which day: whom to tell of a change. See onterms/business/support.

CREATE TABLE endpoint_uses (
    account_sid text COLLATE "C" NOT NULL,
    operation   text COLLATE "C" NOT NULL,
    last_on     date NOT NULL,
    PRIMARY KEY (account_sid, operation)
);

CREATE INDEX endpoint_uses_operation ON endpoint_uses (operation, last_on);
