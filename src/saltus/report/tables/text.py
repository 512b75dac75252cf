"""Tables as text: Markdown for documents, CSV with whole numbers for programs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from saltus.errors import SaltusError
from saltus.report.save import save
from saltus.report.tables.record import Cell, Table
from saltus.transitions.statistics.intervals import Interval


def write_table(table: Table, path: Path) -> Path:
    """The table as Markdown or CSV by the suffix of `path`, written atomically."""
    forms = {".md": as_markdown, ".csv": as_csv}
    if path.suffix not in forms:
        raise SaltusError(f"table: suffix '{path.suffix}' is not allowed: {', '.join(forms)}")
    return save(path, forms[path.suffix](table).encode())


def as_markdown(table: Table) -> str:
    """Title, table and caption."""
    lines = [[table.corner, *table.columns], ["---"] * (len(table.columns) + 1)]
    lines += [[row.label, *(_words(cell) for cell in row.cells)] for row in table.rows]
    rows = ["| " + " | ".join(_flat(each) for each in line) + " |" for line in lines]
    return "\n".join([f"**{table.title}**", "", *rows, "", table.caption, ""])


def as_csv(table: Table) -> str:
    """One line per row. A column of intervals is four: estimate, low, high, count.

    Numbers as they are, `inf` and `nan` among them; words where a cell has no number.
    """
    intervals = [any(isinstance(row.cells[place].value, Interval) for row in table.rows)
                 for place in range(len(table.columns))]  # fmt: skip
    head = [table.corner or "row"]
    for name, several in zip(table.columns, intervals, strict=True):
        head += [f"{name}: {part}" for part in PARTS] if several else [name]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for row in table.rows:
        line: list[object] = [row.label]
        for cell, several in zip(row.cells, intervals, strict=True):
            line += _numbers(cell, several)
        writer.writerow(line)
    return file.getvalue()


PARTS = ("estimate", "low", "high", "count")


def _numbers(cell: Cell, several: bool) -> list[object]:
    if isinstance(cell.value, Interval):
        ends = [repr(float(getattr(cell.value, part))) for part in PARTS[:3]]
        return [*ends, cell.value.count]
    own = cell.text if cell.value is None else repr(float(cell.value))
    return [own, "", "", ""] if several else [own]


def _words(cell: Cell) -> str:
    below = cell.below if cell.below[:1] in ("", "[") else f"({cell.below})"
    return " ".join(filter(None, (cell.text, below)))


def _flat(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
