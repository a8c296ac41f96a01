-- The choice that was made for an area and a day in UTC.
CREATE TABLE offers_of_the_day (
    area text NOT NULL,
    day date NOT NULL,
    offer_id uuid NOT NULL,
    chosen_at timestamptz NOT NULL,

    CONSTRAINT offers_of_the_day_pkey PRIMARY KEY (area, day)
);
