-- When a customer declined a version: what governed it before stays as it was.
ALTER TABLE bindings ADD COLUMN declined_at timestamptz;
UPDATE bindings SET declined_at = updated_at WHERE state = 'declined';
