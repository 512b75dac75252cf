"""The page on Eureka statistics says what its programs print."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "eureka-statistics.md"


def test_the_programs_print_what_the_page_shows(capsys):
    text = PAGE.read_text("utf-8")
    curves, table = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(compile(curves, PAGE.name, "exec"), names)
    assert capsys.readouterr().out == shown
    exec(compile(table, PAGE.name, "exec"), names)
    assert "Eureka-ratio | Runs | Budget" in capsys.readouterr().out


def test_the_page_fits_the_width_of_the_code():
    lines = PAGE.read_text("utf-8").split("\n")
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100
