-- Below this much of `posted` somebody wants to be told, once; null while nobody does.
ALTER TABLE ledger_funds ADD COLUMN alert_below bigint;

-- When a number's next month begins and is charged; null until its first renewal is planned.
ALTER TABLE incoming_numbers ADD COLUMN renews_at timestamptz;
CREATE INDEX incoming_numbers_unplanned ON incoming_numbers (sid) WHERE released_at IS NULL AND renews_at IS NULL;

-- Which of the operator's companies provides a service, where that is not the contracting one (clause 9.1.2).
ALTER TABLE service_catalogue ADD COLUMN provider_entity text CHECK (provider_entity IN ('default', 'europe', 'japan'));

-- Payments are kept by the payments room alone.
DROP TABLE invoice_payments;
