"""Collects the rows of the torture tests, prints their table at the end, and writes it if asked.

SALTUS_TORTURE_TABLE names the file; everything between its two marks is replaced.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of what was run, failures included."""
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
    ]
    lines = {
        value for report in reports for name, value in report.user_properties if name == "torture"
    }
    # Each line begins with the place of its test, so that the order is that of the files.
    table = [line.split("\t", 1)[1] for line in sorted(lines)]
    if not table:
        return
    text = "| fault | times | what is demanded | held |\n| --- | ---: | --- | --- |\n"
    text += "".join(f"{line}\n" for line in table)
    terminalreporter.write_sep("=", "torture")
    terminalreporter.write(text)
    if place := os.environ.get("SALTUS_TORTURE_TABLE"):
        path = Path(place)
        before, rest = path.read_text().split(BEGIN)
        path.write_text(before + BEGIN + "\n" + text + "\n" + END + rest.split(END)[1])
        terminalreporter.write_line(f"written to {place}")
