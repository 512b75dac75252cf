"""Instruments in a plain PyTorch loop: one call, no hooks, nothing left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature

import torch
from torch import Tensor, nn

from saltus.errors import SaltusError
from saltus.instruments.base import Instrument, Needs, Reading
from saltus.models.sites import Tape
from saltus.tasks.base import Batch, Task

NO_TASK = Task(kind="none")  # for instruments that ask nothing of one


def read(
    module: nn.Module,
    instruments: Sequence[Instrument],
    task: Task | None = None,
    batch: Batch | None = None,
) -> dict[str, Tensor]:
    """What the instruments say of a module as it stands; call it after `backward()`.

    Instruments on parameters and gradients (`norms`, `gradient-norms`) need only the module.
    Others also need a task and one of its batches [batch, ...]; those that look at sites need a
    module whose forward takes a tape, as all of Saltus's do. Nothing of the module is changed.
    Raises SaltusError where an instrument needs what was not given.
    """
    results: dict[str, Tensor] = {}
    parameters = {name: value.detach() for name, value in module.named_parameters()}
    gradients = {
        name: torch.zeros_like(value) if value.grad is None else value.grad.detach()
        for name, value in module.named_parameters()
    }
    for instrument in instruments:
        needs = instrument.needs(task or NO_TASK)
        looks = needs.sites or needs.outputs or needs.generated
        if looks and (task is None or batch is None):
            raise SaltusError(f"instrument {instrument.kind}: it needs a task and a batch")
        if needs.sample_gradients:
            raise SaltusError(
                f"instrument {instrument.kind}: per-sample gradients need saltus.start, "
                "not a plain loop"
            )
        if needs.initial:
            raise SaltusError(
                f"instrument {instrument.kind}: the parameters at step 0 need saltus.start, "
                "not a plain loop"
            )
        seen = _look(module, needs, task, batch) if task is not None and looks else {}
        reading = Reading(
            task=task or NO_TASK,
            parameters=parameters,
            gradients=gradients,
            batch=batch or {},
            **seen,  # type: ignore[arg-type]
        )
        with torch.no_grad():
            results.update(instrument.read(reading))
    return results


@torch.no_grad()
def _look(module: nn.Module, needs: Needs, task: Task, batch: Batch | None) -> Mapping[str, object]:
    assert batch is not None
    training = module.training
    module.eval()
    try:
        tape = Tape(needs.sites)
        outputs = _call(module, batch["inputs"], tape)
        generated = None
        if needs.generated:
            generated = task.generate(lambda inputs: _call(module, inputs, Tape()), batch)
    finally:
        module.train(training)
    losses = task.loss(outputs, batch)
    return {"outputs": outputs, "losses": losses, "sites": tape.values, "generated": generated}


def _call(module: nn.Module, inputs: Tensor, tape: Tape) -> Tensor:
    taped = len(signature(module.forward).parameters) > 1
    return module(inputs, tape) if taped else module(inputs)
