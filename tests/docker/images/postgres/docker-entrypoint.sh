#!/bin/bash
# Makes the cluster at the first start, as the official image does: owner and database of POSTGRES_USER,
# POSTGRES_PASSWORD and POSTGRES_DB, or of the files that these with _FILE name.
set -euo pipefail

setting() {
  local file="$1_FILE"
  if [ -n "${!1:-}" ] && [ -n "${!file:-}" ]; then
    echo "error: both $1 and $file are set (but are exclusive)" >&2
    return 1
  fi
  if [ -n "${!file:-}" ]; then cat "${!file}"; else echo "${!1:-$2}"; fi
}

case "${1:-}" in
  -* | "") set -- postgres "$@" ;;
esac
if [ "$1" != postgres ]; then
  exec "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  user="$(setting POSTGRES_USER postgres)"
  password="$(setting POSTGRES_PASSWORD "")"
  database="$(setting POSTGRES_DB "$user")"
  if [ -z "$password" ]; then
    echo "Error: Database is uninitialized and superuser password is not specified." >&2
    exit 1
  fi
  read -ra more <<< "${POSTGRES_INITDB_ARGS:-}"
  initdb --username="$user" --pwfile=<(echo "$password") --auth-host=scram-sha-256 --auth-local=trust --no-sync \
    "${more[@]}"
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
  # Nobody else may connect before everything is there.
  pg_ctl --wait --options="-c listen_addresses='' -p ${PGPORT:-5432}" start
  if [ "$database" != postgres ]; then
    psql --quiet --no-psqlrc --username="$user" --dbname=postgres --set=ON_ERROR_STOP=1 --set=name="$database" \
      <<< 'create database :"name";'
  fi
  pg_ctl --wait --mode=fast stop
  echo "PostgreSQL init process complete; ready for start up."
fi

unset POSTGRES_PASSWORD
exec "$@"
