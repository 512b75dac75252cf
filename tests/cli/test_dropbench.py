"""`saltus dropbench`: tables, one JSON document, files, strangers' detectors, and its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from saltus.transitions.dropbench.curves import curves
from saltus.transitions.dropbench.files import read_curves

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dropbench.md"
RULES = """\
def first(steps, values, changes):
    return [float(steps[1])]

def torn(steps, values, changes):
    return values[99999]

class Silent:
    def __init__(self, members):
        pass

    def update(self, step, values):
        return []
"""
QUICK = ("dropbench", "--no-baselines", "--count", 4, "--seed", 267)  # short curves


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A stranger's module in the directory in which commands run."""
    path = tmp_path / "rules_of_a_test.py"
    path.write_text(RULES)
    return path


def rows(text: str, name: str) -> list[list[str]]:
    """The lines of tables that begin with a detector's name."""
    return [line.split() for line in text.splitlines() if line.split()[:1] == [name]]


def test_tables_fit_80_columns_and_carry_intervals(saltus, rules):
    said = saltus(
        *QUICK, "--detector", "rules_of_a_test:first", "--online", "rules_of_a_test:Silent"
    )
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "4 curves of split test, seed 267; shares in % [95 % interval]"
    assert max(map(len, lines)) <= 80
    assert len(rows(said.out, "find")) == len(rows(said.out, "first")) == 3
    assert len(rows(said.out, "watch")) == len(rows(said.out, "Silent")) == 4
    assert rows(said.out, "first")[0][1:4] == ["0.0", "[0.0,", "49.0]"]  # Wilson: 0 of 4
    assert said.err.splitlines() == [
        f"{name}: 4 curves" for name in ("find", "watch", "first", "Silent")
    ]


def test_the_baselines_are_measured_unless_told_otherwise(saltus):
    found = saltus("dropbench", "--count", 2, "--seed", 267, "--json").document
    assert [each["detector"] for each in found["offline"]] == [
        *("find", "pelt-bic", "pelt", "pelt-rbf", "binseg", "half-height")
    ]
    assert [each["detector"] for each in found["live"]] == [
        *("watch", "cusum", "cusum-cautious", "pelt-again")
    ]


def test_json_says_everything_with_intervals(saltus, run):
    found = saltus(*QUICK, "--json", "--split", "development", "--seed", 25, "--root", "runs",
                   "--write", "set").document  # fmt: skip
    assert (found["split"], found["seed"], found["curves"]) == ("development", 25, 4)
    (find,), (watch,) = found["offline"], found["live"]
    for share in (find["precision"], find["recall"], watch["detected"]):
        assert share["confidence"] == 0.95
        assert share["low"] <= share["estimate"] <= share["high"]
    assert find["curves"] == watch["curves"] == 4 and find["milliseconds_per_curve"] > 0
    assert sorted(find["false_by_kind"]) == ["accelerating", "exponential", "relaxing", "sigmoid"]
    assert found["real"] is None  # the tiny run is too short
    assert found["files"] == ["set/curves.npz", "set/labels.json"]
    written = read_curves("set")
    assert [each.name for each in written] == [each.name for each in curves("development", 4, 25)]


def test_losses_of_runs_are_measured_too(saltus, run, monkeypatch):
    monkeypatch.setattr("saltus.transitions.dropbench.real.FEWEST", 5)
    said = saltus(*QUICK, "--root", "runs")
    assert said.code == 0 and "Real curves: 2 losses below runs," in said.out
    assert rows(said.out, "find")[-1][1] == "2"
    found = saltus(*QUICK, "--root", "runs", "--json").document["real"]
    assert found["curves"] == 2 and found["detectors"][0]["with_a_drop"]["count"] == 2


def test_too_short_runs_are_said_to_be_so(saltus, run):
    last = saltus(*QUICK, "--root", "runs").out.splitlines()[-1]
    assert last == "no finished run below runs has a loss of 30 points or more"


def test_kinds_are_shown_when_asked_for(saltus):
    said = saltus(*QUICK, "--kinds").out
    assert len(rows(said, "accelerating")) == 2 and rows(saltus(*QUICK).out, "accelerating") == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--split", "tset"),
         "split: unknown split 'tset'; did you mean 'test'? Allowed: development, test"),
        (("--count", "0"), "dropbench: --count: '0' is not allowed: "),
        (("--root", "nowhere"), "--root: nowhere is not a directory"),
        (("--detector", "mine"), "--detector: 'mine' is not allowed: write package.module:name"),
        (("--detector", "rules_of_a_test:frist"),
         "--detector: rules_of_a_test has no function or class 'frist'"),
        (("--online", "rules_of_a_test:first"),
         "--online: 'rules_of_a_test:first' is no class with a method update(step, values)"),
        (("--detector", "rules_of_a_test:torn"),
         "torn fails on curve test/267/0: IndexError: index 99999 is out of bounds for axis 0 "),
        (("--write", "rules_of_a_test.py"),
         "cannot write rules_of_a_test.py/curves.npz: "),
    ],
    ids=["split", "count", "root", "no-colon", "no-name", "no-class", "torn", "write"],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(saltus, rules, options, line):
    said = saltus(*QUICK, *options)
    assert said.code == 2 and said.out == ""
    last = said.err.splitlines()[-1]
    assert last.startswith(f"saltus: {line}") and "Traceback" not in said.err


def test_the_page_adds_a_detector_as_it_says(saltus, tmp_path):
    text = PAGE.read_text("utf-8")
    (source,) = re.findall(r"```python\n# (my_rules\.py)\n(.*?)```", text, re.DOTALL)
    (tmp_path / source[0]).write_text(source[1])
    (command,) = re.findall(r"^saltus (dropbench --detector .*)$", text, re.MULTILINE)
    said = saltus(*command.split(), "--count", 10, "--seed", 258, "--no-baselines")
    assert said.code == 0
    shares = rows(said.out, "half_way")[0]
    assert float(shares[1]) > 50 and float(shares[4]) > 50  # on single leaps it is good enough


def test_the_page_fits_the_width_of_the_code():
    lines = PAGE.read_text("utf-8").split("\n")
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100
