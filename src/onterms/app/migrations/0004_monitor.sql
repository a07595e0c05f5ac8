-- What the debugger shows: one row is a Notification of the 2010 API and an Alert of the monitor API.
CREATE TABLE alerts (
    account_sid text COLLATE "C" NOT NULL,
    sid text COLLATE "C" NOT NULL,
    error_code integer NOT NULL,
    -- 0 error, 1 warning, 2 notice, 3 debug: the numbers of the 2010 API's `Log`.
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 3),
    text text NOT NULL,
    -- The message, call or other resource it happened to, and the service that resource belongs to.
    resource_sid text COLLATE "C",
    service_sid text COLLATE "C",
    request_method text,
    request_url text,
    request_variables text,
    request_headers text,
    response_headers text,
    response_body text,
    generated_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);

-- Lists filter by date; the notifications of one call are few among many.
CREATE INDEX alerts_by_generated ON alerts (account_sid, generated_at);
CREATE INDEX alerts_by_resource ON alerts (account_sid, resource_sid, sid) WHERE resource_sid IS NOT NULL;
