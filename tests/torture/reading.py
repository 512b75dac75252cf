"""Reading all of a run as a person would, and judging whether what was read can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from saltus.errors import SaltusError
from saltus.runs import Run, query


def read(path: Path, sql: bool = True) -> dict[str, Any]:
    """All that the reading API tells of a run, and `sql`, by question; SaltusError where refused.

    Any other exception is passed on: it is a fault.
    """
    said: dict[str, Any] = {}

    def ask(question: str, answer: Callable[[], Any]) -> Any:
        try:
            said[question] = answer()
        except SaltusError as error:
            said[question] = error
        return said[question]

    run = Run(path)
    ask("damage", lambda: run.damage)
    ask("status", lambda: {**run.status, "seconds": None, "instrument_seconds": None})
    ask("seeds", lambda: run.seeds.tolist())
    for name in ("members", "experiment", "provenance"):
        ask(name, lambda name=name: getattr(run, name))
    names = ask("names", run.names)
    for name in names if isinstance(names, list) else ():
        ask(f"array {name}", lambda name=name: _array(run, name))
    steps = ask("checkpoints", run.checkpoints)
    for step in steps if isinstance(steps, list) else ():
        ask(f"checkpoint {step}", lambda step=step: _tensors(run, step))
    ask("last checkpoint", lambda: _tensors(run, None))
    members = said["seeds"] if isinstance(said["seeds"], list) else ()
    for member, _ in enumerate(members):
        steps = ask(f"frames {member}", lambda member=member: run.frames(member))
        for step in steps if isinstance(steps, list) else ():
            ask(f"frame {member} {step}", lambda m=member, s=step: _sorted(run.frame(m, s)))
    if not sql:
        return said
    ask("sql metrics", lambda: _rows(path, "SELECT * FROM metrics"))
    ask("sql members", lambda: _rows(path, "SELECT * EXCLUDE (diverged_at) FROM members"))
    ask("sql runs", lambda: _rows(path, "SELECT experiment, created, name FROM runs"))
    return said


def mistakes(said: dict[str, Any], truth: dict[str, Any]) -> list[str]:
    """The answers that are neither true, nor refused in one line, nor admitted to be incomplete.

    Less than the truth may be told only if the run neither calls itself done nor hides the damage.
    """
    status, damage = said["status"], said["damage"]
    state = status["state"] if isinstance(status, dict) else "damaged"
    admitted = state != "done" and (isinstance(damage, SaltusError) or bool(damage))
    wrong = [
        f"{question}: a message of several lines"
        for question, answer in said.items()
        if isinstance(answer, SaltusError) and "\n" in str(answer)
    ]
    for question, answer in said.items():
        if isinstance(answer, SaltusError) or question == "damage":
            continue
        true = truth.get(question)
        if answer == true:
            continue
        less = question in _LISTS or admitted
        if not less or not _part(question, answer, truth):
            wrong.append(f"{question}: not what is true, and no word about it")
    return wrong


_LISTS = ("names", "checkpoints", "sql runs")  # of what is there; a cell of SQL may be empty


def _part(question: str, answer: Any, truth: dict[str, Any]) -> bool:
    true = truth.get(question)
    if question == "status":
        return answer["step"] <= true["step"]
    if question == "last checkpoint":
        return answer in [truth[name] for name in truth if name.startswith("checkpoint ")]
    if question in ("names", "checkpoints") or question.startswith("frames"):
        return set(answer) <= set(true)
    if question == "sql runs":
        cells = zip(answer[0], true[0], strict=True)
        return all(mine in (cell, "None", "'{}'") for mine, cell in cells)
    if question.startswith("sql"):
        return set(answer) <= set(true)
    if question.startswith("array"):
        return len(answer) <= len(true) and answer == true[: len(answer)]
    return False


def _array(run: Run, name: str) -> list[tuple[int, bytes]]:
    found = run.array(name)
    values = np.moveaxis(found.values, 1, 0)
    return [(int(s), v.tobytes()) for s, v in zip(found.steps, values, strict=True)]


def _tensors(run: Run, step: int | None) -> list[tuple[str, bytes]]:
    return _sorted(run.checkpoint(step))


def _sorted(tensors: dict[str, np.ndarray]) -> list[tuple[str, bytes]]:
    return [(name, tensor.tobytes()) for name, tensor in sorted(tensors.items())]


def _rows(path: Path, sql: str) -> list[tuple[str, ...]]:
    return sorted(tuple(map(repr, row)) for row in query(path, sql)[1])
