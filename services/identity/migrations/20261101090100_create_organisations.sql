CREATE TABLE organisations (
    id uuid CONSTRAINT organisations_pkey PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1
);

CREATE TABLE memberships (
    organisation_id uuid NOT NULL
        CONSTRAINT memberships_organisation_id_fkey REFERENCES organisations (id) ON DELETE CASCADE,
    user_id uuid NOT NULL
        CONSTRAINT memberships_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    role text NOT NULL CONSTRAINT memberships_role_check CHECK (role IN ('member', 'manager', 'owner')),
    created_at timestamptz NOT NULL,
    CONSTRAINT memberships_pkey PRIMARY KEY (organisation_id, user_id)
);

-- For the pages of ListMembers, and for whom a user may see and act for.
CREATE INDEX memberships_organisation_id_created_at_idx
    ON memberships (organisation_id, created_at, user_id);
CREATE INDEX memberships_user_id_created_at_idx
    ON memberships (user_id, created_at, organisation_id);
