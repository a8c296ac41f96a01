CREATE TABLE @entities@ (
    id uuid PRIMARY KEY,
    owner_id uuid NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL,
@if events@
    -- Counts the events of the row; raised by the UPDATE that makes one true.
@end@
@if plain@
    -- Raised by each change.
@end@
    version bigint NOT NULL,

    CONSTRAINT @entities@_name_check CHECK (char_length(name) BETWEEN 1 AND 120),
    CONSTRAINT @entities@_version_check CHECK (version >= 1)
);

-- The list of an owner walks this from its end: ids are in the order in which they were made.
CREATE INDEX @entities@_owner ON @entities@ (owner_id, id);
