"""Faults of every kind, between real parts: what heals by itself, and what stops with one clear error."""
