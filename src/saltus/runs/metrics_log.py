"""The metrics log: append-only blocks, each chained to the one before by sha256.

A block on disk, all integers little-endian:

    "SLT1"                      4 bytes
    header length               uint32
    payload length              uint64
    header                      JSON: {"columns": [{"name", "dtype", "count", "shape"}, …]}
    payload                     per column: steps int64 [count], values dtype [count, *shape]
    digest                      sha256(previous block's digest + everything above), 32 bytes

The first block's "previous digest" is the shard's genesis. The bytes are a pure function of the
recorded values and of where the blocks end: no clock, no order of arrival.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from saltus.runs.files import canonical

MAGIC = b"SLT1"
_HEAD = struct.Struct("<4sIQ")
_DIGEST = 32


@dataclass(frozen=True)
class Column:
    """Some rows of one metric: steps [n], values [n, members, *shape]."""

    name: str
    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Block:
    """One verified block: its columns, the byte after its last, its digest in hex."""

    columns: list[Column]
    end: int
    digest: str


@dataclass(frozen=True)
class Log:
    """The valid prefix of a log. `damage` says where and why reading stopped, or is None.

    `torn` tells damage that a crash leaves (the last block is incomplete) from any other.
    """

    blocks: list[Block]
    genesis: str
    damage: str | None
    torn: bool

    @property
    def end(self) -> int:
        """The length of the valid prefix in bytes."""
        return self.blocks[-1].end if self.blocks else 0

    @property
    def digest(self) -> str:
        """The digest that a next block would be chained to."""
        return self.blocks[-1].digest if self.blocks else self.genesis

    def boundaries(self) -> dict[int, str]:
        """Byte length → digest, for every point at which a block ends (and 0)."""
        return {0: self.genesis, **{block.end: block.digest for block in self.blocks}}


def encode_block(columns: list[Column], parent: str) -> tuple[bytes, str]:
    """(the bytes of a block that follows the digest `parent`, its own digest), digests in hex.

    Values must be float32, float64 or int64.
    """
    headers: list[dict[str, Any]] = []
    payload: list[bytes] = []
    for column in sorted(columns, key=lambda column: column.name):
        values = np.asarray(column.values, order="C")
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        headers.append(
            {
                "name": column.name,
                "dtype": values.dtype.str,
                "count": len(column.steps),
                "shape": list(values.shape[1:]),
            }
        )
        payload += [np.asarray(column.steps).astype("<i8").tobytes(), values.tobytes()]
    header = canonical({"columns": headers})
    body = b"".join(payload)
    frame = _HEAD.pack(MAGIC, len(header), len(body)) + header + body
    digest = hashlib.sha256(bytes.fromhex(parent) + frame).digest()
    return frame + digest, digest.hex()


def read_log(data: bytes, genesis: str) -> Log:
    """Every block of `data` up to the first that is torn or does not match its digest."""
    blocks: list[Block] = []
    position, parent = 0, bytes.fromhex(genesis)
    damage, torn = None, False
    while position < len(data):
        rest = len(data) - position
        magic = data[position : position + len(MAGIC)]
        if magic != MAGIC[: len(magic)]:
            damage = f"no block begins at byte {position}"
            break
        header_length, payload_length = 0, 0
        if rest >= _HEAD.size:
            _, header_length, payload_length = _HEAD.unpack_from(data, position)
        length = _HEAD.size + header_length + payload_length + _DIGEST
        if rest < _HEAD.size or rest < length:
            damage, torn = f"the block at byte {position} is incomplete", True
            break
        frame = data[position : position + length - _DIGEST]
        digest = hashlib.sha256(parent + frame).digest()
        if digest != data[position + length - _DIGEST : position + length]:
            damage = f"the block at byte {position} does not match its digest"
            break
        try:
            columns = _decode(frame, header_length)
        except (ValueError, KeyError, TypeError):
            damage = f"the block at byte {position} is in a format that is not known"
            break
        position, parent = position + length, digest
        blocks.append(Block(columns, position, digest.hex()))
    return Log(blocks, genesis, damage, torn)


def _decode(frame: bytes, header_length: int) -> list[Column]:
    offset = _HEAD.size + header_length
    columns: list[Column] = []
    for header in json.loads(frame[_HEAD.size : offset])["columns"]:
        dtype, count, shape = np.dtype(header["dtype"]), header["count"], tuple(header["shape"])
        steps = np.frombuffer(frame, "<i8", count, offset)
        offset += steps.nbytes
        size = count * int(np.prod(shape, dtype=np.int64))
        values = np.frombuffer(frame, dtype, size, offset).reshape(count, *shape)
        offset += values.nbytes
        columns.append(Column(header["name"], steps, values))
    return columns
