CREATE TABLE offers (
    id uuid PRIMARY KEY,
    organisation_id uuid NOT NULL,
    title text NOT NULL,
    description text NOT NULL,
    kind text NOT NULL,
    area text NOT NULL,
    price_amount_minor bigint NOT NULL,
    price_currency text NOT NULL,
    state text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Set by the first publication and never taken away: what everybody may see by id.
    published_at timestamptz,
    -- Counts the events of the offer; raised by the UPDATE that makes one true.
    version bigint NOT NULL,
    -- The place of the offer in "newest first".
    listed_at timestamptz NOT NULL GENERATED ALWAYS AS (coalesce(published_at, created_at)) STORED,
    search tsvector NOT NULL GENERATED ALWAYS AS (search_vector(title, description)) STORED,

    CONSTRAINT offers_title_check CHECK (char_length(title) BETWEEN 1 AND 120),
    CONSTRAINT offers_description_check CHECK (char_length(description) <= 4000),
    CONSTRAINT offers_kind_check CHECK (kind IN ('crew', 'storage', 'broadband', 'cleaning')),
    CONSTRAINT offers_area_check CHECK (area ~ '^[a-z0-9-]{2,64}$'),
    CONSTRAINT offers_price_amount_minor_check CHECK (price_amount_minor BETWEEN 0 AND 1000000000),
    CONSTRAINT offers_price_currency_check CHECK (price_currency ~ '^[A-Z]{3}$'),
    CONSTRAINT offers_state_check CHECK (state IN ('draft', 'published', 'retired')),
    CONSTRAINT offers_state_published_at_check CHECK (
        CASE state
            WHEN 'draft' THEN published_at IS NULL
            WHEN 'published' THEN published_at IS NOT NULL
            ELSE true
        END
    ),
    CONSTRAINT offers_version_check CHECK (version >= 0)
);

-- Each order of the public list walks one of these from where the last page ended.
CREATE INDEX offers_newest ON offers (listed_at, id) WHERE state = 'published';
CREATE INDEX offers_area_newest ON offers (area, listed_at, id) WHERE state = 'published';
CREATE INDEX offers_price ON offers (price_currency, price_amount_minor, id) WHERE state = 'published';
CREATE INDEX offers_area_price ON offers (area, price_currency, price_amount_minor, id) WHERE state = 'published';
-- A business's own offers, in any state.
CREATE INDEX offers_organisation ON offers (organisation_id, listed_at, id);
CREATE INDEX offers_search ON offers USING gin (search);
