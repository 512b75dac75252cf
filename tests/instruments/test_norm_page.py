"""The page on norms is run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "norms.md"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    assert len(blocks) == 6
    exec(compile("\n".join(blocks), str(PAGE), "exec"), {"__name__": "page"})


def test_the_page_fits_the_width_of_the_code() -> None:
    lines = PAGE.read_text("utf-8").split("\n")
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100
