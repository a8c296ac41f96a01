-- The count of an offer's votes, changed by the statement that changes a vote. A row of its own,
-- made with the offer: a vote then never waits for a change of the offer's text, nor the reverse.
CREATE TABLE tallies (
    offer_id uuid PRIMARY KEY,
    up bigint NOT NULL DEFAULT 0,
    down bigint NOT NULL DEFAULT 0,
    -- Counts the changes of the tally, and so the events of its votes.
    version bigint NOT NULL DEFAULT 0,

    -- No CHECK (up >= 0): Postgres checks the row that an UPDATE makes of the one its snapshot saw
    -- before it finds that a newer one is there, and so refuses right changes when votes race.
    CONSTRAINT tallies_offer_id_fkey FOREIGN KEY (offer_id) REFERENCES offers (id)
)
-- Hot rows: room on the page for the next version, so that no index is touched.
WITH (fillfactor = 50);

CREATE TABLE votes (
    offer_id uuid NOT NULL,
    user_id uuid NOT NULL,
    value text NOT NULL,
    -- The value before the last change, null after the first: how an upsert tells what it replaced.
    previous text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,

    CONSTRAINT votes_offer_id_user_id_key PRIMARY KEY (offer_id, user_id),
    CONSTRAINT votes_offer_id_fkey FOREIGN KEY (offer_id) REFERENCES offers (id),
    CONSTRAINT votes_value_check CHECK (value IN ('up', 'down')),
    CONSTRAINT votes_previous_check CHECK (previous IN ('up', 'down') AND previous <> value)
);
