-- Ids only, no personal data. Without foreign keys: entries outlive what they are about.
CREATE TABLE audit_entries (
    id uuid CONSTRAINT audit_entries_pkey PRIMARY KEY,
    created_at timestamptz NOT NULL,
    action text NOT NULL CONSTRAINT audit_entries_action_check CHECK (action IN (
        'login', 'login_failed', 'logout', 'refresh_token_reused', 'password_changed',
        'role_granted', 'role_revoked', 'member_added', 'member_updated', 'member_removed',
        'invitation_created', 'invitation_accepted', 'invitation_revoked',
        'key_published', 'key_signing', 'key_replaced', 'key_retired', 'account_imported'
    )),
    -- Who: a user's id or a service's name; empty for nobody.
    actor_id text NOT NULL,
    actor_kind text NOT NULL,
    -- From which application; empty when none is known.
    client_id text NOT NULL,
    -- Whom.
    user_id uuid,
    organisation_id uuid,
    role text,
    -- What besides: a session, an invitation, a key.
    object_id text,
    trace_id text
);

COMMENT ON TABLE audit_entries IS 'append-only: who did what to whom';

CREATE INDEX audit_entries_created_at_idx ON audit_entries (created_at, id);
CREATE INDEX audit_entries_actor_id_idx ON audit_entries (actor_id, created_at, id);
CREATE INDEX audit_entries_user_id_idx ON audit_entries (user_id, created_at, id);
CREATE INDEX audit_entries_action_idx ON audit_entries (action, created_at, id);

-- The one way in which entries go, since who serves may not delete: as the owner of the table, in small
-- batches, and nothing from the last 90 days, whoever asks.
CREATE FUNCTION delete_audit_entries(before timestamptz, batch bigint) RETURNS bigint
    LANGUAGE sql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (
        DELETE FROM public.audit_entries
        WHERE id IN (
            SELECT id
            FROM public.audit_entries
            WHERE created_at < LEAST(before, now() - interval '90 days')
            ORDER BY created_at
            LIMIT batch
            FOR UPDATE SKIP LOCKED
        )
        RETURNING id
    )
    SELECT count(*) FROM gone
$$;
