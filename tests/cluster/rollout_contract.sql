-- What a version after that takes away, which nobody who serves reads any more.
BEGIN;
SET LOCAL lock_timeout = '10s';
ALTER TABLE offers DROP COLUMN country;
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
VALUES (20990101000100, 'contract', true, '\x00', 0);
COMMIT;
