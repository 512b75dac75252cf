"""Reading a run afterwards: the same instruments, on the checkpoints it kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray

from saltus import kernels
from saltus.errors import FieldProblem, SaltusError
from saltus.experiment import Experiment, Member
from saltus.instruments.base import Instrument
from saltus.runs import Run, open_run
from saltus.threads import one_thread
from saltus.training.ensemble import Ensemble
from saltus.training.plan import plan
from saltus.training.readings import measure

Parameters = Mapping[str, ndarray]  # [members, *shape]


def revisit(
    run: Run | str | Path,
    instruments: Sequence[Instrument],
    step: int | None = None,
    donor: Parameters | None = None,
    members: Sequence[int] | None = None,
    device: str | None = None,
) -> dict[str, ndarray]:
    """What the instruments say of a run's checkpoint, {name: [members, *shape]}, in run order.

    `step` is one of `run.checkpoints()`, the last if not given. The samples are those that a
    reading at that step in training would see, so that a live reading is met bit for bit.
    `donor` holds the parameters that analyses of two checkpoints mix in, such as
    `run.checkpoint(4000)`, a row for each member of the run. `members` are those to read, all if
    not given. `device` reads elsewhere than where the run was trained; other devices draw other
    samples. Instruments that read an update take up the optimiser's state where the checkpoint left
    it. Raises SaltusError where there is no such checkpoint or member, where an instrument
    does not fit the task, and where the donor has another architecture.
    """
    run = run if isinstance(run, Run) else open_run(run)
    with kernels.as_begun(run.provenance.get("kernels")):
        return _revisit(run, instruments, step, donor, members, device)


def _revisit(
    run: Run,
    instruments: Sequence[Instrument],
    step: int | None,
    donor: Parameters | None,
    members: Sequence[int] | None,
    device: str | None,
) -> dict[str, ndarray]:
    experiment = experiment_of(run).model_copy(update={"instruments": tuple(instruments)})
    if device is not None:
        experiment = _elsewhere(experiment, device)
    steps = run.checkpoints()
    at = step if step is not None or not steps else steps[-1]
    own = run.checkpoint(at)
    assert at is not None  # `checkpoint` would have complained
    everyone = experiment.members()
    if members is None:
        return read_states(experiment, everyone, own, at, donor, _state(run, experiment, at))
    if wrong := [member for member in members if not 0 <= member < len(everyone)]:
        raise SaltusError(f"members: {wrong[0]} is not allowed: 0 to {len(everyone) - 1}")
    chosen = list(members)
    if donor is not None:
        _check_rows(donor, len(everyone), "donor")
        donor = {name: value[chosen] for name, value in donor.items()}
    some = {name: value[chosen] for name, value in own.items()}
    state = _state(run, experiment, at)
    state = {name: value[chosen] for name, value in state.items()} if state else None
    return read_states(experiment, [everyone[k] for k in chosen], some, at, donor, state)


def read_states(
    experiment: Experiment,
    members: Sequence[Member],
    parameters: Parameters,
    step: int,
    donor: Parameters | None = None,
    state: Parameters | None = None,
) -> dict[str, ndarray]:
    """The experiment's instruments on given parameters of some of its members, at a step.

    `state` is the optimiser's, `state/...` of `Ensemble.state` with a row for each member; without
    it no update can be read.
    """
    instruments = experiment.instruments
    if torch.device(experiment.engine.device).type == "cuda" and not torch.cuda.is_available():
        raise SaltusError(f"engine.device: {experiment.engine.device} is not available here")
    for instrument in instruments:
        try:
            instrument.check(experiment.task)
        except (ValueError, FieldProblem) as error:
            raise SaltusError(f"instrument {instrument.kind}: {error}") from None
    _check_rows(parameters, len(members), "checkpoint")
    if donor is not None:
        _check_rows(donor, len(members), "donor")
    with one_thread():
        return _read(experiment, members, parameters, step, donor, state)


def experiment_of(run: Run) -> Experiment:
    """The experiment that a run is of."""
    return Experiment.of(run.experiment, str(run.path / "experiment.yaml"))


def _read(
    experiment: Experiment,
    members: Sequence[Member],
    parameters: Parameters,
    step: int,
    donor: Parameters | None,
    state: Parameters | None,
) -> dict[str, ndarray]:
    instruments = experiment.instruments
    needed = [part.needs(experiment.task) for part in instruments]
    alone = tuple(p for p, needs in zip(instruments, needed, strict=True) if not needs.donor)
    probe = experiment.model_copy(update={"instruments": alone})
    together = max(len(shard) for shard in plan(probe).shards)
    found: list[dict[str, ndarray]] = []
    for first in range(0, len(members), together):
        rows = slice(first, first + together)
        ensemble = Ensemble(members[rows], initialise=False)
        _load(ensemble.parameters, parameters, rows, "checkpoint")
        ensemble.knows_state = state is not None
        if state is not None:
            own = {name: torch.from_numpy(value[rows]) for name, value in state.items()}
            ensemble.restore({**ensemble.parameters, **own})
        given = None
        if donor is not None:
            given = {name: torch.zeros_like(value) for name, value in ensemble.parameters.items()}
            _load(given, donor, rows, "donor")
        if any(needs.gradients or needs.update for needs in needed):
            ensemble.differentiate(step)
        values = measure(ensemble, instruments, step, given)
        found.append({name: value.detach().cpu().numpy() for name, value in values.items()})
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def _state(run: Run, experiment: Experiment, step: int) -> Parameters | None:
    """The optimiser's state in a checkpoint, a row per member, where an instrument needs it."""
    if not any(part.needs(experiment.task).update for part in experiment.instruments):
        return None
    parts = [shard.checkpoint(step) for shard in run.shards]
    order = np.argsort(np.concatenate([shard.members for shard in run.shards]))
    own = ("state/slot", "state/updates", "state/diverged")
    names = [name for name in parts[0] if name.startswith(own)]
    return {name: np.concatenate([part[name] for part in parts])[order] for name in names}


def _elsewhere(experiment: Experiment, device: str) -> Experiment:
    """The experiment on another device, in a precision that it has."""
    changes: dict[str, str] = {"engine.device": device}
    if device.startswith("cpu") and experiment.engine.precision in ("bfloat16", "tf32"):
        changes["engine.precision"] = "float32"
    return experiment.override(changes)


def _check_rows(given: Parameters, members: int, what: str) -> None:
    """A row for each member: otherwise some would silently be read with another's parameters."""
    for value in given.values():
        if len(value) != members:
            raise SaltusError(f"{what}: it holds {len(value)} members, this run {members}")


@torch.no_grad()
def _load(own: Mapping[str, torch.Tensor], given: Parameters, rows: slice, what: str) -> None:
    if missing := sorted(own.keys() - given.keys()):
        raise SaltusError(f"{what}: it has no parameter {missing[0]}: another architecture")
    if further := sorted(given.keys() - own.keys()):
        raise SaltusError(f"{what}: {further[0]} is not in this model: another architecture")
    for name, value in own.items():
        new = given[name][rows]
        if new.shape != value.shape:
            raise SaltusError(
                f"{what}: {name} has shape {list(new.shape[1:])}, this model needs "
                f"{list(value.shape[1:])}: another architecture"
            )
        value.copy_(torch.from_numpy(np.ascontiguousarray(new)))
