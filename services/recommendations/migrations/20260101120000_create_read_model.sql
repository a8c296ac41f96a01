-- What was heard of offers, the latest version of each.
CREATE TABLE offers (
    id uuid PRIMARY KEY,
    -- NULL if nothing was heard but that the offer is retired.
    area text,
    published boolean NOT NULL,
    -- Of the topic `events.offer`; the row is never replaced by an older one.
    version bigint NOT NULL,

    CONSTRAINT offers_area_published_check CHECK (NOT published OR area IS NOT NULL),
    CONSTRAINT offers_version_check CHECK (version >= 0)
);

CREATE INDEX offers_area ON offers (area) WHERE published;

-- What was heard of their votes. A table of its own, and without a foreign key: the two topics
-- have no order between them, so votes may be heard of before their offer, and events of both may
-- be handled at once without waiting for each other's rows.
CREATE TABLE tallies (
    offer_id uuid PRIMARY KEY,
    up bigint NOT NULL,
    down bigint NOT NULL,
    -- Of the topic `events.vote`; the row is never replaced by an older one.
    version bigint NOT NULL,

    CONSTRAINT tallies_up_check CHECK (up >= 0),
    CONSTRAINT tallies_down_check CHECK (down >= 0),
    CONSTRAINT tallies_version_check CHECK (version >= 0)
)
-- Every vote is an update; none touches an index.
WITH (fillfactor = 80);

-- Each time that the tables above were brought in line with what the owner of the offers lists.
CREATE TABLE rebuilds (
    finished_at timestamptz PRIMARY KEY
);
