"""Which detector finds leaps best? Anyone's rule beside ours and the textbook's, on the same
labelled curves (`curves.py`) by the same rule (`scoring.py`).

A detector of finished series is a function of (steps, values, changes) that returns drop steps or
`Transition`s. A live one is a class: `Watch(members)` and `update(step, values)`, called with one
value per member at each step that is read, returning events with the fields member, step, kind and
since; an event of kind "leap begun" is an alarm. If its `update` takes `changed`, that is true at
the first step that is read after the learning rate changed.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from saltus.errors import SaltusError
from saltus.transitions.dropbench.baselines import AT_MOST, LIVE, OFFLINE
from saltus.transitions.dropbench.curves import Labelled
from saltus.transitions.dropbench.scoring import LiveScore, Score, match, score, score_live
from saltus.transitions.offline import find
from saltus.transitions.online import Watch
from saltus.transitions.transition import Transition

S = TypeVar("S", Score, LiveScore)
Progress = Callable[[int], None]  # called with how many more curves are done


@dataclass(frozen=True)
class Detector:
    """A rule to be measured."""

    name: str
    kind: Literal["offline", "live"]
    call: Any  # the function, or the class
    at_most: int | None = None  # curves that it is shown; None: all

    def share(self, curves: Sequence[Labelled]) -> Sequence[Labelled]:
        """The curves that it is shown."""
        return curves if self.at_most is None else curves[: self.at_most]


@dataclass(frozen=True)
class Measured(Generic[S]):
    """What became of one detector."""

    name: str
    score: S
    milliseconds: float  # per curve, of processor time
    named: list[list[float]]  # drop steps, or the steps at which alarms were said, per curve


def detectors(baselines: bool = True) -> list[Detector]:
    """Our own, and the baselines."""

    def ours(steps: np.ndarray, values: np.ndarray, changes: Sequence[float]) -> Sequence[Any]:
        return find(steps, values, changes=changes)

    found = [Detector("find", "offline", ours), Detector("watch", "live", Watch)]
    if baselines:
        found += [
            Detector(name, "offline", call, AT_MOST.get(name)) for name, call in OFFLINE.items()
        ]
        found += [Detector(name, "live", call, AT_MOST.get(name)) for name, call in LIVE.items()]
    return found


def load(place: str, kind: Literal["offline", "live"]) -> Detector:
    """The function or class at package.module:name; SaltusError says what is wrong with it.

    The module is looked for in the current directory as well.
    """
    module, colon, name = place.partition(":")
    if not (colon and module and name):
        raise SaltusError(f"'{place}' is not allowed: write package.module:name")
    try:
        with _current_directory():
            found = importlib.import_module(module)
    except Exception as error:
        raise SaltusError(f"cannot import {module}: {_reason(error)}") from error
    if not callable(call := getattr(found, name, None)):
        raise SaltusError(f"{module} has no function or class '{name}'")
    if kind == "live" and not callable(getattr(call, "update", None)):
        raise SaltusError(f"'{place}' is no class with a method update(step, values)")
    return Detector(name, kind, call)


def measure(
    detector: Detector, curves: Sequence[Labelled], progress: Progress = lambda done: None
) -> Measured[Score]:
    """Score a detector of finished series. Raises SaltusError where it fails."""
    shown = detector.share(curves)
    started = time.process_time()
    named = []
    for each in shown:
        named.append(drop_steps(detector, each))
        progress(1)
    spent = time.process_time() - started
    return Measured(detector.name, score(shown, named), 1e3 * spent / max(len(shown), 1), named)


def measure_live(
    detector: Detector, curves: Sequence[Labelled], progress: Progress = lambda done: None
) -> Measured[LiveScore]:
    """Score a live detector; curves of one clock are its members together."""
    shown = detector.share(curves)
    started = time.process_time()
    said: list[list[float]] = [[] for _ in shown]
    told = "changed" in signature(detector.call.update).parameters
    clocks: dict[Any, list[int]] = defaultdict(list)
    for index, each in enumerate(shown):
        # A Watch is told of changes of all its members at once.
        clocks[each.steps.tobytes(), each.changes if told else ()].append(index)
    for members in clocks.values():
        for member, step in _alarms(detector, [shown[index] for index in members], told):
            said[members[member]].append(step)
        progress(len(members))
    spent = time.process_time() - started
    return Measured(detector.name, score_live(shown, said), 1e3 * spent / max(len(shown), 1), said)


def drop_steps(detector: Detector, curve: Labelled) -> list[float]:
    """The drop steps that a detector names on one curve."""
    with _blamed(detector, curve.name):
        found = detector.call(curve.steps, curve.values, curve.changes)
        leaps = [each.step if isinstance(each, Transition) else each for each in found]
        return sorted(float(step) for step in leaps if step is not None)


def agreement(one: Measured[Any], other: Measured[Any], curves: Sequence[Labelled]) -> float:
    """2 x drops that both name / all drops that they name, within the tolerance of a leap of no
    width, over the curves that both were shown; NaN where neither names any. For curves that nobody
    has labelled."""
    both = total = 0
    for curve, mine, yours in zip(curves, one.named, other.named, strict=False):
        far = max(3 * curve.spacing, 0.02 * curve.budget)
        both += len(match(mine, [(step - far, step + far) for step in yours]))
        total += len(mine) + len(yours)
    return 2 * both / total if total else float("nan")


def _alarms(
    detector: Detector, curves: Sequence[Labelled], told: bool
) -> Iterator[tuple[int, float]]:
    """(member, step) of each alarm on curves of one clock, and of one set of changes if told."""
    values = np.stack([each.values for each in curves], axis=1)
    changes = set(curves[0].changes) if told else set()
    with _blamed(detector, curves[0].name):
        watch = detector.call(len(curves))
        for step, row in zip(curves[0].steps.tolist(), values, strict=True):
            more = {"changed": True} if step in changes else {}
            for event in watch.update(step, row, **more):
                if event.kind == "leap begun":
                    yield int(event.member), float(event.step)


@contextmanager
def _blamed(detector: Detector, curve: str) -> Any:
    """Whatever a stranger's rule raises, in one line that says whose it is."""
    try:
        yield
    except SaltusError:
        raise
    except Exception as error:
        raise SaltusError(f"{detector.name} fails on curve {curve}: {_reason(error)}") from error


@contextmanager
def _current_directory() -> Any:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
