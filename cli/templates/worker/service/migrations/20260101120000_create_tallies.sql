-- What was last heard of the votes on an offer.
CREATE TABLE tallies (
    offer_id uuid PRIMARY KEY,
    up bigint NOT NULL,
    down bigint NOT NULL,
    -- Of the topic `events.vote`; the row is never replaced by an older one.
    version bigint NOT NULL,

    CONSTRAINT tallies_up_check CHECK (up >= 0),
    CONSTRAINT tallies_down_check CHECK (down >= 0),
    CONSTRAINT tallies_version_check CHECK (version >= 1)
)
-- Every vote is an update; none touches an index.
WITH (fillfactor = 80);
