-- SMPP over several nodes: who is alive, who holds which link, what goes over another node's links, and which network a
-- number is at home in.

-- Nodes that listen; what was bound to one whose lease ran out is bound no more.
CREATE TABLE smpp_nodes (
    node        text PRIMARY KEY,
    lease_until timestamptz NOT NULL
);

-- Changed with what a session may, so that those bound before it bind again.
ALTER TABLE smpp_users ADD COLUMN version int NOT NULL DEFAULT 1;

-- The operator's numbering table: digits without the plus, the longest prefix counts.
CREATE TABLE smpp_networks (
    prefix text COLLATE "C" PRIMARY KEY,
    mcc    text NOT NULL,
    mnc    text NOT NULL,
    name   text NOT NULL
);

-- Messages that a node without a link of their carrier took, for the node that has its first link. Deleted with the word
-- on what became of them.
CREATE TABLE smpp_handovers (
    sid         text COLLATE "C" PRIMARY KEY,
    account_sid text COLLATE "C" NOT NULL,
    carrier_sid text COLLATE "C" NOT NULL,
    message     jsonb       NOT NULL,
    made_at     timestamptz NOT NULL
);
CREATE INDEX smpp_handovers_carrier ON smpp_handovers (carrier_sid, sid);
