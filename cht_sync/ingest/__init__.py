"""An embedded server that speaks the subset of PostgREST that cht-sync uses.

Read `server.py` first (starting and stopping), then `app.py` (one request from top to bottom)
and `tables.py` (reading and writing).
What it answers is held to recordings of the real program by `tests/ingest`.
"""
