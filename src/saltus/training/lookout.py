"""What is said while a shard trains: how far, how low the loss, how many seeds have leapt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from saltus.runs.metrics_log import Column
from saltus.training.workers import Progress
from saltus.transitions.online import Watch

NEWS = 200  # times that progress is told of, in a whole training
POINTS = 2000  # of the losses that are watched: more would cost small models more than they tell


class Lookout:
    """Takes in the losses of each step and tells `progress`; what it sees changes no training.

    `recorded` gives the losses that the shard's files hold, for a training that is resumed.
    """

    def __init__(
        self,
        shard: int,
        members: int,
        steps: int,
        progress: Progress,
        recorded: Callable[[], Column | None],
    ) -> None:
        self.shard, self.steps, self.progress, self.recorded = shard, steps, progress, recorded
        self.watch = Watch(members)
        self.leapt: set[int] = set()
        self.begun = False

    def __call__(self, step: int, losses: Float[ndarray, " member"]) -> None:
        """The state before update `step` has these losses."""
        if not self.begun:
            self.begun = True
            self._recall(step)
        self._see(step, losses)
        if step % max(1, self.steps // NEWS) == 0 or step == self.steps:
            finite = losses[np.isfinite(losses)]
            mean = float(finite.mean()) if len(finite) else float("nan")
            self.progress(self.shard, step, mean, len(self.leapt))

    def _recall(self, step: int) -> None:
        """What a resumed training had seen before."""
        column = self.recorded() if step else None
        if column is not None:
            for at, losses in zip(column.steps.tolist(), column.values, strict=True):
                if at < step:
                    self._see(at, losses)

    def _see(self, step: int, losses: Float[ndarray, " member"]) -> None:
        if step % max(1, self.steps // POINTS):
            return
        for event in self.watch.update(float(step), losses):
            if event.kind == "leap begun":
                self.leapt.add(event.member)
            elif event.kind == "recovered":
                self.leapt.discard(event.member)
