-- Words of a text as search compares them: lower case, without accents, split at all that is
-- neither letter nor digit. One function for both sides, and immutable, so that a generated
-- column may use it; the extension `unaccent` is neither, and only a superuser installs it.
-- The collation is named so that the database's own locale decides nothing.
CREATE FUNCTION search_words(input text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN btrim(regexp_replace(
    replace(replace(replace(
        translate(
            regexp_replace(lower(normalize(input, NFKD) COLLATE "und-x-icu"), '[\u0300-\u036f]+', '', 'g'),
            'øłđħıðŧ', 'oldhidt'),
        'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'),
    '[^[:alnum:]]+', ' ', 'g'));

-- Every word as written, for beginnings of words and other languages, and its English stem:
-- stems of the title weigh A and those of the description C, words as written B and D.
CREATE FUNCTION search_vector(title text, description text) RETURNS tsvector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN setweight(to_tsvector('simple', search_words(title)), 'B')
    || setweight(to_tsvector('english', search_words(title)), 'A')
    || setweight(to_tsvector('simple', search_words(description)), 'D')
    || setweight(to_tsvector('english', search_words(description)), 'C');

-- How well a vector answers a query; an integer, because a page token must name it exactly.
-- Stems decide, title before description; that a word is written as typed adds a little.
CREATE FUNCTION search_rank(vector tsvector, query tsquery) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (1000000 * ts_rank('{0.02, 0.2, 0.1, 1}', vector, query))::bigint;

-- What a person typed as a query: all words, each as written or by its stem, the last one also
-- as a beginning. English stop words count only where there is nothing else. No input is an
-- error: only letters and digits reach the parser, and no word is longer than it takes.
-- Null, which finds nothing, where there is no word at all.
CREATE FUNCTION search_query(input text) RETURNS tsquery
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    WITH typed AS (
        SELECT left(word, 100) AS word, place, ts_lexize('english_stem', left(word, 100)) = '{}' AS stop
        FROM string_to_table(search_words(input), ' ') WITH ORDINALITY AS split (word, place)
        WHERE word <> ''
    ),
    kept AS (
        SELECT word, place, stop, row_number() OVER (ORDER BY place DESC) = 1 AS last
        FROM typed
        WHERE NOT stop OR (SELECT bool_and(stop) FROM typed)
    ),
    matched AS (
        SELECT place, CASE
            -- The same lexeme twice, once as a beginning, would rank as if it were not there.
            WHEN stop OR to_tsquery('english', word) = to_tsquery('simple', word)
            THEN to_tsquery('simple', typed)
            ELSE to_tsquery('simple', typed) || to_tsquery('english', word)
        END AS one
        FROM (SELECT place, word, stop, CASE WHEN last THEN word || ':*' ELSE word END AS typed FROM kept) AS ended
    )
    SELECT string_agg(format('(%s)', one), ' & ' ORDER BY place)::tsquery
    FROM matched
    WHERE numnode(one) > 0;
END;
