"""The loop: read, save, differentiate, update. There is no other loop in Saltus."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from numpy import ndarray

from saltus.experiment import Experiment, Member
from saltus.runs import ShardWriter
from saltus.training.ensemble import Ensemble
from saltus.training.follow import Follower
from saltus.training.gradient_flow import GradientFlow
from saltus.training.microscope import Recorder
from saltus.training.readings import measure

# (step reached, training loss of each member)
Report = Callable[[int, Float[ndarray, " member"]], None]
Mover = Ensemble | Follower  # what takes the parameters from one step to the next
FLUSH_EVERY = 200  # steps per metrics block at most; fixed, so that resumed files have equal bytes


@dataclass
class Clock:
    """Seconds spent training and seconds spent reading instruments."""

    training: float = 0.0
    instruments: float = 0.0

    @contextmanager
    def on(self, what: str):
        start = time.perf_counter()
        yield
        setattr(self, what, getattr(self, what) + time.perf_counter() - start)


def train(members: Sequence[Member], writer: ShardWriter, report: Report | None = None) -> None:
    """Train the members of one shard from where its files end to the last step.

    Row t of the metrics describes the state before update t: the loss and gradient of batch t
    and the instruments on that state; row `steps` describes the final state.
    """
    experiment = members[0].experiment
    ensemble, steps = Ensemble(members, initialise=False), experiment.steps
    flows = isinstance(experiment.optimizer, GradientFlow)
    mover = Follower(ensemble) if flows else ensemble
    microscope = experiment.checkpoints.microscope
    recorder = Recorder(microscope, ensemble, writer) if microscope else None
    start = restore(ensemble, mover, writer, recorder)
    clock = Clock(*writer.spent)
    writer.status(state="running", step=start)
    for step in range(start, steps + 1):
        if step > start or start == 0:
            reach = recorder.reach if recorder is not None and step < steps else 0
            save(experiment, mover, writer, step, reach)
        with clock.on("training"):
            losses = ensemble.differentiate(step)
            ensemble.retire(losses, step)
        with clock.on("instruments"):
            due = [i for i in experiment.instruments if i.cadence.due(step, steps)]
            values = measure(ensemble, due, step)
            values |= mover.progress(step)
            record = {name: value.detach().cpu().numpy() for name, value in values.items()}
        each = losses.cpu().numpy()
        writer.record(step, {"loss/train": each, **record})
        if step < steps:
            if recorder is not None:  # the last state is a checkpoint in any case
                with clock.on("instruments"):
                    recorder.look(step, each)
            with clock.on("training"):
                mover.update(step)
        if report is not None:
            report(step, each)
        if (step + 1) % FLUSH_EVERY == 0:
            writer.flush()
            _note(writer, ensemble, clock, step, "running")
    writer.flush()
    _note(writer, ensemble, clock, steps, "done")


def save(experiment: Experiment, mover: Mover, writer: ShardWriter, step: int, reach: int) -> None:
    """Write the state before update `step`, if this is a step to keep or to resume from.

    Who resumes from it needs what memory held of the `reach` steps before it.
    """
    checkpoints, steps = experiment.checkpoints, experiment.steps
    keep = checkpoints.keeps(step, steps)
    if keep or checkpoints.rescues(step, steps):
        state = {name: value.cpu().numpy() for name, value in mover.state().items()}
        writer.checkpoint(step, state, keep=keep, reach=reach)


def restore(
    ensemble: Ensemble, mover: Mover, writer: ShardWriter, recorder: Recorder | None = None
) -> int:
    """Load the newest sound checkpoint and return its step; where there is none, start at 0."""
    found = writer.resume()
    if found is None:
        ensemble.initialise()
        return 0
    step, tensors = found
    if recorder is not None and 0 < step < ensemble.experiment.steps:
        relive(ensemble, mover, writer, recorder, step)
    mover.restore({name: torch.from_numpy(value) for name, value in tensors.items()})
    return step


def relive(
    ensemble: Ensemble, mover: Mover, writer: ShardWriter, recorder: Recorder, step: int
) -> None:
    """Train up to `step` once more, from a checkpoint as far back as the recorder remembers.

    Holding its memory in checkpoints instead would make each of them many times larger.
    """
    if (losses := writer.recorded("loss/train")) is not None:
        recorder.recall(losses)
    earlier = writer.before(step - recorder.reach)
    if earlier is None:
        ensemble.initialise()
    else:
        mover.restore({name: torch.from_numpy(value) for name, value in earlier[1].items()})
    for at in range(earlier[0] if earlier else 0, step):
        ensemble.retire(ensemble.differentiate(at), at)
        recorder.hold(at)
        mover.update(at)


def _note(writer: ShardWriter, ensemble: Ensemble, clock: Clock, step: int, state: str) -> None:
    writer.status(
        state=state,
        step=step,
        diverged={writer.members[row]: at for row, at in ensemble.diverged.items()},
        seconds=round(clock.training, 3),
        instrument_seconds=round(clock.instruments, 3),
    )
