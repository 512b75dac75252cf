"""Printing: one JSON document, or tables for 80 columns. Results on stdout, news on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from math import floor, isfinite, log10
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from saltus.runs import Run
    from saltus.transitions import Interval


def console(stderr: bool = False) -> Console:
    """A console that prints text as it is: brackets are intervals here, not markup."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def table(*columns: str, right: Sequence[str] = (), **options: Any) -> Table:
    """An empty table with a rule under its head; the columns named in `right` hold numbers."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", **options)
    for name in columns:
        justify = "right" if name in right else "left"
        made.add_column(name, justify=justify, overflow="fold", no_wrap=name in right)
    return made


def say(text: str = "") -> None:
    """One line of the result. It is never wrapped: paths must stay whole."""
    console().print(text, soft_wrap=True)


def print_json(document: Any) -> None:
    """One JSON document on stdout. Numbers that JSON does not have (NaN, infinity) become null."""
    sys.stdout.write(json.dumps(plain(document), indent=2, ensure_ascii=False) + "\n")


def plain(value: Any) -> Any:
    """Only what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def interval_text(interval: Interval) -> str:
    """'1.3043 [1.3018, 1.3068]': two digits of what is uncertain, and no more."""
    ends = (interval.estimate, interval.low, interval.high)
    width = (interval.high - interval.low) / 2
    if not (all(map(isfinite, ends)) and width > 0):
        estimate, low, high = (f"{end:.4g}" for end in ends)
    else:
        decimals = min(max(1 - floor(log10(width)), 0), 8)
        estimate, low, high = (f"{end:.{decimals}f}" for end in ends)
    return f"{estimate} [{low}, {high}]"


def range_text(middle: float, low: float, high: float) -> str:
    """'0.985 (0.845 to 1.09)': the median seed, and the smallest and the largest."""
    middle_text, low_text, high_text = (f"{value:.3g}" for value in (middle, low, high))
    return f"{middle_text} ({low_text} to {high_text})"


def count(amount: int, noun: str) -> str:
    """'1 seed', '8 seeds'."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def summary(run: Run) -> dict[str, Any]:
    """What scripts want to know of a run."""
    status = run.status
    members = [
        {**{key: each[key] for key in ("member", "seed", "overrides")},
         "diverged_at": status["diverged"].get(each["member"])}
        for each in run.members
    ]  # fmt: skip
    return {
        "run": str(run.path),
        **{key: run.experiment.get(key) for key in ("name", "study", "arm", "scale")},
        **{key: status[key] for key in ("state", "step", "steps")},
        "members": members,
        "diverged": len(status["diverged"]),
        "seconds": status["seconds"],
        "instrument_seconds": status["instrument_seconds"],
    }


def diverged_lines(run: Run) -> list[str]:
    """Each member that was frozen, with the step and its settings."""
    said = []
    for member, step in sorted(run.status["diverged"].items()):
        each = run.members[member]
        setting = "".join(f", {key} = {value}" for key, value in each["overrides"].items())
        said.append(
            f"member {member} (seed {each['seed']}{setting}) diverged at step {step}: "
            "its loss was not finite; it was frozen there, and the others trained on"
        )
    return said
