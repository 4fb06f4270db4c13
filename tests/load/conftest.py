"""Worlds whose database is loaded in parallel."""

from __future__ import annotations

from reconcile.conftest import warehouse, world

__all__ = ["warehouse", "world"]
