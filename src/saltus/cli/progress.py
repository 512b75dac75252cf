"""Bars on a terminal, plain lines elsewhere. Both on stderr: stdout is for results."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from saltus.cli.output import console, count
from saltus.runs import Run
from saltus.studies.reproduce import How, Watcher

VERBS = {"new": "training", "resumed": "resuming", "reused": "already trained:"}


@dataclass
class Training:
    """What is known of one training while it goes on."""

    how: How
    steps: int
    reached: dict[int, int]  # by shard
    started: float = field(default_factory=time.monotonic)
    losses: dict[int, float] = field(default_factory=dict)
    leapt: dict[int, int] = field(default_factory=dict)
    members: int = 0
    bar: TaskID | None = None

    @property
    def mean_step(self) -> float:
        return sum(self.reached.values()) / len(self.reached)

    @property
    def loss(self) -> str:
        values = self.losses.values()
        return f"{sum(values) / len(values):.4f}" if values else "-"

    @property
    def said(self) -> str:
        """The loss, and how many seeds have leapt, if any: '1.3101, 5 of 8 leapt'."""
        leapt = sum(self.leapt.values())
        return f"{self.loss}, {leapt} of {self.members} leapt" if leapt else self.loss


class Board(Watcher):
    """Watches trainings, also several at once; a context manager."""

    def __init__(self) -> None:
        self.console = console(stderr=True)
        self.trainings: dict[str, Training] = {}
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

    def begin(self, label: str, run: Run, how: How) -> Callable[[int, int, float, int], None]:
        """A training starts, continues, or need not be done; returns what takes its steps."""
        # A training continues from its newest checkpoint, whatever was read after it.
        reached = {shard.index: max(shard.checkpoints(), default=0) for shard in run.shards}
        own = Training(how, int(run.status["steps"] or 1), reached, members=len(run.members))
        self.trainings[label] = own
        if how != "new" or not self.bars:
            amount = f"{count(len(run.members), 'member')}, {count(own.steps, 'step')}"
            done = f", {own.mean_step / own.steps:.0%} done," if how == "resumed" else ""
            self.note(f"{label}: {VERBS[how]} {amount}{done} in {run.path}")
        if self.bars and how != "reused":
            own.bar = self.bars.add_task(
                label, total=own.steps, completed=int(own.mean_step), loss="-"
            )

        def step(shard: int, reached: int, loss: float, leapt: int) -> None:
            own.reached[shard], own.leapt[shard] = reached, leapt
            if isfinite(loss):
                own.losses[shard] = loss
            if self.bars and own.bar is not None:
                self.bars.update(own.bar, completed=own.mean_step, loss=own.said)

        return step

    def end(self, label: str, run: Run | None) -> None:
        """A training has ended; None: it failed."""
        own = self.trainings[label]
        if own.how == "reused" or self.bars:
            return
        seconds = time.monotonic() - own.started
        outcome = "done" if run is not None else "failed"
        self.note(f"{label}: {outcome} in {seconds:.1f} s, loss {own.said}")

    def note(self, text: str) -> None:
        """A line above the bars."""
        self.console.print(text, soft_wrap=True)


def continue_hint(path: Path) -> str:
    """What to type after Ctrl-C."""
    return f"nothing is lost: saltus resume {path}"
