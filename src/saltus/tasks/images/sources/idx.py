"""The idx format: what MNIST and Fashion-MNIST come in, gzipped or not."""

from __future__ import annotations

import gzip
import zlib
from io import BufferedIOBase
from math import prod
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from saltus.errors import SaltusError

GZIP = b"\x1f\x8b"
BYTES = 8  # the code of unsigned bytes, in the third byte of the file


def read_idx(path: Path, dimensions: int) -> UInt8[Tensor, "..."]:
    """The bytes of an idx file with so many dimensions.

    Two zeros, a code for the type, the number of dimensions; each dimension as four bytes, the
    highest first; then the numbers, the last index fastest. Raises SaltusError where a file is
    anything else, in one line that says what.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == GZIP
        # gzip gives bytes as a file does, and checks their sum where they end.
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            return _numbers(path, file, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        cause = getattr(error, "strerror", None) or error
        raise SaltusError(f"{path}: cannot be read: {cause}") from None


def _numbers(path: Path, file: BufferedIOBase, dimensions: int) -> Tensor:
    magic, wanted = file.read(4), bytes([0, 0, BYTES, dimensions])
    if magic != wanted:
        raise SaltusError(
            f"{path}: no idx file of bytes in {dimensions} dimensions: it begins with "
            f"{magic.hex() or 'nothing'}, not with {wanted.hex()}"
        )
    head = file.read(4 * dimensions)
    if len(head) < 4 * dimensions:
        raise SaltusError(f"{path}: ends within its sizes, after {4 + len(head)} bytes")
    shape = [int.from_bytes(head[i : i + 4], "big") for i in range(0, len(head), 4)]
    # In pieces: sizes that a broken file claims are not asked of the memory.
    rest, pieces = prod(shape) + 1, []
    while rest and (piece := file.read(min(rest, 1 << 24))):
        pieces.append(piece)
        rest -= len(piece)
    if rest != 1:
        found = "more" if not rest else f"{prod(shape) + 1 - rest}"
        sizes = " x ".join(map(str, shape))
        raise SaltusError(f"{path}: {sizes} bytes are announced, and {found} follow")
    return torch.frombuffer(bytearray(b"".join(pieces)), dtype=torch.uint8).view(shape)
