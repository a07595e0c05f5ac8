-- Files of messages are kept once for an account, by what their bytes are: a picture sent to ten thousand people is one
-- row. A file goes when the last message that has it does.

CREATE TABLE media_contents (
    account_sid text COLLATE "C" NOT NULL,
    digest      bytea  NOT NULL,
    data        bytea  NOT NULL,
    -- How many files of messages these bytes are.
    uses        bigint NOT NULL,
    PRIMARY KEY (account_sid, digest)
);

ALTER TABLE message_media ADD COLUMN digest bytea;
UPDATE message_media SET digest = sha256(data);
INSERT INTO media_contents (account_sid, digest, data, uses)
SELECT account_sid, digest, (array_agg(data))[1], count(*) FROM message_media GROUP BY account_sid, digest;
ALTER TABLE message_media DROP COLUMN data;
ALTER TABLE message_media ALTER COLUMN digest SET NOT NULL;
ALTER TABLE message_media ADD FOREIGN KEY (account_sid, digest) REFERENCES media_contents (account_sid, digest);

-- Messages are deleted in many ways (by the customer, by a closed account, with all that a customer has), and each takes
-- its files along by the foreign key; so the count is kept here, where none is missed.
CREATE FUNCTION media_contents_unused() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- In one order, for two deletions may have files in common.
    PERFORM 1 FROM media_contents AS c
    WHERE (c.account_sid, c.digest) IN (SELECT account_sid, digest FROM gone)
    ORDER BY c.account_sid, c.digest FOR UPDATE;
    UPDATE media_contents AS c SET uses = c.uses - g.number
    FROM (SELECT account_sid, digest, count(*) AS number FROM gone GROUP BY account_sid, digest) AS g
    WHERE c.account_sid = g.account_sid AND c.digest = g.digest;
    DELETE FROM media_contents AS c
    WHERE (c.account_sid, c.digest) IN (SELECT account_sid, digest FROM gone) AND c.uses <= 0;
    RETURN NULL;
END $$;

CREATE TRIGGER media_contents_unused AFTER DELETE ON message_media
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION media_contents_unused();
