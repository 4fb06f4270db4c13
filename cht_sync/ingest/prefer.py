"""The `Prefer` request header (RFC 7240), as far as the server honours it."""

from __future__ import annotations

from dataclasses import dataclass

from cht_sync.ingest.errors import ApiError

MERGE = "merge-duplicates"
IGNORE = "ignore-duplicates"
HONOURED = {
    "resolution": (MERGE, IGNORE),
    "missing": ("default", "null"),
    "return": ("minimal", "representation", "headers-only"),
    "count": ("exact",),
    "handling": ("strict", "lenient"),
}
"""Names and values in the order in which `Preference-Applied` lists them."""
PREFERENCES_OF_READS = ("count", "handling")


@dataclass(frozen=True)
class Preferences:
    """What the client prefers; None where it has not said so (or said what is not honoured)."""

    resolution: str | None = None
    missing: str | None = None
    returning: str | None = None
    count: str | None = None
    handling: str | None = None

    @classmethod
    def parse(cls, header: str) -> Preferences:
        """Read the header; the first of several values for a name counts, unknown ones are ignored.

        Raises ApiError PGRST122 for an unknown one under `handling=strict`.
        """
        chosen: dict[str, str] = {}
        unknown = []
        for part in filter(None, (text.strip() for text in header.split(","))):
            name, _, value = part.partition("=")
            if value in HONOURED.get(name, ()):
                chosen.setdefault(name, value)
            else:
                unknown.append(part)
        if unknown and chosen.get("handling") == "strict":
            raise ApiError(
                400,
                "PGRST122",
                "Invalid preferences given with handling=strict",
                details=f"Invalid preferences: {', '.join(unknown)}",
            )
        chosen["returning"] = chosen.pop("return", "")
        return cls(**{name: value for name, value in chosen.items() if value})

    def applied(self, *, reading: bool = False) -> str:
        """The value of `Preference-Applied`; empty where nothing was preferred."""
        given = {
            "resolution": self.resolution,
            "missing": self.missing,
            "return": self.returning,
            "count": self.count,
            "handling": self.handling,
        }
        return ", ".join(
            f"{name}={value}"
            for name, value in given.items()
            if value and (not reading or name in PREFERENCES_OF_READS)
        )
