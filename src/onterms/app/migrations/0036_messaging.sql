-- What a statement calls that found what it must not find: it does nothing then, and neither does anything beside it.
CREATE FUNCTION refuse_statement() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the statement found what it expected not to be there' USING ERRCODE = 'triggered_action_exception';
END $$;

-- What became of a message, a line for each status after the first: kept with the message, which is written anyway.
ALTER TABLE messages ADD COLUMN history text NOT NULL DEFAULT '';

-- A carrier that repeats an inbound message is recognised here. An index on messages itself would have to be written
-- again whenever a message that we send gets its carrier's id.
ALTER TABLE messages ADD COLUMN inbound_id text COLLATE "C";
UPDATE messages SET inbound_id = carrier || '/' || carrier_id WHERE direction = 'inbound';
DROP INDEX messages_inbound_once;
CREATE UNIQUE INDEX messages_inbound_once ON messages (inbound_id) WHERE inbound_id IS NOT NULL;

-- Carriers and batches name messages by their SIDs alone.
CREATE INDEX messages_sid ON messages (sid);
