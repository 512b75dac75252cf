"""From a module of one model to a function of a stack of models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.func import functional_call, vmap

from saltus.models.sites import SILENT, Edit, Tape

Stacked = Mapping[str, Tensor]
Lifted = Callable[[Stacked, Tensor, Tape], Tensor]


def lift(module: nn.Module, stackable: bool) -> Lifted:
    """A function (stacked parameters, stacked inputs, tape) -> stacked outputs.

    A stackable module runs as it is: its layers see the member axis and use batched products.
    Any other module is mapped over the members by vmap; if its forward takes no tape, it has no
    sites. Both fill the tape with stacked values and give the same numbers to rounding.
    """
    if stackable:
        # Looking for tied weights at each call costs as much as several layers; ours have none.
        return lambda parameters, inputs, tape=SILENT: functional_call(
            module, dict(parameters), (inputs, tape), tie_weights=False
        )
    taped = len(inspect.signature(module.forward).parameters) > 1

    def mapped(parameters: Stacked, inputs: Tensor, tape: Tape = SILENT) -> Tensor:
        if tape.edits:
            raise ValueError("edits of sites need a stackable model")

        def one(own: Stacked, own_inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            inner = Tape(tape.capture)
            arguments = (own_inputs, inner) if taped else (own_inputs,)
            return functional_call(module, dict(own), arguments), inner.values

        outputs, values = vmap(one)(dict(parameters), inputs)
        tape.values.update(values)
        return outputs

    return mapped


def lift_edit(edit: Callable[..., Tensor], *stacked: object) -> Edit:
    """An edit of one member's value, mapped over members with that member's own arguments."""
    return lambda site, value: vmap(lambda own, *rest: edit(site, own, *rest))(value, *stacked)
