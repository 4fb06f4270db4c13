"""Proof that PostgreSQL holds what CouchDB holds, and the mending of what it does not.

`verify` lists both sides and keeps what looks different as candidates on disk; `recheck` decides about
each of them, since a difference may be a change on its way; `repair` writes what remains, beside the
living pipeline; `contents` does so with rows whose revision is right; `resync` is both, on demand;
`letters` is the operator's hand on the dead letters.
"""
