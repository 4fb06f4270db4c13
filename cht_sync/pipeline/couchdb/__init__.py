"""Reading CouchDB's changes feed: requests, lines, rows, and the hand-over to the pipeline."""
