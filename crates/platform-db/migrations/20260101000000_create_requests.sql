-- What was answered to requests that carry a request_id; see `begin_once`.
CREATE TABLE platform.requests (
    principal text NOT NULL,
    method text NOT NULL,
    request_id uuid NOT NULL,
    -- HMAC of the request under a key that is not in the database.
    fingerprint bytea NOT NULL,
    -- NULL only inside the transaction that carries the request out.
    response bytea,
    created_at timestamptz NOT NULL,
    CONSTRAINT requests_pkey PRIMARY KEY (principal, method, request_id)
)
-- Room for the one update that each row gets: it stays on its page and touches no index.
WITH (fillfactor = 70);

CREATE INDEX requests_created_at ON platform.requests (created_at);
