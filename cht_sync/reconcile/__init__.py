"""Comparing PostgreSQL with CouchDB, and mending what differs."""
