"""Heat maps as data: tables of numbers, with an interval over seeds for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.report.shades import Shade, shade_of
from saltus.report.text import count, listed, number, percent
from saltus.transitions.statistics.intervals import mean_interval

CONFIDENCE = 0.95


@dataclass(frozen=True)
class HeatMap:
    """One table. A value that is nan is missing, and is seen to be."""

    title: str
    values: Float[ndarray, "row column"]
    rows: tuple[str, ...]  # what each row is: 'layer 0'
    columns: tuple[str, ...]
    seeds: int = 0  # 0: computed, without seeds
    low: Float[ndarray, "row column"] | None = None  # the interval of each value
    high: Float[ndarray, "row column"] | None = None
    outlined: Bool[ndarray, "row column"] | None = None
    x_label: str = ""  # what the columns are: 'head'
    y_label: str = ""
    texts: tuple[tuple[str, ...], ...] | None = None  # what cells say in place of their values
    counts: Int[ndarray, "row column"] | None = None  # seeds of each cell, where they differ

    def seeds_at(self, row: int, column: int) -> int:
        """Seeds that a cell's interval is over."""
        return self.seeds if self.counts is None else int(self.counts[row, column])

    def text(self, row: int, column: int, digits: int = 4) -> str:
        """What a cell says."""
        if self.texts is not None:
            return self.texts[row][column]
        return number(float(self.values[row, column]), digits)

    def __post_init__(self) -> None:
        for name, shape in (("rows", self.values.shape[0]), ("columns", self.values.shape[1])):
            if len(getattr(self, name)) != shape:
                given = len(getattr(self, name))
                raise SaltusError(f"heat map '{self.title}': {given} {name} named, it has {shape}")
        if self.texts is not None and np.shape(self.texts) != self.values.shape:
            raise SaltusError(
                f"heat map '{self.title}': {np.shape(self.texts)} texts, it has {self.values.shape}"
            )


@dataclass(frozen=True)
class HeatMaps:
    """Tables side by side. `shared`: one scale of colours for all, else each has its own."""

    title: str
    maps: tuple[HeatMap, ...]
    caption: str
    unit: str = ""
    diverging: bool = False
    center: float = 0.0  # where diverging colours begin
    log: bool = False
    span: tuple[float, float] | None = None  # what the colours span; None: what there is
    shared: bool = True

    @cached_property
    def shades(self) -> tuple[Shade, ...]:
        """The scale of each map."""
        every = [each.values for each in self.maps]
        groups = [every] * len(every) if self.shared else [[each] for each in every]
        return tuple(
            shade_of(
                group, diverging=self.diverging, center=self.center, log=self.log, span=self.span
            )
            for group in groups
        )


def heat_map(
    title: str,
    values: Real[ndarray, "seed row column"] | Real[ndarray, "row column"],
    rows: Sequence[object] | None = None,
    columns: Sequence[object] | None = None,
    outlined: Bool[ndarray, "row column"] | None = None,
    *,
    x_label: str = "",
    y_label: str = "",
) -> HeatMap:
    """A table of means over seeds with 95 % t-intervals; without a seed axis, the values alone.

    Seeds whose value is not finite are left out of it. `rows` and `columns` name what they are,
    by default their numbers.
    """
    table = np.asarray(values, dtype=np.float64)
    seeds = len(table) if table.ndim == 3 else 0
    low = high = None
    if table.ndim == 3:
        found = [
            [mean_interval(table[:, row, column]) for column in range(table.shape[2])]
            for row in range(table.shape[1])
        ]
        ends = np.array([[(i.estimate, i.low, i.high) for i in line] for line in found])
        table, low, high = np.moveaxis(ends.reshape(*table.shape[1:], 3), -1, 0)
    named_rows, named_columns = (
        tuple(map(str, range(size) if given is None else given))
        for given, size in zip((rows, columns), table.shape, strict=True)
    )
    several = seeds > 1
    low, high = (low, high) if several else (None, None)
    return HeatMap(
        title, table, named_rows, named_columns, seeds, low, high, outlined, x_label, y_label
    )


def heat_maps(
    title: str,
    maps: Sequence[HeatMap],
    *notes: str,
    unit: str = "",
    diverging: bool = False,
    center: float = 0.0,
    log: bool = False,
    span: tuple[float, float] | None = None,
    shared: bool = True,
) -> HeatMaps:
    """Tables under one title, with the caption that they need, and the notes after it."""
    text = " ".join([caption(maps, shared), *notes])
    return HeatMaps(title, tuple(maps), text, unit, diverging, center, log, span, shared)


def caption(maps: Sequence[HeatMap], shared: bool = True) -> str:
    """How many seeds, what the numbers in brackets are, and whether colours can be compared."""
    known = {each.title: each.seeds for each in maps if each.seeds}
    if not known:
        text = "Computed, without seeds."
    elif set(known.values()) == {1}:
        text = "1 seed: single values, without an interval."
    else:
        amounts = set(known.values())
        one = count(next(iter(amounts)), "seed")
        who = one if len(amounts) == 1 else listed(
            [f"{title}: {count(amount, 'seed')}" for title, amount in known.items()]
        )  # fmt: skip
        text = f"{who}. Colour: mean over seeds; in the readout its {percent(CONFIDENCE)} interval."
    if len(maps) > 1:
        text += " One scale of colours for all." if shared else " Each has colours of its own."
    if any(not np.isfinite(each.values).all() for each in maps):
        text += " Hatched: no value."
    return text
