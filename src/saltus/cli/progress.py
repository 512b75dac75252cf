"""Bars on a terminal, plain lines elsewhere. Both on stderr: stdout is for results."""

from __future__ import annotations

import time
from math import isfinite
from pathlib import Path
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from saltus.cli.output import console, count
from saltus.runs import Run
from saltus.studies.reproduce import How, Watcher

VERBS = {"new": "training", "resumed": "resuming", "reused": "already trained:"}


class Board(Watcher):
    """Watches trainings, one after the other; a context manager.

    `step` has the signature of `training.launch.Progress`.
    """

    def __init__(self) -> None:
        self.console = console(stderr=True)
        self.bars = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=self.console,
                expand=True,
            )
            if self.console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self.bars:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bars:
            self.bars.stop()

    def begin(self, label: str, run: Run, how: How) -> None:
        """A training starts, continues, or need not be done."""
        self.label, self.how, self.started = label, how, time.monotonic()
        self.steps = int(run.status["steps"] or 0)
        # A training continues from its newest checkpoint, whatever was read after it.
        self.reached = {shard.index: max(shard.checkpoints(), default=0) for shard in run.shards}
        self.losses: dict[int, float] = {}
        if how != "new" or not self.bars:
            amount = f"{count(len(run.members), 'member')}, {count(self.steps, 'step')}"
            done = f", {self.mean_step / self.steps:.0%} done," if how == "resumed" else ""
            self.note(f"{label}: {VERBS[how]} {amount}{done} in {run.path}")
        if self.bars and how != "reused":
            self.task = self.bars.add_task(
                label, total=self.steps, completed=int(self.mean_step), loss="-"
            )

    def step(self, shard: int, step: int, loss: float) -> None:
        """A shard has reached a step with this mean loss."""
        self.reached[shard] = step
        if isfinite(loss):
            self.losses[shard] = loss
        if self.bars:
            self.bars.update(self.task, completed=self.mean_step, loss=self.loss)

    def end(self, label: str, run: Run | None) -> None:
        """A training has ended; None: it failed."""
        if self.how == "reused" or self.bars:
            return
        seconds = time.monotonic() - self.started
        outcome = "done" if run is not None else "failed"
        self.note(f"{label}: {outcome} in {seconds:.1f} s, loss {self.loss}")

    def note(self, text: str) -> None:
        """A line above the bars."""
        self.console.print(text, soft_wrap=True)

    @property
    def mean_step(self) -> float:
        return sum(self.reached.values()) / len(self.reached)

    @property
    def loss(self) -> str:
        values = self.losses.values()
        return f"{sum(values) / len(values):.4f}" if values else "-"


def continue_hint(path: Path) -> str:
    """What to type after Ctrl-C."""
    return f"nothing is lost: saltus resume {path}"
