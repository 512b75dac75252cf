"""Where the tensors of a `.pt` or `.bin` file lie, through torch's restricted reader alone.

Read under a fake mode, the file gives shapes, types and offsets and no numbers, so that a
checkpoint of any size is listed in milliseconds and read like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from saltus.errors import SaltusError
from saltus.trajectories.tensors import Damage, Entry

# Where training loops keep the weights beside the optimiser's state.
NESTS = ("state_dict", "model_state_dict", "model", "module", "net", "weights")
STEPS = ("global_step", "step", "iteration", "steps")
FOREIGN = ("Unsupported global", "Unsupported class", "Unsupported operand", "GLOBAL ")


def read_pickled(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The floating-point tensors of a file by name, and the step that it states, if any.

    The weights are the file's mapping, or what lies in it under one of NESTS. Tensors that share
    their numbers (tied weights) are listed once. Raises Damage for a file that is torn or altered,
    SaltusError for a pickle of more than weights and for the format of before torch 1.6.
    """
    content = _load(path)
    if not isinstance(content, Mapping):
        raise SaltusError(f"{path}: holds a {type(content).__name__}; allowed: a state dict")
    step = next((content[key] for key in STEPS if type(content.get(key)) is int), None)
    weights = _weights(content)
    if not weights:
        raise SaltusError(f"{path}: holds no floating-point weights")
    entries: dict[str, Entry] = {}
    seen: set[tuple[int, tuple[int, ...], torch.dtype]] = set()
    size = path.stat().st_size
    for name, tensor in weights.items():
        entry = _entry(path, name, tensor)
        if entry.offset + entry.nbytes > size:
            raise Damage("truncated", f"{path.name}: {name} lies beyond its end")
        key = (entry.offset, entry.shape, entry.dtype)
        if key not in seen:
            entries[name] = entry
            seen.add(key)
    return entries, {} if step is None else {"step": str(step)}


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            begins = file.read(4)
    except OSError as error:
        raise SaltusError(f"cannot read {path}: {error.strerror}") from error
    if len(begins) < 4:
        raise Damage("truncated", f"{path.name}: it has {len(begins)} bytes")
    zipped, pickled = begins == b"PK\3\4", begins[0] == 0x80
    if not zipped and not pickled:
        raise Damage("corrupt", f"{path.name}: it begins like no file of torch.save")
    try:
        with FakeTensorMode():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:  # it was opened above: torch looks for a table before the file's first byte
        raise Damage("truncated", f"{path.name}: its end is missing") from None
    except UnpicklingError as error:
        if any(word in str(error) for word in FOREIGN):
            raise SaltusError(
                f"{path}: a pickle of more than weights, which is not read; allowed: tensors only "
                "(torch.save of a state dict), or .safetensors"
            ) from None
        raise Damage("corrupt", f"{path.name}: torch cannot read it") from None
    except EOFError:
        raise Damage("truncated", f"{path.name}: it ends within its table") from None
    except MemoryError:
        raise
    except Exception as error:  # torch has many kinds, RuntimeError from C++ most of all
        torn = zipped and "central directory" in str(error)
        kind, why = ("truncated", "its end is missing") if torn else ("corrupt", "no checkpoint")
        raise Damage(kind, f"{path.name}: torch cannot read it, {why}") from None
    if not zipped:
        raise SaltusError(
            f"{path}: is of the format of before torch 1.6, which cannot be read in pieces; "
            "allowed: saved again by torch.save, or .safetensors"
        )
    return content


def _weights(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    found = {
        str(name): value
        for name, value in content.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    nested = next((content[key] for key in NESTS if isinstance(content.get(key), Mapping)), None)
    return found if found or nested is None else _weights(nested)


def _entry(path: Path, name: str, tensor: Tensor) -> Entry:
    start = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if start is None or not tensor.is_contiguous():
        raise SaltusError(f"{path}: {name} is not contiguous; allowed: contiguous tensors")
    offset = start + tensor.storage_offset() * tensor.dtype.itemsize
    return Entry(path, offset, tuple(tensor.shape), tensor.dtype)
