-- The RCS carrier: partner accounts at the platform, the agents that they hold, and what is under way.
-- See onterms/carriers/rcs.
--
-- Connections and agents are the operator's, who says which account may send as an agent.

CREATE TABLE rcs_connections (
    sid             text COLLATE "C" PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    -- Both sealed by the vault for this row: the service account's key file, and what webhooks are signed with.
    service_account bytea NOT NULL,
    client_token    bytea NOT NULL,
    settings        jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL
);

CREATE TABLE rcs_agents (
    -- As customers write it after `rcs:`.
    name           text COLLATE "C" PRIMARY KEY,
    connection_sid text COLLATE "C" NOT NULL REFERENCES rcs_connections ON DELETE CASCADE,
    -- As the platform knows it.
    agent_id       text COLLATE "C" NOT NULL,
    -- Nobody, until the operator says who.
    account_sid    text COLLATE "C",
    created_at     timestamptz NOT NULL,
    UNIQUE (connection_sid, agent_id)
);

-- Messages that were handed to the platform, from before they are: what it says of one is believed only where it comes
-- by the connection and the agent that sent it.
CREATE TABLE rcs_messages (
    account_sid    text COLLATE "C" NOT NULL,
    message_sid    text COLLATE "C" NOT NULL,
    connection_sid text COLLATE "C" NOT NULL,
    agent_id       text COLLATE "C" NOT NULL,
    phone          text COLLATE "C" NOT NULL,
    -- What is sent again, under the same name, where no answer came; gone once one did.
    request        jsonb,
    -- handed, following, taken, delivered, read, revoked, refused
    state          text NOT NULL,
    expires_at     timestamptz,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (account_sid, message_sid)
);
CREATE UNIQUE INDEX rcs_messages_sid ON rcs_messages (message_sid);
CREATE INDEX rcs_messages_age ON rcs_messages (created_at);

-- The platform of a sandbox: handsets that have RCS, and what agents sent to them. See onterms/carriers/rcs_simulator.
-- As the simulator's other tables they belong to no customer: a handset is the world outside.

CREATE TABLE simulator_rcs_handsets (
    number   text COLLATE "C" PRIMARY KEY,
    has_rcs  boolean NOT NULL,
    is_on    boolean NOT NULL,
    reads    boolean NOT NULL,
    features text[] NOT NULL
);

CREATE TABLE simulator_rcs_messages (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    phone      text COLLATE "C" NOT NULL,
    agent_id   text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    body       jsonb NOT NULL,
    -- waiting, delivered, read, revoked
    state      text NOT NULL,
    expires_at timestamptz,
    at         timestamptz NOT NULL,
    UNIQUE (agent_id, message_id)
);
CREATE INDEX simulator_rcs_messages_phone ON simulator_rcs_messages (phone, id);
