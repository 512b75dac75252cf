"""A film of one member: instruments on each of its frames, on the same samples throughout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray

from saltus.errors import FieldProblem, SaltusError
from saltus.experiment import Experiment, Member
from saltus.instruments.base import Instrument
from saltus.runs import Run, open_run
from saltus.tasks.base import Batch, Task
from saltus.threads import one_thread
from saltus.training.ensemble import Ensemble
from saltus.training.readings import measure
from saltus.training.revisit import experiment_of

# {name: (steps [frame], values [frame, *shape])}
Film = dict[str, tuple[Int[ndarray, " frame"], ndarray]]


def film(
    run: Run | str | Path,
    member: int,
    instruments: Sequence[Instrument],
    steps: Sequence[int] | None = None,
) -> Film:
    """What the instruments say of a member, step by step: {name: (steps, values [frame, *shape])}.

    `steps` are some of `run.frames(member)` and `run.checkpoints()`, all of them if not given. The
    samples, for evaluation and for gradients, are those of the run's last step in every frame: a
    film whose samples changed would flicker. They are not trained on unless the training set is
    fixed. Interventions are in force as they were at each step. Raises SaltusError where there is
    no such member or step, or where an instrument does not fit the task or needs two checkpoints.
    """
    run = run if isinstance(run, Run) else open_run(run)
    experiment = experiment_of(run).model_copy(update={"instruments": tuple(instruments)})
    _check(experiment)
    frames, kept = run.frames(member), run.checkpoints()
    there = sorted({*frames, *kept})
    chosen = there if steps is None else sorted(set(steps))
    if missing := [step for step in chosen if step not in there]:
        known = ", ".join(map(str, there)) or "none"
        raise SaltusError(f"steps: {missing[0]} is not allowed for member {member}: {known}")
    subject = Still(experiment.members()[member], experiment.steps)
    found: dict[str, list[ndarray]] = {}
    with one_thread():  # as in training, so that its bits are met
        for step in chosen:
            subject.take(run.frame(member, step) if step in frames else _of(run, step, member))
            if any(part.needs(experiment.task).gradients for part in instruments):
                subject.differentiate(step)
            for name, value in measure(subject, instruments, step).items():
                found.setdefault(name, []).append(value[0].detach().cpu().numpy().copy())
    at = np.array(chosen, dtype=np.int64)
    return {name: (at, np.stack(values)) for name, values in found.items()}


class Still(Ensemble):
    """One member, which sees the samples of step `moment` at every step."""

    def __init__(self, member: Member, moment: int) -> None:
        self.moment = moment
        super().__init__([member], initialise=False)
        self.knows_state = False

    def draw(self, stream: str, step: int, batch: int, task: Task | None = None) -> Batch:
        held = self.moment if stream == "evaluation" else step  # not the fixed training set's 0
        return super().draw(stream, held, batch, task)

    def training_batch(self, step: int) -> Batch:
        return super().training_batch(self.moment)

    @torch.no_grad()
    def take(self, parameters: dict[str, ndarray]) -> None:
        """Become the model with these parameters."""
        for name, own in self.parameters.items():
            own[0].copy_(torch.from_numpy(parameters[name]))


def _of(run: Run, step: int, member: int) -> dict[str, ndarray]:
    return {name: value[member].copy() for name, value in run.checkpoint(step).items()}


def _check(experiment: Experiment) -> None:
    for instrument in experiment.instruments:
        try:
            instrument.check(experiment.task)
        except (ValueError, FieldProblem) as error:
            raise SaltusError(f"instrument {instrument.kind}: {error}") from None
