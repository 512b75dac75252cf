"""The microscope: while a member leaps, its states are kept step by step, without knowing when.

The last states of all members are held in memory, so that when the fall is noticed its beginning is
still there. From then on states follow until the leap is over, ever more sparsely if it is slow.

Which steps of a member become frames is a pure function of its own recorded losses, so it does not
depend on who trains beside it. A run that resumes plays them back from its metrics, and trains the
last `reach` steps before its checkpoint once more to fill the memory; no checkpoint holds it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.experiment import Microscope
from saltus.runs import ShardWriter
from saltus.runs.metrics_log import Column
from saltus.training.ensemble import Ensemble
from saltus.transitions.online import Watch

Shot = tuple[int, int]  # row, step


class Recorder:
    """Holds the last states of an ensemble's members and writes those in which they leap."""

    def __init__(self, settings: Microscope, ensemble: Ensemble, writer: ShardWriter) -> None:
        self.ensemble, self.writer = ensemble, writer
        self.every = settings.spacing(ensemble.experiment.steps)
        self.director = Director(len(ensemble.members), settings.frames, self.every)
        # In main memory also where members train elsewhere: it may well be larger than they are.
        shape = (settings.frames, *ensemble.flat.shape)
        try:
            self.ring = torch.empty(shape, dtype=ensemble.dtype)
        except RuntimeError:
            size = math.prod(shape) * ensemble.dtype.itemsize / 1e9
            raise SaltusError(
                f"checkpoints.microscope.frames: {settings.frames} is not allowed: so many states "
                f"of {shape[1]} members take {size:,.0f} GB, more memory than there is"
            ) from None
        self.held = np.full(settings.frames, -1, dtype=np.int64)  # the step of each place

    @property
    def reach(self) -> int:
        """The steps before the present one that memory goes back to."""
        return len(self.held) * self.every

    @torch.no_grad()
    def hold(self, step: int) -> None:
        """Remember the state before update `step`, in place of the oldest."""
        if step % self.every == 0:
            place = step // self.every % len(self.held)
            self.ring[place].copy_(self.ensemble.flat)
            self.held[place] = step

    def look(self, step: int, losses: Float[ndarray, " member"]) -> None:
        """The state before update `step` has these losses: remember it, write what is wanted."""
        self.hold(step)
        shots = self.director.shots(step, losses)
        if not shots:
            return
        places = {int(at): place for place, at in enumerate(self.held)}
        self.writer.frames([(row, at, self._state(places[at], row)) for row, at in shots])

    def recall(self, losses: Column) -> None:
        """What a resumed training had seen before its checkpoint; nothing is written."""
        for step, each in zip(losses.steps.tolist(), losses.values, strict=True):
            self.director.shots(step, each)

    def _state(self, place: int, row: int) -> dict[str, ndarray]:
        views = self.ensemble.layout.views(self.ring[place, row : row + 1])
        return {name: value[0].numpy() for name, value in views.items()}


class Director:
    """Says which states of which members are wanted, from their losses alone.

    Every `every` steps the watch hears the mean loss since it last did: a single loss is noisier.
    When it says "leap begun", the states of the last `frames` moments are wanted, then that of each
    moment, until it says "leap ended" or "recovered", or the loss is no longer finite. After each
    `frames` further states of one leap the spacing doubles.
    """

    def __init__(self, members: int, frames: int, every: int) -> None:
        self.frames, self.every = frames, every
        self.watch = Watch(members)
        self.sum: Float[ndarray, " member"] = np.zeros(members)
        self.count = 0
        self.leaping: Bool[ndarray, " member"] = np.zeros(members, dtype=bool)
        self.taken: Int[ndarray, " member"] = np.zeros(members, dtype=np.int64)  # in this leap
        self.last: Int[ndarray, " member"] = np.full(members, -1, dtype=np.int64)

    def shots(self, step: int, losses: Float[ndarray, " member"]) -> list[Shot]:
        """The (row, step) that are wanted now; steps of each row rise from call to call."""
        self.sum += np.where(np.isfinite(losses), losses, np.nan)
        self.count += 1
        if step % self.every:
            return []
        mean, self.sum, self.count = self.sum / self.count, np.zeros_like(self.sum), 0
        said = {event.member: event.kind for event in self.watch.update(float(step), mean)}
        self.leaping &= np.isfinite(mean)
        wanted: list[Shot] = []
        for row in range(len(mean)):
            kind = said.get(row)
            if kind == "leap begun":
                self.leaping[row], self.taken[row] = True, 0
                oldest = max(0, step - (self.frames - 1) * self.every, self.last[row] + 1)
                first = -(-int(oldest) // self.every) * self.every
                wanted += [(row, at) for at in range(first, step + 1, self.every)]
                self.last[row] = step
            elif kind in ("leap ended", "recovered"):
                self.leaping[row] = False
            elif self.leaping[row] and step - self.last[row] >= self._spacing(row):
                wanted.append((row, step))
                self.taken[row] += 1
                self.last[row] = step
        return wanted

    def _spacing(self, row: int) -> int:
        return self.every * 2 ** int(self.taken[row] // self.frames)
