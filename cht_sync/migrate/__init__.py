"""The way over from couch2pg, cht-sync 2 and cht-sync of 2023: their rows, their sequence, their views.

Nothing of the old programs is changed. Rows go from table to table inside of PostgreSQL; what they lack is
then looked up in CouchDB as after a parallel load.
"""
