"""Curves of real runs. Where a run also read its accuracy, that labels the leap of its losses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from saltus.transitions.dropbench.curves import Labelled, Leap

LOSSES = ("loss/", "evaluation/loss", "class-loss/")
LABELLED = ("loss/train", "evaluation/loss", "class-loss/all")  # of all outputs together
ACCURACY = "evaluation/accuracy"
FEWEST = 30  # points: of shorter series no plateau can be told


def real_curves(root: Path | str) -> Iterator[Labelled]:
    """Every scalar loss of every member of the finished runs below `root`, in order of their paths.

    Their kind is "real". Their leap is the first reading at which the accuracy has gone half of the
    way from its first reading to 1 (about one half where guessing is hopeless), and as wide as the
    time since the reading before: it does not depend on the loss. Without such a reading, and where
    the loss is that of a part of the outputs, the curve is not labelled (`leaps` None): it may leap
    where the accuracy does not. Series end at the first value that is not finite.
    """
    from saltus.runs import list_runs

    for run in list_runs(root):
        if run.status["state"] != "done":
            continue
        names = run.names()
        labels = [None] * len(run.members)
        if ACCURACY in names:
            read = run.series(ACCURACY)
            labels = [_crossing(read.steps, each) for each in read.values]
        place = run.path.relative_to(root).as_posix()
        for name in names:
            if not name.startswith(LOSSES) or run.array(name).values.ndim != 2:
                continue
            series = run.series(name)
            for member, values in enumerate(series.values):
                finite = np.isfinite(values)
                length = len(values) if finite.all() else int(finite.argmin())
                if length >= FEWEST:
                    yield Labelled(
                        name=f"{place}/{name}/{member}",
                        kind="real",
                        steps=series.steps[:length],
                        values=values[:length],
                        leaps=labels[member] if name in LABELLED else None,
                    )


def _crossing(steps: np.ndarray, accuracy: np.ndarray) -> tuple[Leap, ...] | None:
    above = accuracy >= (1 + accuracy[0]) / 2
    if not above.any() or above[0]:
        return None  # it never did, or was all right from the start
    index = int(above.argmax())
    before, after = float(steps[index - 1]), float(steps[index])
    return (Leap(before, after, after),)
