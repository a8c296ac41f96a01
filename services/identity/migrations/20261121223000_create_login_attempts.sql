-- Failed logins, counted per name, per address, and per both together. The keys are keyed fingerprints:
-- who reads them learns neither. Rows whose failures are all forgotten are deleted.
CREATE TABLE login_failures (
    key bytea CONSTRAINT login_failures_pkey PRIMARY KEY,
    -- The last one.
    failed_at timestamptz NOT NULL,
    -- One minute after `failed_at` for each failure that counts: this is their number as well.
    forgotten_at timestamptz NOT NULL
);

CREATE INDEX login_failures_forgotten_at_idx ON login_failures (forgotten_at);

-- From where a user has logged in; the key is that of name and address together.
CREATE TABLE login_origins (
    key bytea CONSTRAINT login_origins_pkey PRIMARY KEY,
    user_id uuid NOT NULL
        CONSTRAINT login_origins_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    seen_at timestamptz NOT NULL
);

CREATE INDEX login_origins_user_id_seen_at_idx ON login_origins (user_id, seen_at);
CREATE INDEX login_origins_seen_at_idx ON login_origins (seen_at);
