CREATE TABLE orders (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL,
    item text NOT NULL,
    placed_at timestamptz NOT NULL
);

-- What was heard of orders: how many each item has.
CREATE TABLE items (
    item text PRIMARY KEY,
    orders bigint NOT NULL
);
