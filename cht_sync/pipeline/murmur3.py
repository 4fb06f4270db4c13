"""MurmurHash3, a fast hash that is no secret-keeper, as the filter fingerprint offers it.

Source: the algorithm by Austin Appleby (smhasher, MurmurHash3_x86_32 and MurmurHash3_x64_128), public domain.
"""

from __future__ import annotations

import struct

_32 = 0xFFFFFFFF
_64 = 0xFFFFFFFFFFFFFFFF


def hash_32(data: bytes, seed: int = 0) -> int:
    """Return the 32-bit hash."""
    state = seed
    whole = len(data) // 4 * 4
    for (block,) in struct.iter_unpack("<I", data[:whole]):
        state = _rotated(state ^ _mixed_32(block), 13, 32) * 5 + 0xE6546B64 & _32
    state ^= _mixed_32(int.from_bytes(data[whole:], "little")) ^ len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & _32
    state = (state ^ state >> 13) * 0xC2B2AE35 & _32
    return state ^ state >> 16


def hash_128(data: bytes, seed: int = 0) -> bytes:
    """Return the 128-bit hash (of 64-bit machines): two integers, little end first."""
    first = second = seed
    whole = len(data) // 16 * 16
    for low, high in struct.iter_unpack("<QQ", data[:whole]):
        first = _rotated(first ^ _mixed_low(low), 27, 64) + second & _64
        first = first * 5 + 0x52DCE729 & _64
        second = _rotated(second ^ _mixed_high(high), 31, 64) + first & _64
        second = second * 5 + 0x38495AB5 & _64
    low, high = struct.unpack("<QQ", data[whole:].ljust(16, b"\0"))
    first ^= _mixed_low(low) ^ len(data)
    second ^= _mixed_high(high) ^ len(data)
    first = first + second & _64
    second = first + second & _64
    first, second = _finished_64(first), _finished_64(second)
    first = first + second & _64
    return struct.pack("<QQ", first, first + second & _64)


def _rotated(value: int, bits: int, width: int) -> int:
    return (value << bits | value >> width - bits) & (1 << width) - 1


def _mixed_32(block: int) -> int:
    return _rotated(block * 0xCC9E2D51 & _32, 15, 32) * 0x1B873593 & _32


def _mixed_low(block: int) -> int:
    return _rotated(block * 0x87C37B91114253D5 & _64, 31, 64) * 0x4CF5AD432745937F & _64


def _mixed_high(block: int) -> int:
    return _rotated(block * 0x4CF5AD432745937F & _64, 33, 64) * 0x87C37B91114253D5 & _64


def _finished_64(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _64
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _64
    return value ^ value >> 33
