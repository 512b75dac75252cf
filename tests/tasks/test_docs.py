"""The table of sequence tasks holds what the tasks say."""

from pathlib import Path

import pytest

from saltus.tasks import SequenceTask, Task

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tasks.md"
LINES = [line.split("|")[1:-1] for line in PAGE.read_text("utf-8").splitlines()]
ROWS = [[cell.strip() for cell in line] for line in LINES if len(line) == 7]
TABLE = {row[0].strip("`"): row for row in ROWS[2:]}  # after the head and the ruler


def test_every_sequence_task_has_a_row():
    ours = [part for part in Task.registry.values() if part.__module__.startswith("saltus.tasks.")]
    kinds = {part.model_fields["kind"].default for part in ours if issubclass(part, SequenceTask)}
    assert kinds == TABLE.keys()


@pytest.mark.parametrize("kind", sorted(TABLE))
def test_a_row_is_what_the_task_says(kind):
    task, row = Task.parse(kind), TABLE[kind]
    assert row[2] == f"{task.vocabulary}, {task.interface.positions}"
    levels = task.levels()
    for name, cell in zip(("floor", "plateau", "start"), row[3:6], strict=True):
        assert cell == (f"{levels[name]:.4f}" if name in levels else "")
    assert (row[6] == "not stated") == (task.attended(0) is None)
