"""Samples of another task than the experiment's, where the model can take them."""

from __future__ import annotations

from saltus.models.base import Interface
from saltus.tasks.base import Task


def check_other(other: Task, own: Task) -> None:
    """Raise ValueError where a model made for `own` cannot take what `other` gives."""
    given, wanted = other.interface, own.interface
    if (given.vocabulary, given.outputs) != (wanted.vocabulary, wanted.outputs):
        raise ValueError(
            f"task {other.kind} has {given.vocabulary} tokens and {given.outputs} outputs, "
            f"the experiment's {wanted.vocabulary} and {wanted.outputs}"
        )
    if (given.features, given.image) != (wanted.features, wanted.image):
        raise ValueError(
            f"task {other.kind} gives {_inputs(given)}, the experiment's {_inputs(wanted)}"
        )


def _inputs(interface: Interface) -> str:
    if interface.image is not None:
        return "images of " + " x ".join(map(str, interface.image))
    return f"vectors of {interface.features}" if interface.features else "tokens"
