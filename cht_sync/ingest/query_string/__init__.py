"""The query string, in PostgREST's grammar. Read `parameters.py` first."""
