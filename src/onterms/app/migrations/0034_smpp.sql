-- The SMPP carrier: whom it is bound to, which way messages go, and what is under way. See onterms/carriers/smpp.
--
-- Carriers, routes and links are the operator's and have no account_sid.

CREATE TABLE smpp_carriers (
    sid        text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    -- Sealed by the vault for this row; empty where the carrier asks for none.
    password   bytea NOT NULL,
    settings   jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE smpp_routes (
    sid         text COLLATE "C" PRIMARY KEY,
    carrier_sid text COLLATE "C" NOT NULL REFERENCES smpp_carriers ON DELETE CASCADE,
    -- Digits that recipients begin with, without the plus; empty is everybody.
    prefix      text COLLATE "C" NOT NULL,
    mcc         text NOT NULL DEFAULT '',
    mnc         text NOT NULL DEFAULT '',
    cost_micros bigint NOT NULL DEFAULT 0 CHECK (cost_micros >= 0),
    priority    integer NOT NULL DEFAULT 0,
    -- Below this part of messages delivered, the route comes behind the others of its prefix.
    min_quality double precision NOT NULL DEFAULT 0 CHECK (min_quality BETWEEN 0 AND 1),
    enabled     boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL
);

-- How many of a route's messages ended how, in buckets of time.
CREATE TABLE smpp_quality (
    route_sid   text COLLATE "C" NOT NULL REFERENCES smpp_routes ON DELETE CASCADE,
    bucket      timestamptz NOT NULL,
    delivered   bigint NOT NULL,
    undelivered bigint NOT NULL,
    PRIMARY KEY (route_sid, bucket)
);

-- What the workers say of their links.
CREATE TABLE smpp_links (
    node            text NOT NULL,
    carrier_sid     text COLLATE "C" NOT NULL REFERENCES smpp_carriers ON DELETE CASCADE,
    number          integer NOT NULL,
    bind            text NOT NULL,
    state           text NOT NULL,
    since           timestamptz NOT NULL,
    under_way       integer NOT NULL,
    queued          integer NOT NULL,
    is_throttled    boolean NOT NULL,
    last_error      text NOT NULL,
    segments        bigint NOT NULL,
    refused         bigint NOT NULL,
    throttled       bigint NOT NULL,
    receipts        bigint NOT NULL,
    inbound         bigint NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (node, carrier_sid, number)
);

-- The parts of messages that were handed to a carrier and whose end is not known, from before they are written to the
-- connection on. The last part's end takes them all out.
CREATE TABLE smpp_parts (
    sid          text COLLATE "C" NOT NULL,
    part         smallint NOT NULL,
    parts        smallint NOT NULL,
    account_sid  text COLLATE "C" NOT NULL,
    carrier_sid  text COLLATE "C" NOT NULL,
    route_sid    text COLLATE "C" NOT NULL,
    -- As the carrier knows them.
    sender       text NOT NULL,
    recipient    text NOT NULL,
    written_at   timestamptz NOT NULL,
    -- The carrier's name of the part as its response says it, and as its receipts will.
    given_id     text,
    carrier_id   text,
    -- No answer came and none will: only a receipt can tell.
    is_ambiguous boolean NOT NULL DEFAULT false,
    queried_at   timestamptz,
    state        text CHECK (state IN ('delivered', 'undelivered')),
    code         integer,
    PRIMARY KEY (sid, part)
);
CREATE INDEX smpp_parts_names ON smpp_parts (carrier_sid, carrier_id) WHERE carrier_id IS NOT NULL;
CREATE INDEX smpp_parts_unanswered ON smpp_parts (carrier_sid, recipient) WHERE carrier_id IS NULL;
CREATE INDEX smpp_parts_age ON smpp_parts (carrier_sid, written_at);

-- Receipts that came before anybody knew their messages.
CREATE TABLE smpp_receipts (
    carrier_sid text COLLATE "C" NOT NULL,
    carrier_id  text NOT NULL,
    sender      text NOT NULL,
    recipient   text NOT NULL,
    state       text NOT NULL,
    code        integer,
    done_at     timestamptz NOT NULL,
    came_at     timestamptz NOT NULL,
    PRIMARY KEY (carrier_sid, carrier_id)
);
CREATE INDEX smpp_receipts_age ON smpp_receipts (came_at);

-- Parts of long messages that came in, until the others come.
CREATE TABLE smpp_inbound_parts (
    carrier_sid text COLLATE "C" NOT NULL,
    sender      text NOT NULL,
    recipient   text NOT NULL,
    reference   integer NOT NULL,
    total       smallint NOT NULL,
    number      smallint NOT NULL,
    -- UTF-16, for a part may end with half a character; null for what is no text.
    content     bytea,
    came_at     timestamptz NOT NULL,
    PRIMARY KEY (carrier_sid, sender, recipient, reference, total, number)
);
CREATE INDEX smpp_inbound_parts_age ON smpp_inbound_parts (came_at);
