"""The board: several trainings at once, as lines and as bars."""

from __future__ import annotations

import threading
from io import StringIO

import pytest
from rich.console import Console

import saltus.cli.progress as module
from saltus.cli.progress import Board, Training
from saltus.runs import open_run


@pytest.fixture
def bars(monkeypatch) -> StringIO:
    """What is drawn on a terminal."""
    screen = StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(module, "console", lambda stderr=False: terminal)
    return screen


def test_the_loss_is_the_mean_over_shards_of_the_last_that_was_finite():
    own = Training("new", 10, {0: 0, 1: 4})
    assert (own.mean_step, own.loss) == (2, "-")
    own.losses.update({0: 1.0, 1: 2.5})
    assert own.loss == "1.7500"


def test_lines_of_two_trainings_at_once_do_not_mix(run, capsys):
    found = open_run(run)
    with Board() as board:
        first, second = (board.begin(label, found, "new") for label in ("a", "b"))
        first(0, 6, 1.0, 1)
        second(0, 6, 3.0, 0)
        second(0, 6, float("nan"), 0)  # diverged: the last finite loss stays
        board.end("b", None)
        board.end("a", found)
        board.begin("c", found, "reused")(0, 6, 1.0, 0)
        board.end("c", found)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [f"{label}: training 2 members, 6 steps in {run}" for label in "ab"]
    assert lines[2].startswith("b: failed in ") and lines[2].endswith(" s, loss 3.0000")
    assert lines[3].startswith("a: done in ") and lines[3].endswith(" s, loss 1.0000, 1 of 2 leapt")
    assert lines[4:] == [f"c: already trained: 2 members, 6 steps in {run}"]


def test_a_resumed_training_says_how_far_it_is(run, capsys):
    with Board() as board:
        board.begin("a", open_run(run), "resumed")
    assert capsys.readouterr().err == f"a: resuming 2 members, 6 steps, 100% done, in {run}\n"


def test_bars_stand_side_by_side_and_take_steps_from_any_thread(run, bars):
    found = open_run(run)
    with Board() as board:
        assert board.bars is not None
        reports = [board.begin(label, found, "new") for label in ("one", "two")]
        threads = [
            threading.Thread(target=report, args=(shard, step, 2.0, 0))
            for step in (1, 3)
            for report in reports
            for shard in board.trainings["one"].reached
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        board.begin("three", found, "reused")
        board.note("a line above")
        assert [(task.description, task.total) for task in board.bars.tasks] == [
            ("one", 6),
            ("two", 6),
        ]
        assert all(task.fields["loss"] == "2.0000" for task in board.bars.tasks)
    said = bars.getvalue()
    assert "a line above" in said and "three: already trained: 2 members" in said
    assert "one" in said and "two" in said and "training" not in said
