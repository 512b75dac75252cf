"""Instruments in a plain PyTorch loop: one call, no hooks, nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature

import torch
from torch import Tensor, nn
from torch.func import functional_call

from saltus.errors import SaltusError
from saltus.instruments.base import Instrument, Needs, Pass, Passes, Reading
from saltus.models.base import Model
from saltus.models.sites import Edit, Tape
from saltus.tasks.base import Batch, Task

NO_TASK = Task(kind="none")  # for instruments that ask nothing of one


def read(
    module: nn.Module,
    instruments: Sequence[Instrument],
    task: Task | None = None,
    batch: Batch | None = None,
    donor: Mapping[str, Tensor] | None = None,
    model: Model | None = None,
) -> dict[str, Tensor]:
    """What the instruments say of a module as it stands; call it after `backward()`.

    Instruments on parameters and gradients (`norms`, `gradient-norms`) need only the module.
    Others also need a task and one of its batches [batch, ...], the whole of which they read;
    those on parameters and tasks alone (`embedding-geometry`) need no batch, and those that look at
    sites or change them need a module whose forward takes a tape, as all of Saltus's do. `donor`
    holds the parameters of another checkpoint, by the module's names; `model` is the record that
    the module was built from, or says the same of it: instruments that must know how weights are
    made of logits (`softmax-jacobian`, `local-attention-gradients`) or what the architecture
    conserves read it there. Nothing of the module is changed. Raises SaltusError where an
    instrument needs what was not given, or `model` is no record.
    """
    if not (model is None or isinstance(model, Model)):
        raise SaltusError(
            f"model: {type(model).__name__} is no record of a model; allowed: one of saltus.models "
            "such as VisionTransformer(...), which says how the module was built"
        )
    results: dict[str, Tensor] = {}
    parameters = {name: value.detach() for name, value in module.named_parameters()}
    gradients = {
        name: torch.zeros_like(value) if value.grad is None else value.grad.detach()
        for name, value in module.named_parameters()
    }
    for instrument in instruments:
        needs = instrument.needs(task or NO_TASK)
        if problem := _missing(needs, instrument.stacked, task, batch, donor):
            raise SaltusError(f"instrument {instrument.kind}: {problem}")
        if task is not None:
            try:
                instrument.check(task)
            except ValueError as error:
                raise SaltusError(f"instrument {instrument.kind}: {error}") from None
        looks = needs.sites or needs.outputs or needs.generated
        reading = Reading(
            task=task or NO_TASK,
            parameters=parameters,
            model=model,
            gradients=gradients,
            batch=batch or {},
            donor=donor or {},
            run=_passes(module) if instrument.stacked else None,
            **(_look(module, needs, task, batch) if task and batch and looks else {}),  # type: ignore[arg-type]
        )
        with torch.no_grad():
            results.update(instrument.read(reading))
    return results


def _missing(
    needs: Needs,
    stacked: bool,
    task: Task | None,
    batch: Batch | None,
    donor: Mapping[str, Tensor] | None,
) -> str | None:
    """What an instrument needs and was not given, in words."""
    if needs.look and not needs.sample_gradients and (task is None or batch is None):
        return "it needs a task and a batch"
    if stacked and task is None:
        return "it needs a task"
    if needs.sample_gradients:
        return "per-sample gradients need saltus.start, not a plain loop"
    if needs.update:
        return "the update that follows needs saltus.start, not a plain loop"
    if needs.initial:
        return "the parameters at step 0 need saltus.start, not a plain loop"
    if needs.task is not None and needs.task != task:
        return "it has a task of its own: give that as task, and one of its batches"
    if needs.donor and donor is None:
        return "it mixes two checkpoints: give the parameters of the other as donor"
    return None


@torch.no_grad()
def _look(module: nn.Module, needs: Needs, task: Task, batch: Batch) -> Mapping[str, object]:
    with _evaluating(module):
        tape = Tape(needs.sites)
        outputs = _call(module, batch["inputs"], tape)
        generated = None
        if needs.generated:
            generated = task.generate(lambda inputs: _call(module, inputs, Tape()), batch)
    losses = task.loss(outputs, batch)
    return {"outputs": outputs, "losses": losses, "sites": tape.values, "generated": generated}


def _passes(module: nn.Module) -> Passes:
    """The module's forward pass as instruments that run it again may call it."""

    @torch.no_grad()
    def run(
        inputs: Tensor,
        *,
        edits: Mapping[str, tuple[Edit, ...]] | None = None,
        capture: Sequence[str] = (),
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Pass:
        tape = Tape(capture, edits)
        with _evaluating(module):
            outputs = _call(module, inputs, tape, parameters)
        return Pass(outputs, tape.values)

    return run


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _call(
    module: nn.Module,
    inputs: Tensor,
    tape: Tape,
    parameters: Mapping[str, Tensor] | None = None,
) -> Tensor:
    taped = len(signature(module.forward).parameters) > 1
    if not (taped or tape.idle):
        raise SaltusError(
            f"module {type(module).__name__}: its forward takes no tape, so it has no sites to "
            "read or to overwrite"
        )
    arguments = (inputs, tape) if taped else (inputs,)
    if parameters is None:
        return module(*arguments)
    return functional_call(module, dict(parameters), arguments)
