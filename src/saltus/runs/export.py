"""A checkpoint of a run as one safetensors file that says which seeds it holds."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

import numpy as np
import safetensors.numpy

from saltus.errors import SaltusError
from saltus.runs.run import Run


class Export(NamedTuple):
    """Parameters by the model's names, and what is known of them, all of it text.

    The text: `experiment` (its name) and `step`; of a single member `seed` and `overrides`, of a
    stack `seeds` and `overrides`, JSON lists in the order of the members.
    """

    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]

    def encoded(self) -> bytes:
        """The bytes of a safetensors file."""
        return safetensors.numpy.save(self.tensors, self.metadata)

    def digest(self) -> str:
        """SHA-256 of what it says and holds, in hexadecimal digits; equal content, equal digest."""
        found = hashlib.sha256(json.dumps(self.metadata, sort_keys=True).encode())
        for name, value in sorted(self.tensors.items()):
            found.update(f"{name} {value.dtype} {value.shape}".encode())
            found.update(np.ascontiguousarray(value).data)
        return found.hexdigest()


def export(run: Run, step: int | None = None, member: int | None = None) -> Export:
    """One member's parameters at a kept step (None: the last), or the stack of all members'.

    Raises SaltusError where there is no such step or member, or the checkpoint is damaged.
    """
    if member is not None and not 0 <= member < len(run.members):
        raise SaltusError(f"member {member} is not in {run.path}: 0 to {len(run.members) - 1}")
    tensors = run.checkpoint(step)
    reached = run.checkpoints()[-1] if step is None else step
    metadata = {"experiment": str(run.experiment.get("name", run.name)), "step": str(reached)}
    if member is not None:
        own = run.members[member]
        metadata |= {"seed": str(own["seed"]), "overrides": json.dumps(own["overrides"])}
        return Export({name: value[member].copy() for name, value in tensors.items()}, metadata)
    for field, key in (("seeds", "seed"), ("overrides", "overrides")):
        metadata[field] = json.dumps([each[key] for each in run.members])
    return Export(tensors, metadata)
