-- Published, then signing, then replaced: still published, while its tokens may live. A retired one is gone.
ALTER TABLE signing_keys
    ADD COLUMN replaced_at timestamptz,
    DROP CONSTRAINT signing_keys_state_check,
    ADD CONSTRAINT signing_keys_state_check
        CHECK (state IN ('published', 'signing', 'replaced', 'retired'));

-- One at a time waits for its turn, whoever makes it.
CREATE UNIQUE INDEX signing_keys_published_key ON signing_keys (state) WHERE state = 'published';
