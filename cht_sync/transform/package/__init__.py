"""Which dbt package is run, and where its files are."""

from __future__ import annotations

from cht_sync.transform.package.located import locate_package
from cht_sync.transform.package.store import Package, PackageStore

__all__ = ["Package", "PackageStore", "locate_package"]
