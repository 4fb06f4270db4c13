"""fingerprint: puts a hash of fields into a field: to find duplicates, or to keep names out of the data.

With a `key` the methods MD5, SHA1, SHA256, SHA384 and SHA512 are keyed (HMAC): without it, whoever knows a
list of names can find out which of them a fingerprint belongs to. A list gives a list of fingerprints; of
several `source` fields the last one that is there wins, unless they are concatenated. Behaviour as of
logstash-filter-fingerprint 3.4; where the original ends the pipeline (an IPV4_NETWORK of what is no address)
the event passes with the tag `_filter_failure`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import unicodedata
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.decorate import Step, decorate_filtered
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.ecs import ECS_CHOICES, ECS_DEFAULT, is_ecs
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.murmur3 import hash_32, hash_128
from cht_sync.pipeline.plugins import FilterOptions, Password, PluginContext, option, register_filter
from cht_sync.pipeline.references import parse_reference
from cht_sync.pipeline.ruby_text import to_s

DIGESTS = ("SHA1", "SHA256", "SHA384", "SHA512", "MD5")
SEED_128 = 2
_PREFIX = re.compile(r"[0-9]{1,3}", re.ASCII)

Hash = Callable[[Any], Any]


def _check_fields(value: tuple[str, ...]) -> None:
    for name in value:
        parse_reference(name)


@dataclass(frozen=True)
class Options(FilterOptions):
    source: tuple[str, ...] = option(
        "string", many=True, default=("message",), check=_check_fields, help="The fields to hash."
    )
    target: str | None = option(
        "string",
        check=parse_reference,
        help="The field for the result: `[event][hash]` where unset, or `fingerprint` by the older names.",
    )
    method: str = option(
        "string",
        default="SHA1",
        choices=(*DIGESTS, "MURMUR3", "MURMUR3_128", "IPV4_NETWORK", "UUID", "PUNCTUATION"),
        help="The hash; or the network of an address, a random UUID, the punctuation of a text.",
    )
    key: Password | None = option(
        "password", help="The key of the keyed hash (HMAC); for IPV4_NETWORK the bits of the network."
    )
    concatenate_sources: bool = option(
        "boolean", default=False, help="Whether to hash all `source` fields together, with their names."
    )
    concatenate_all_fields: bool = option(
        "boolean", default=False, help="Whether to hash all fields of the event together, with their names."
    )
    base64encode: bool = option(
        "boolean", default=False, help="Whether hashes are written in base64, not in hex."
    )
    ecs_compatibility: str = option(
        "string", default=ECS_DEFAULT, choices=ECS_CHOICES, help="Decides what `target` is where it is unset."
    )

    def __post_init__(self) -> None:
        if self.method != "IPV4_NETWORK":
            return
        bits = "" if self.key is None else self.key.value
        if not _PREFIX.fullmatch(bits) or int(bits) > 128:
            raise ValueError('the method IPV4_NETWORK needs the option "key": how many bits the network has')


@register_filter("fingerprint", Options)
def build(options: Options, _context: PluginContext) -> Filter:
    decorate = decorate_filtered(options)
    usual = "[event][hash]" if is_ecs(options.ecs_compatibility) else "fingerprint"
    add = _adder(options, usual if options.target is None else options.target)

    def fingerprint(event: Event) -> Sequence[Event]:
        add(event)
        decorate(event)
        return (event,)

    return fingerprint


def _adder(options: Options, target: str) -> Step:
    if options.method == "UUID":
        return lambda event: event.set(target, str(uuid.uuid4()))
    if options.method == "PUNCTUATION":
        return lambda event: _hash_each(event, sorted(options.source), target, _punctuation)
    compute = _hash_of(options)
    if options.concatenate_all_fields:
        return lambda event: event.set(target, compute(_named(event.fields)))
    if options.concatenate_sources:
        names = sorted(options.source)
        return lambda event: event.set(target, compute(_named({name: event.get(name) for name in names})))
    return lambda event: _hash_each(event, options.source, target, compute)


def _hash_each(event: Event, names: Sequence[str], target: str, compute: Hash) -> None:
    for name in names:
        if event.include(name):
            value = event.get(name)
            items = isinstance(value, list) and compute is not _punctuation
            event.set(
                target,
                [compute(_canonical(item)) for item in value] if items else compute(_canonical(value)),
            )


def _named(fields: Mapping[str, Any]) -> str:
    return "".join(f"|{name}|{to_s(_canonical(fields[name]))}" for name in sorted(fields)) + "|"


def _canonical(value: Any) -> Any:
    """Return maps, their names in order, and lists as one text; anything else as it is."""
    if isinstance(value, RawDocument):
        value = value.decode()
    if isinstance(value, dict):
        return "|".join(f"{name}|{to_s(_canonical(value[name]))}" for name in sorted(value))
    return "|".join(to_s(_canonical(item)) for item in value) if isinstance(value, list) else value


def _hash_of(options: Options) -> Hash:
    key = None if options.key is None else options.key.value
    match options.method:
        case "MURMUR3":
            return _murmur3
        case "MURMUR3_128":
            return lambda value: _written(_murmur3_128(value), in_base64=options.base64encode)
        case "IPV4_NETWORK":
            return lambda value: _network(value, int(key or ""))
    name = options.method.lower()

    def compute(value: Any) -> str:
        data = _bytes(value)
        digest = hashlib.new(name, data).digest() if key is None else hmac.digest(key.encode(), data, name)
        return _written(digest, in_base64=options.base64encode)

    return compute


def _bytes(value: Any) -> bytes:
    return to_s(value).encode(errors="surrogatepass")


def _written(digest: bytes, *, in_base64: bool) -> str:
    return base64.b64encode(digest).decode() if in_base64 else digest.hex()


def _murmur3(value: Any) -> int:
    return hash_32(_integer(value, 64) if _is_integer(value) else _bytes(value))


def _murmur3_128(value: Any) -> bytes:
    if _is_integer(value):
        return hash_128(_integer(value, 32 if -(2**31) <= value < 2**31 else 64), SEED_128)
    return hash_128(_bytes(value), SEED_128)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(value: int, bits: int) -> bytes:
    try:
        return value.to_bytes(bits // 8, "little", signed=value < 0)
    except OverflowError:
        raise ValueError("an integer of more than 64 bits") from None


def _network(value: Any, bits: int) -> str:
    if not isinstance(value, str):
        raise ValueError("not an address")
    address = ipaddress.ip_interface(value).network.network_address
    return str(ipaddress.ip_network((address, bits), strict=False).network_address)


def _punctuation(value: Any) -> str:
    return "".join(character for character in to_s(value) if unicodedata.category(character)[0] in "PS")
