"""Reading instruments: one shared forward pass, each `read` mapped over the members.

A reading is a pure function of (parameters, seed, step), on an evaluation batch of its own: it
never touches the training step, so instruments cannot change what is trained. The same function
runs inside training, afterwards on a checkpoint, and on a stranger's model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from saltus.errors import SaltusError
from saltus.instruments.base import Instrument, Needs, Pass, Passes, Reading
from saltus.models.sites import Edit, Tape
from saltus.tasks.base import Batch, Task
from saltus.training.ensemble import Ensemble


class State(NamedTuple):
    """Some members of an ensemble with parameters and training gradients, theirs or supposed."""

    rows: Sequence[int] | None  # which members; None: all
    parameters: Mapping[str, Tensor]  # [row, ...]
    gradients: Mapping[str, Tensor]  # [row, ...]
    donor: Mapping[str, Tensor] = {}  # [row, ...], of another checkpoint
    update: Mapping[str, Tensor] = {}  # [row, ...], of the step that follows


def measure(
    ensemble: Ensemble,
    instruments: Sequence[Instrument],
    step: int,
    donor: Mapping[str, Tensor] | None = None,
    update: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """All results at a step, {name: [members, *shape]}.

    Instruments that need gradients read `ensemble.gradients`, the training gradient of this step:
    call `ensemble.differentiate(step)` first. `donor` holds the parameters of another checkpoint,
    which some analyses mix in, and `update` what `ensemble.foresee(step)` said, if it was asked.
    """
    results: dict[str, Tensor] = {}
    if update is None and (reader := reader_of_updates(ensemble, instruments)):
        try:
            update = ensemble.foresee(step)
        except SaltusError as error:
            raise SaltusError(f"instruments: {reader.kind} reads an update: {error}") from None
    now = State(None, ensemble.parameters, ensemble.gradients, donor or {}, update or {})
    for instrument, shared in observations(ensemble, instruments, step, now):
        if instrument.needs(ensemble.task).donor and not donor:
            raise SaltusError(
                f"instruments: {instrument.kind} mixes two checkpoints: read it afterwards, with "
                "saltus look --donor"
            )
        found = _map(instrument, instrument.read, ensemble, step, shared)
        if instrument.has_events:
            signals = _map(instrument, instrument.events, ensemble, step, shared)
            found |= {f"signal/{name}": value for name, value in signals.items()}
        if twice := sorted(results.keys() & found.keys()):
            raise SaltusError(f"instruments: two of them give '{twice[0]}'; keep one")
        results.update(found)
    return results


def reader_of_updates(ensemble: Ensemble, instruments: Sequence[Instrument]) -> Instrument | None:
    """The first instrument that wants to know what the next update changes."""
    return next((part for part in instruments if part.needs(ensemble.task).update), None)


def signals(ensemble: Ensemble, state: State) -> dict[str, Tensor]:
    """The signals of all instruments that have events, {name: [row]}, at a supposed state."""
    watching = [part for part in ensemble.experiment.instruments if part.has_events]
    results: dict[str, Tensor] = {}
    for instrument, shared in observations(ensemble, watching, 0, state):
        results |= _map(instrument, instrument.events, ensemble, 0, shared)
    return results


def observations(
    ensemble: Ensemble, instruments: Sequence[Instrument], step: int, state: State
) -> list[tuple[Instrument, dict[str, object]]]:
    """Each instrument with what it will see; those on the same batch share one forward pass."""
    wanted = [part.needs(ensemble.task) for part in instruments]
    batches = [(needs.training, needs.task, needs.samples) for needs in wanted]
    shared = {
        batch: observe(
            ensemble,
            _union(needs for needs, own in zip(wanted, batches, strict=True) if own == batch),
            step,
            state,
        )
        for batch in dict.fromkeys(batches)
    }
    return [(part, shared[batch]) for part, batch in zip(instruments, batches, strict=True)]


def observe(ensemble: Ensemble, needs: Needs, step: int, state: State) -> dict[str, object]:
    """What the instruments asked for, stacked over members."""
    own = ensemble.task if needs.training else ensemble.task.validation
    task, parameters, rows = needs.task or own, state.parameters, state.rows
    shared: dict[str, object] = {"parameters": dict(parameters), "gradients": {}}
    if needs.donor:
        shared["donor"] = dict(state.donor)
    if needs.gradients:
        shared["gradients"] = dict(state.gradients)
    if needs.update:
        shared["update"] = dict(state.update)
    if needs.initial:
        shared["initial"] = _of(rows, ensemble.initial)
    if not needs.look:
        return shared
    if needs.training:
        batch = _of(rows, ensemble.training_batch(step))
    else:
        size = needs.samples or ensemble.experiment.evaluation_batch
        batch = _of(rows, ensemble.draw("evaluation", step, size, task))
    shared["batch"] = batch
    with torch.no_grad(), ensemble.autocast():
        if needs.sites or needs.outputs:
            tape = ensemble.tape(step, needs.sites, rows=rows)
            outputs = ensemble.lifted(parameters, batch["inputs"], tape).to(ensemble.dtype)
            shared |= {"outputs": outputs, "losses": task.loss(outputs, batch)}
            shared["sites"] = tape.values
        if needs.sites and needs.initial:
            tape = ensemble.tape(step, needs.sites, rows=rows)
            ensemble.lifted(_of(rows, ensemble.initial), batch["inputs"], tape)
            shared["initial_sites"] = tape.values
        if needs.generated:
            tape = ensemble.tape(step, rows=rows)
            shared["generated"] = task.generate(
                lambda inputs: ensemble.lifted(parameters, inputs, tape),
                batch,
                causal=ensemble.experiment.model.is_causal,
            )
    if needs.sample_gradients:
        shared["sample_gradients"] = sample_gradients(
            ensemble, task, batch, step, needs.sample_gradients, state
        )
    return shared


def sample_gradients(
    ensemble: Ensemble, task: Task, batch: Batch, step: int, samples: int, state: State
) -> dict[str, Tensor]:
    """Gradient of the loss of single samples, {parameter: [members, sample, *shape]}.

    Every (member, sample) pair becomes a member of a larger stack with a batch of one.
    """
    some = {name: value[:, :samples] for name, value in batch.items()}
    members, count = some["inputs"].shape[:2]
    pairs = {name: value.flatten(0, 1).unsqueeze(1) for name, value in some.items()}
    repeated = {
        name: value.detach().repeat_interleave(count, dim=0).requires_grad_()
        for name, value in state.parameters.items()
    }
    tape = ensemble.tape(step, repeat=count, rows=state.rows)
    outputs = ensemble.lifted(repeated, pairs["inputs"], tape)
    losses = task.loss(outputs.to(ensemble.dtype), pairs)
    found = torch.autograd.grad(losses.sum(), list(repeated.values()), materialize_grads=True)
    return {
        name: value.unflatten(0, (members, count))
        for name, value in zip(repeated, found, strict=True)
    }


def _of(rows: Sequence[int] | None, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if rows is None:
        return dict(tensors)
    return {name: value[list(rows)] for name, value in tensors.items()}


def _map(
    instrument: Instrument,
    look: Callable[[Reading], dict[str, Tensor]],
    ensemble: Ensemble,
    step: int,
    shared: Mapping[str, object],
) -> dict[str, Tensor]:
    task = instrument.needs(ensemble.task).task or ensemble.task
    model = ensemble.experiment.model
    if instrument.stacked:
        run = _passes(ensemble, step)
        with torch.no_grad():
            return look(Reading(task=task, model=model, run=run, **shared))  # type: ignore[arg-type]

    def one(own: dict[str, object]) -> dict[str, Tensor]:
        return look(Reading(task=task, model=model, **own))  # type: ignore[arg-type]

    with torch.no_grad():
        return vmap(one)(dict(shared))


def _passes(ensemble: Ensemble, step: int) -> Passes:
    """The ensemble's forward pass as stacked instruments may call it."""

    def run(
        inputs: Tensor,
        *,
        edits: Mapping[str, tuple[Edit, ...]] | None = None,
        capture: Sequence[str] = (),
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Pass:
        in_force = ensemble.tape(step, capture).edits
        every = {**in_force}
        for site, more in (edits or {}).items():
            every[site] = (*every.get(site, ()), *more)
        tape = Tape(capture, every)
        if tape.edits and not ensemble.experiment.model.stackable:
            raise SaltusError(
                f"model {ensemble.experiment.model.kind}: its sites cannot be overwritten, for its "
                "layers do not take a stack of members"
            )
        chosen = ensemble.parameters if parameters is None else parameters
        with torch.no_grad(), ensemble.autocast():
            outputs = ensemble.lifted(chosen, inputs, tape).to(ensemble.dtype)
        return Pass(outputs, tape.values)

    return run


def _union(needs: Iterable[Needs]) -> Needs:
    every = list(needs)
    return Needs(
        sites=tuple(dict.fromkeys(site for need in every for site in need.sites)),
        outputs=any(need.outputs for need in every),
        gradients=any(need.gradients for need in every),
        generated=any(need.generated for need in every),
        sample_gradients=max(need.sample_gradients for need in every),
        initial=any(need.initial for need in every),
        training=every[0].training,  # those who share a batch agree in these three
        task=every[0].task,
        samples=every[0].samples,
        donor=any(need.donor for need in every),
        update=any(need.update for need in every),
    )
