"""The table of formal languages holds what the languages say."""

from pathlib import Path

import pytest

from saltus.tasks import Task
from saltus.tasks.formal import FormalTask

PAGE = Path(__file__).resolve().parents[3] / "docs" / "tasks.md"
LINES = [line.split("|")[1:-1] for line in PAGE.read_text("utf-8").splitlines()]
ROWS = [[cell.strip() for cell in line] for line in LINES if len(line) == 6]
TABLE = {row[0].strip("`"): row for row in ROWS[2:]}  # after the head and the ruler


def test_every_language_has_a_row():
    ours = [part for part in Task.registry.values() if part.__module__.startswith("saltus.tasks.")]
    kinds = {part.model_fields["kind"].default for part in ours if issubclass(part, FormalTask)}
    assert kinds == TABLE.keys()


@pytest.mark.parametrize("kind", sorted(TABLE))
def test_a_row_is_what_the_language_says(kind):
    task, row = Task.parse(kind), TABLE[kind]
    assert row[2] == f"{task.vocabulary}, {task.interface.positions}"
    levels = task.levels()
    for name, cell in zip(("floor", "plateau", "start"), row[3:], strict=True):
        assert cell == (f"{levels[name]:.4f}" if name in levels else "")
    assert f"in {task.sizes[0]}..{task.sizes[-1]}" in row[1] or "plateau" in levels
