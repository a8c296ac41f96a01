-- One row per family of refresh tokens. The tokens are derived from id and counter: nothing here is secret.
CREATE TABLE sessions (
    id uuid CONSTRAINT sessions_pkey PRIMARY KEY,
    user_id uuid NOT NULL CONSTRAINT sessions_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    -- The organisation acted for.
    organisation_id uuid,
    -- Which refresh token of the family is the current one, and since when.
    counter bigint NOT NULL,
    rotated_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason text CONSTRAINT sessions_end_reason_check CHECK (end_reason IN ('logout', 'reuse', 'password')),
    CONSTRAINT sessions_ended_check CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
    -- Who leaves an organisation stops acting for it at once.
    CONSTRAINT sessions_organisation_id_user_id_fkey FOREIGN KEY (organisation_id, user_id)
        REFERENCES memberships (organisation_id, user_id) ON DELETE SET NULL (organisation_id)
);

CREATE INDEX sessions_user_id_idx ON sessions (user_id, organisation_id);
CREATE INDEX sessions_expires_at_idx ON sessions (expires_at);
