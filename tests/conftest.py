"""Real services for tests, each in a module of its own."""

pytest_plugins = ["couchdb_fixture", "postgres_fixture"]
