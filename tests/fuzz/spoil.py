"""Files with bytes changed, as accidents change them and as somebody who means harm would."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

_HEADER, _BLOCK, _N_HEADERS = 4096, 1 << 18, 3
_MIX, _START = np.uint64(0xBF58476D1CE4E5B9), np.uint64(5381)


def blocks(raw: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Offset and length of each block of a DuckDB file: its first 8 bytes are the rest's checksum."""
    for k in range(_N_HEADERS):
        yield k * _HEADER, _HEADER
    for offset in range(_N_HEADERS * _HEADER, len(raw) - _BLOCK + 1, _BLOCK):
        yield offset, _BLOCK


def checksum(part: bytes) -> int:
    """DuckDB's own checksum of a block, as its file format has it."""
    words = np.frombuffer(part, dtype=np.uint64)
    with np.errstate(over="ignore"):
        return int(np.bitwise_xor.reduce(words * _MIX) ^ _START)


def resealed(raw: bytes) -> bytes:
    """The file with every block's checksum made right again, so that what was changed is believed."""
    out = bytearray(raw)
    for offset, size in blocks(out):
        out[offset : offset + 8] = checksum(bytes(out[offset + 8 : offset + size])).to_bytes(
            8, "little"
        )
    return bytes(out)


def spoiled(raw: bytes, seed: int) -> bytes:
    """One to 16 changes where the file is not empty: bits, bytes, runs, numbers made extreme, parts
    moved, doubled or cut off."""
    rng = random.Random(seed)
    out = bytearray(raw)
    filled = np.flatnonzero(np.frombuffer(raw, dtype=np.uint8))
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not out:
            break
        at = min(int(filled[rng.randrange(len(filled))]) if len(filled) else 0, len(out) - 1)
        width = rng.choice((1, 2, 4, 8, 32))
        end = min(len(out), at + width)
        way = rng.random()
        if way < 0.35:
            out[at] ^= 1 << rng.randrange(8)
        elif way < 0.55:
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif way < 0.85:
            fill = rng.choice((b"\xff", b"\0", b"\x7f"))
            out[at:end] = fill * (end - at) if rng.random() < 0.5 else rng.randbytes(end - at)
        elif way < 0.93:
            source = rng.randrange(len(out))
            out[at:end] = (out[source : source + end - at] + bytes(width))[: end - at]
        elif way < 0.97:
            del out[at:end]
        else:
            del out[rng.randrange(len(out)) :]
    return bytes(out)
