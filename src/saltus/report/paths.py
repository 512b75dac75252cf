"""SVG paths from fractions of a pair of axes: whole units in a box that the page stretches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saltus.report.markup import Markup, tag

WIDE, HIGH = 2000, 1000


def line_path(x: np.ndarray, y: np.ndarray) -> str:
    """SVG path of a curve given in fractions; a gap wherever a value is not finite."""
    parts = []
    for stretch in _stretches(y):
        points = list(zip(units_across(x[stretch]), units_down(y[stretch]), strict=True))
        # A lone point would be invisible: a step of one unit shows it.
        parts.append(
            _path([*points, (points[0][0] + 1, points[0][1])] if len(points) == 1 else points)
        )
    return "".join(parts)


def dots_path(x: np.ndarray, y: np.ndarray) -> str:
    """SVG path of strokes without length: round ends make them dots, whatever the box's shape."""
    known = np.isfinite(x + y)
    places = zip(units_across(x[known]), units_down(y[known]), strict=True)
    return "".join(f"M{px} {py}l0 0" for px, py in places)


def band_path(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """SVG path of the area between two curves."""
    parts = []
    for stretch in _stretches(low + high):
        across = units_across(x[stretch])
        there = list(zip(across, units_down(high[stretch]), strict=True))
        back = list(zip(across, units_down(low[stretch]), strict=True))
        parts.append(_path([*there, *reversed(back)]) + "z")
    return "".join(parts)


def units_across(fractions: np.ndarray) -> list[int]:
    """Fractions of the x axis in units from the left."""
    return [round(v) for v in (fractions * WIDE).tolist()]


def units_down(fractions: np.ndarray) -> list[int]:
    """Fractions of the y axis in units from the top; what lies far outside is cut."""
    return [round(v) for v in ((1 - np.clip(fractions, -1, 2)) * HIGH).tolist()]


def straight(x1: int, y1: int, x2: int, y2: int, kind: str) -> Markup:
    """A straight stroke of the class `kind`."""
    return tag("path", d=f"M{x1} {y1}L{x2} {y2}", class_=kind)


def _stretches(values: np.ndarray) -> list[np.ndarray]:
    """Places of finite values, one array per unbroken stretch."""
    places = np.flatnonzero(np.isfinite(values))
    return np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []


def _path(points: Sequence[tuple[int, int]]) -> str:
    """'M x y l dx dy …' in whole units; points that do not move are dropped."""
    (px, py), *rest = points
    text = f"M{px} {py}l"
    moves = []
    for qx, qy in rest:
        if (qx, qy) != (px, py):
            moves.append(f"{qx - px} {qy - py}")
            px, py = qx, qy
    return text + " ".join(moves or ["0 0"])
