-- How far a consumer is with a key of a topic.
CREATE TABLE platform.inbox (
    consumer text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    -- The last version that took effect; 0 while the first one is parked.
    version bigint NOT NULL,
    -- Whether events of the key are parked; later ones then park behind them.
    parked boolean NOT NULL DEFAULT false,
    CONSTRAINT inbox_pkey PRIMARY KEY (consumer, topic, key),
    CONSTRAINT inbox_version_check CHECK (version >= 0)
)
-- Room for updates on the same page; they touch no index.
WITH (fillfactor = 80);

-- Events that did not take effect, with the reason.
CREATE TABLE platform.parked (
    id uuid NOT NULL,
    consumer text NOT NULL,
    topic text NOT NULL,
    -- As the message has it; empty where it has none that can be read.
    key text NOT NULL,
    -- NULL for a message that has no place in the order of its key.
    version bigint,
    type text,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    headers jsonb NOT NULL,
    payload bytea NOT NULL,
    cause text NOT NULL,
    detail text NOT NULL,
    -- Given up by an operator; it goes as soon as it is the first of its key.
    dropped boolean NOT NULL DEFAULT false,
    parked_at timestamptz NOT NULL,
    CONSTRAINT parked_pkey PRIMARY KEY (id),
    CONSTRAINT parked_consumer_topic_key_version_key UNIQUE (consumer, topic, key, version),
    CONSTRAINT parked_cause_check CHECK (
        cause IN ('failed', 'behind', 'hole', 'undecodable', 'unknown_type', 'wrong_source', 'malformed')
    )
);

-- A message without a place is known by where it lies in the log.
CREATE UNIQUE INDEX parked_consumer_topic_partition_offset_key
    ON platform.parked (consumer, topic, partition, "offset")
    WHERE version IS NULL;
