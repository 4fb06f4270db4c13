"""The dbt loop: turns the documents in PostgreSQL into tables."""
