-- What events are said about; the version of the last one.
CREATE TABLE things (
    thing_id text NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT things_pkey PRIMARY KEY (thing_id),
    CONSTRAINT things_version_check CHECK (version >= 0)
)
-- Room for updates on the same page.
WITH (fillfactor = 50);

-- What events have led to; no constraint, so that a second effect shows.
CREATE TABLE effects (
    number bigint GENERATED ALWAYS AS IDENTITY,
    thing_id text NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT effects_pkey PRIMARY KEY (number)
);
