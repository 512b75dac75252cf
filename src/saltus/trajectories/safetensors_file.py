"""The table of a .safetensors file, checked against the file's size without reading its numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from saltus.errors import SaltusError
from saltus.trajectories.tensors import Damage, Entry

FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
# Not measured, but their bytes count: counters, masks, token ids.
OTHERS = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8}
OTHERS |= {"C64": 8}
LONGEST = 100_000_000  # bytes of a header, the format's own limit


def read_safetensors(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The floating-point tensors of a file by name, in the order of its table, and its metadata.

    The format: eight bytes of length, a JSON table {name: {dtype, shape, data_offsets}}, then the
    tensors side by side without a hole up to the end of the file. Raises Damage for anything else.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or (length <= LONGEST and 8 + length > size):
                raise Damage("truncated", f"{path.name}: {size} bytes end within the header")
            header = file.read(length) if length <= LONGEST else b""
    except OSError as error:
        raise SaltusError(f"cannot read {path}: {error.strerror}") from error
    table = _table(path, header)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise Damage("corrupt", f"{path.name}: its metadata is not a table")
    entries: dict[str, Entry] = {}
    spans: list[tuple[int, int, str]] = []
    for name, said in table.items():
        entry, nbytes, begin = _entry(path, name, said, 8 + length)
        spans.append((begin, begin + nbytes, name))
        if entry is not None:
            entries[name] = entry
    _check_spans(path, spans, size - 8 - length)
    return entries, {str(key): str(value) for key, value in metadata.items()}


def _table(path: Path, header: bytes) -> dict[str, Any]:
    try:
        table = json.loads(header)
    except ValueError:  # also bytes that are no text
        table = None
    if not isinstance(table, dict):
        raise Damage("corrupt", f"{path.name}: its header is not a table in JSON")
    return table


def _entry(path: Path, name: str, said: Any, start: int) -> tuple[Entry | None, int, int]:
    try:
        kind, shape = said["dtype"], tuple(said["shape"])
        begin, end = said["data_offsets"]
        item = FLOATS[kind].itemsize if kind in FLOATS else OTHERS[kind]
        if any(type(each) is not int or each < 0 for each in (*shape, begin, end)):
            raise ValueError
    except (TypeError, KeyError, ValueError):
        raise Damage("corrupt", f"{path.name}: its header does not describe {name}") from None
    nbytes = math.prod(shape) * item
    if end - begin != nbytes:
        why = f"{name} of shape {list(shape)} takes {nbytes} bytes, the header gives {end - begin}"
        raise Damage("corrupt", f"{path.name}: {why}")
    floats = kind in FLOATS
    return Entry(path, start + begin, shape, FLOATS[kind]) if floats else None, nbytes, begin


def _check_spans(path: Path, spans: list[tuple[int, int, str]], there: int) -> None:
    reached = 0
    for begin, end, name in sorted(spans):
        if begin != reached:
            why = f"{name} begins at byte {begin}, the tensor before it ends at {reached}"
            raise Damage("corrupt", f"{path.name}: {why}")
        reached = end
    if reached > there:
        raise Damage("truncated", f"{path.name}: {there} bytes of tensors, {reached} are described")
    if reached < there:
        raise Damage("corrupt", f"{path.name}: {there - reached} bytes behind the last tensor")
