"""Tables as data: what a cell says, and the number that it says it of."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan

from saltus.errors import SaltusError
from saltus.report.text import number
from saltus.transitions.statistics.intervals import Interval


@dataclass(frozen=True)
class Cell:
    """A number in words, small print below it, and the number itself for files of data."""

    text: str
    below: str = ""
    value: Interval | float | None = None


@dataclass(frozen=True)
class Row:
    """An arm. `color` is its place in the palette, where a figure beside the table has one."""

    label: str
    cells: tuple[Cell, ...]
    color: int | None = None


@dataclass(frozen=True)
class Table:
    """Rows under the names of their columns. Raises SaltusError where a row has other columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str
    corner: str = ""  # what the rows are

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise SaltusError(
                    f"table '{self.title}': row '{row.label}' has {len(row.cells)} cells, there "
                    f"are {len(self.columns)} columns"
                )


def interval_cell(found: Interval, beyond: float | None = None) -> Cell:
    """'2,800' with '[1,100, 4,000]' below; a dash where there is no estimate.

    An infinite estimate or end is said as '> 6,000' where `beyond`, the budget, is given.
    """
    if isnan(found.estimate):
        return Cell("–", "", found)
    return Cell(_amount(found.estimate, beyond), _ends(found, beyond), found)


def _ends(found: Interval, beyond: float | None) -> str:
    if found.low == inf:
        return "beyond the budget"
    if found.low == -inf or (found.low, found.high) == (0.0, inf):
        return "no interval"
    if found.high == inf:
        return f"not before {_amount(found.low, beyond)}"
    return f"[{_amount(found.low, beyond)}, {_amount(found.high, beyond)}]"


def _amount(value: float, beyond: float | None) -> str:
    if value == inf and beyond is not None:
        return f"> {_amount(beyond, None)}"
    if 1e3 <= abs(value) < 1e7:
        return f"{value:,.0f}"  # steps: as powers of ten they could not be compared
    return number(value)
