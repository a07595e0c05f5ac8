-- Short domains of customers' own: a name, and the certificate that the TLS door shows under it.

ALTER TABLE messaging_domains ADD COLUMN domain_name text COLLATE "C";
ALTER TABLE messaging_domains ADD COLUMN certificate_sid text COLLATE "C";
-- The key and the chain in PEM, sealed by the vault for the certificate's SID.
ALTER TABLE messaging_domains ADD COLUMN certificate bytea;
ALTER TABLE messaging_domains ADD COLUMN certificate_created timestamptz;
ALTER TABLE messaging_domains ADD COLUMN certificate_updated timestamptz;
ALTER TABLE messaging_domains ADD COLUMN certificate_expires timestamptz;
-- Whoever asks under a name is one account's visitor.
CREATE UNIQUE INDEX messaging_domains_name ON messaging_domains (domain_name);
