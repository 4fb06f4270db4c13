"""Which dbt package is run: got from where it is, made ready, kept for times without a network."""

from __future__ import annotations

from cht_sync.transform.package.address import check_address
from cht_sync.transform.package.look import look
from cht_sync.transform.package.store import Package, PackageStore

__all__ = ["Package", "PackageStore", "check_address", "look"]
