-- Short codes are held as numbers are: bought by nobody, given by the operator, charged by the month. One holder of a
-- code in the whole install, whatever its country: a message to it does not say which country's it is.
ALTER TABLE incoming_numbers DROP CONSTRAINT incoming_numbers_kind_check;
ALTER TABLE incoming_numbers ADD CONSTRAINT incoming_numbers_kind_check
    CHECK (kind IN ('local', 'mobile', 'tollfree', 'shortcode'));

-- Short codes stand in pools of Messaging Services; kinds of senders are the room's to know.
ALTER TABLE messaging_service_senders DROP CONSTRAINT messaging_service_senders_kind_check;
ALTER TABLE messaging_service_senders ADD CONSTRAINT messaging_service_senders_kind_check CHECK (kind ~ '^[a-z_]+$');
CREATE UNIQUE INDEX messaging_service_short_codes ON messaging_service_senders (account_sid, sender)
    WHERE kind = 'short_code';
