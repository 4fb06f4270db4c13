"""Monitoring: what is counted while pipelines run, and the HTTP API that shows it.

`metrics` is all that the hot path sees; nothing else of this package is imported by the engine's parts.
"""
