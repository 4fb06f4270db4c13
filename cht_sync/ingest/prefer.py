"""The `Prefer` request header (RFC 7240), as far as the server honours it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cht_sync.ingest.errors import ApiError

MERGE = "merge-duplicates"
IGNORE = "ignore-duplicates"
HONOURED = {
    "resolution": (MERGE, IGNORE),
    "missing": ("default", "null"),
    "return": ("representation", "minimal", "headers-only"),
    "count": ("exact", "planned", "estimated"),
    "handling": ("strict", "lenient"),
}
"""Names and values in the order in which `Preference-Applied` lists them."""
WITHOUT_EFFECT = ("tx=commit", "tx=rollback")
"""Known, but the end of a transaction is not for clients to choose."""
AFFECTED = "max-affected="
"""Limits PATCH and DELETE only."""
TIMEZONE = "timezone="
OF_READS = ("count", "handling", "timezone")


@dataclass(frozen=True)
class Preferences:
    """What the client prefers; None where it has not said so (or said what is not honoured)."""

    resolution: str | None = None
    missing: str | None = None
    returning: str | None = None
    count: str | None = None
    handling: str | None = None
    timezone: str | None = None
    unknown: tuple[str, ...] = ()

    @classmethod
    def parse(cls, header: str, timezones: Collection[str] = ()) -> Preferences:
        """Read the header; the first of several values for a name counts."""
        chosen: dict[str, str] = {}
        unknown = []
        zone: str | None = None
        for part in (text.strip() for text in header.split(",") if header):
            name, _, value = part.partition("=")
            if value in HONOURED.get(name, ()):
                chosen.setdefault("returning" if name == "return" else name, value)
            elif part.startswith(TIMEZONE):
                zone = value if zone is None else zone
                if zone not in timezones:
                    unknown.append(part)
            elif part not in WITHOUT_EFFECT and not part.startswith(AFFECTED):
                unknown.append(part)
        if zone in timezones:
            chosen["timezone"] = str(zone)
        return cls(unknown=tuple(unknown), **chosen)

    @property
    def exact(self) -> bool:
        """Whether rows are to be counted."""
        return self.count in ("exact", "estimated")

    def check(self) -> None:
        """Raise ApiError PGRST122 for unknown ones under `handling=strict`."""
        if self.unknown and self.handling == "strict":
            raise ApiError(
                400,
                "PGRST122",
                "Invalid preferences given with handling=strict",
                details=f"Invalid preferences: {', '.join(self.unknown)}",
            )

    def applied(self, *, reading: bool = False, resolving: bool = True) -> str:
        """The value of `Preference-Applied`; empty where nothing was preferred."""
        given = {
            "resolution": self.resolution if resolving else None,
            "missing": self.missing,
            "return": self.returning,
            "count": self.count,
            "handling": self.handling,
            "timezone": self.timezone,
        }
        return ", ".join(
            f"{name}={value}" for name, value in given.items() if value and (not reading or name in OF_READS)
        )
