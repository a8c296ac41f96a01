-- Open ones: an invitation that is accepted or revoked is gone, and the audit log knows of it.
CREATE TABLE invitations (
    id uuid CONSTRAINT invitations_pkey PRIMARY KEY,
    organisation_id uuid NOT NULL
        CONSTRAINT invitations_organisation_id_fkey REFERENCES organisations (id) ON DELETE CASCADE,
    -- As typed; compared by `email_key` (NFKC, lower case).
    email text NOT NULL,
    email_key text NOT NULL,
    role text NOT NULL CONSTRAINT invitations_role_check CHECK (role IN ('member', 'manager', 'owner')),
    -- SHA-256 of a token with 256 random bits, which needs no slow hash.
    token_hash bytea NOT NULL CONSTRAINT invitations_token_hash_key UNIQUE,
    invited_by uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- Who leaves an organisation invites nobody into it any more.
    CONSTRAINT invitations_organisation_id_invited_by_fkey FOREIGN KEY (organisation_id, invited_by)
        REFERENCES memberships (organisation_id, user_id) ON DELETE CASCADE
);

CREATE INDEX invitations_organisation_id_created_at_idx ON invitations (organisation_id, created_at, id);
CREATE INDEX invitations_organisation_id_invited_by_idx ON invitations (organisation_id, invited_by);
CREATE INDEX invitations_expires_at_idx ON invitations (expires_at);
