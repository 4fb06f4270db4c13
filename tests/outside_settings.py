"""Settings of an installation beside somebody else's CouchDB and PostgreSQL; nobody answers there."""

from __future__ import annotations

OUTSIDE = {
    "COUCHDB_HOST": "couchdb.example.org",
    "COUCHDB_PORT": "443",
    "COUCHDB_SECURE": "true",
    "COUCHDB_USER": "reader",
    "COUCHDB_DBS": "medic medic-sentinel",
    "POSTGRES_HOST": "postgres.example.org",
    "REDACT_HASH_FIELDS": "patient_id",
}
