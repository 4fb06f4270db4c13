"""What is refused as a whole is sent in ever smaller parts, until each row is stored or refused alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from cht_sync.errors import DeliveryError, DocumentRefused, InternalFailure, StatementTimeout

PARTS = 10
"""Into so many a refused batch is split: one bad document of a thousand is found by thirty requests, a
thousand bad ones by eleven hundred."""
LARGE = 16 << 20
"""Bytes of a row from which on PostgreSQL's failure inside (XX000) is blamed on it: seventeen million numbers
make it ask for more memory than it allows itself. Of a smaller row it says that something is broken."""

Item = TypeVar("Item")


def blaming(count: int, size: int) -> tuple[type[DeliveryError], ...]:
    """The errors that are to be blamed on so many rows, or so many bytes, instead of being waited out."""
    if count > 1:
        return DocumentRefused, StatementTimeout, InternalFailure
    if count and size >= LARGE:
        return DocumentRefused, InternalFailure
    return (DocumentRefused,) if count else ()


def send_in_parts(
    items: Sequence[Item],
    send: Callable[[Sequence[Item], bool], DeliveryError | None],
    remedy: Callable[[Sequence[Item], DeliveryError], Sequence[Item] | None],
) -> None:
    """Send all items in their order.

    `send` returns why a part is refused, and is told whether it is the last one, which may then be empty.
    `remedy` returns what to send instead of a refused part; None where it is to be split, for which it needs
    more than one item.
    """
    parts = [items]
    while parts:
        part = parts.pop()
        if parts and not part:
            continue
        refusal = send(part, not parts)
        if refusal is None:
            continue
        other = remedy(part, refusal)
        parts += _split(part, refusal) if other is None else [other]


def _split(part: Sequence[Item], refusal: DeliveryError) -> list[Sequence[Item]]:
    """The parts, the first one last."""
    size = max(1, len(part) // (PARTS if isinstance(refusal, DocumentRefused) else 2))
    return [part[at : at + size] for at in range(0, len(part), size)][::-1]
