-- What the next version of catalog brings: a column that the version which still serves does not know.
BEGIN;
SET LOCAL lock_timeout = '10s';
ALTER TABLE offers ADD COLUMN country text NOT NULL DEFAULT 'DE';
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
VALUES (20990101000000, 'expand', true, '\x00', 0);
COMMIT;
