#!/bin/bash
# Does what the official image's does: writes the administrator into a file that the server reads, and
# gives up being root.
set -euo pipefail

if [ "${1:-}" = /opt/couchdb/bin/couchdb ]; then
  if [ -z "${COUCHDB_USER:-}" ] || [ -z "${COUCHDB_PASSWORD:-}" ]; then
    echo "ERROR: CouchDB 3.0+ will no longer run in \"Admin Party\" mode: set COUCHDB_USER and COUCHDB_PASSWORD." >&2
    exit 1
  fi
  touch /opt/couchdb/etc/local.d/docker.ini
  printf '\n[admins]\n%s = %s\n' "$COUCHDB_USER" "$COUCHDB_PASSWORD" >> /opt/couchdb/etc/local.d/docker.ini
  chmod 600 /opt/couchdb/etc/local.d/docker.ini
  if [ "$(id -u)" -eq 0 ]; then
    chown -R couchdb:couchdb /opt/couchdb/data /opt/couchdb/etc/local.d
    exec setpriv --reuid=couchdb --regid=couchdb --clear-groups "$@"
  fi
fi
exec "$@"
