-- Keys are published, then sign, then retire; a retired one stays published while its tokens live.
CREATE TABLE signing_keys (
    -- RFC 7638 thumbprint of the public key.
    kid text CONSTRAINT signing_keys_pkey PRIMARY KEY,
    algorithm text NOT NULL CONSTRAINT signing_keys_algorithm_check CHECK (algorithm IN ('RS256')),
    state text NOT NULL
        CONSTRAINT signing_keys_state_check CHECK (state IN ('published', 'signing', 'retired')),
    -- PKCS #8, sealed with the service's own key.
    private_key text NOT NULL,
    -- As it stands in the key set.
    public_jwk jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    signing_at timestamptz,
    retired_at timestamptz
);

CREATE UNIQUE INDEX signing_keys_signing_key ON signing_keys (state) WHERE state = 'signing';
