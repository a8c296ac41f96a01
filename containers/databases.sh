#!/bin/bash
# One database per service, with a role that owns it and one that serves from it; what is there already stays.
# The owner's migrations grant the serving role what it needs, table by table.
set -euo pipefail

for database in $DATABASES; do
    IFS=: read -r name password owner_password <<<"$database"
    psql --username "${POSTGRES_USER:-postgres}" --no-psqlrc --quiet -v ON_ERROR_STOP=1 \
        -v name="$name" -v owner="${name}_owner" -v password="$password" -v owner_password="$owner_password" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', role) FROM unnest(ARRAY[:'name', :'owner']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec
ALTER ROLE :"name" PASSWORD :'password';
ALTER ROLE :"owner" PASSWORD :'owner_password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"name" TO :"name";
SQL
done
