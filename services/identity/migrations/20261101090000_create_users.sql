CREATE TABLE users (
    id uuid CONSTRAINT users_pkey PRIMARY KEY,
    -- As typed; compared by `email_key` (NFKC, lower case).
    email text NOT NULL,
    email_key text NOT NULL CONSTRAINT users_email_key_key UNIQUE,
    display_name text NOT NULL,
    kind text NOT NULL CONSTRAINT users_kind_check CHECK (kind IN ('mover', 'client', 'business')),
    created_at timestamptz NOT NULL,
    -- Counts what happens to the user, one by one: the version of topic `events.user`.
    version bigint NOT NULL DEFAULT 1,
    -- The claim `ver`: raised by whatever lessens rights.
    access_version bigint NOT NULL DEFAULT 1
);

-- Apart from users, because an account may also prove itself elsewhere.
CREATE TABLE passwords (
    user_id uuid CONSTRAINT passwords_pkey PRIMARY KEY
        CONSTRAINT passwords_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    -- A PHC string, which names its algorithm and parameters.
    hash text NOT NULL,
    changed_at timestamptz NOT NULL
);

-- Global roles beside that of the kind.
CREATE TABLE user_roles (
    user_id uuid NOT NULL CONSTRAINT user_roles_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    role text NOT NULL CONSTRAINT user_roles_role_check CHECK (role IN ('operator')),
    granted_at timestamptz NOT NULL,
    CONSTRAINT user_roles_pkey PRIMARY KEY (user_id, role)
);
