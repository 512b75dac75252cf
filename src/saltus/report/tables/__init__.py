"""Tables: a number with its interval in every cell, a row for each arm."""

from saltus.report.tables.record import Cell, Row, Table, interval_cell
from saltus.report.tables.text import write_table

__all__ = ["Cell", "Row", "Table", "interval_cell", "write_table"]
