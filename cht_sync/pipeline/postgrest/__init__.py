"""Writing through PostgREST: what its answers mean, and the position that travels with the data."""
