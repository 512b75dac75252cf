"""`saltus compare`: what it prints and writes, and one clear line for what it cannot do."""

from __future__ import annotations

import re
import shlex
import shutil
from math import inf, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.cli.compare import NEXT_FIELD, SETTING, short_text
from saltus.experiment import Experiment
from saltus.report.files import FigureFiles
from saltus.runs import open_run
from saltus.training.launch import start
from saltus.transitions import Interval

RATE = "optimizer.learning_rate"


@pytest.fixture(scope="module")
def trained(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a sweep of two step sizes over three seeds."""
    root = tmp_path_factory.mktemp("sweeps")
    text = (finished / "experiment.yaml").read_text()
    changes = {"name": "sweep", "seeds": 3, "vary": {RATE: [1e-3, 1e-2]}}
    start(Experiment.from_yaml(text).override(changes), root)
    return root


@pytest.fixture
def sweep(trained: Path, run: Path, tmp_path: Path) -> Path:
    """runs/sweep beside runs/tiny."""
    return Path(shutil.copytree(trained / "sweep", tmp_path / "runs" / "sweep"))


def test_a_sweep_alone_compares_its_settings(saltus, sweep):
    said = saltus("compare", "sweep")
    assert said.code == 0
    assert "A  learning_rate = 0.001 (reference)\nB  learning_rate = 0.01\n" in said.out
    assert re.search(r"A +0/3 +0 \[0, 0\.\d+\] +∞ \[", said.out)
    assert re.search(r"evaluation/loss +−?\d", said.out)
    assert said.out.endswith("page: compare.html\n")
    assert max(map(len, said.out.splitlines())) <= 80
    assert "learning_rate = 0.01 against learning_rate = 0.001" in Path("compare.html").read_text()


def test_settings_are_chosen_and_come_in_the_order_given(saltus, sweep):
    said = saltus("compare", f"sweep:{RATE}=1e-2", "sweep:learning_rate=1e-3", "--json")
    document = said.document
    assert said.code == 0
    assert document["reference"] == "learning_rate = 0.01"
    assert [group["setting"] for group in document["groups"]] == [{RATE: 0.01}, {RATE: 0.001}]
    assert document["differs"] == {RATE: ["0.01", "0.001"]}
    assert document["leaps"]["horizon"] == 6.0
    each = next(e for e in document["effects"] if e["metric"] == "loss/train")
    assert each["paired"] and each["difference"]["count"] == 3
    low, high = each["difference"]["low"], each["difference"]["high"]
    assert low <= each["difference"]["estimate"] <= high
    values = open_run(sweep).series("loss/train").values[:, -1]
    assert each["difference"]["estimate"] == pytest.approx(values[:3].mean() - values[3:].mean())


def test_two_runs_of_other_seeds_and_a_file_with_figures(saltus, sweep, monkeypatch):
    drawn = []  # drawing them takes long, and tests/report does it

    def draw(comparison, folder):
        drawn.append(comparison)
        return [FigureFiles(1, "First", (folder / "1.svg", folder / "1.pdf"))]

    monkeypatch.setattr("saltus.report.comparison.compare.write_figures", draw)
    said = saltus("compare", "runs/tiny", "sweep:learning_rate=1e-2", "--series", "evaluation/loss",
                  "-o", "out/page.html", "--figures", "out/figures", "--json")  # fmt: skip
    document = said.document
    assert document["file"] == "out/page.html" and Path("out/page.html").is_file()
    assert document["leaps"]["series"] == "evaluation/loss"
    assert not any(each["paired"] for each in document["effects"])
    assert document["figures"] == ["out/figures/1.svg", "out/figures/1.pdf"] and len(drawn) == 1
    assert document["differs"]["seeds"] == ["0, 1", "0 to 2"]


def test_the_page_holds_the_line_that_makes_it_again(saltus, sweep):
    arguments = ["tiny", f"sweep:{RATE}=0.01", "--at-end", "--series", "loss/train", "-o", "a.html"]
    first = saltus("compare", *arguments)
    line = re.search(r"<code>(saltus compare [^<]*)</code>", Path("a.html").read_text()).group(1)
    again = saltus(*shlex.split(line)[1:])
    assert (again.code, again.out) == (0, first.out)


def test_bad_input_is_one_line(saltus, sweep):
    cases = {
        ("tiny",): "only tiny is given, and it is one setting",
        ("tiny", "tiny"): "compare: tiny is given twice",
        ("tiny", "tinny"): "'tinny' is not a run, and none below runs has that name; did you mean",
        ("sweep:learning_rate=3", "tiny"): "no setting has optimizer.learning_rate = 3; there are: "
        "0.001, 0.01",
        ("sweep:width=3", "tiny"): "unknown varied field 'width'. Allowed: optimizer.learning_rate",
        ("tiny:width=3", "sweep"): "tiny: its members differ in nothing but their seed",
        (f"sweep:{RATE}=1,{RATE}=2", "tiny"): "a field is given twice",
        (f"sweep:{RATE}=[", "tiny"): "is not YAML",
        ("tiny", "sweep", "--series", "loss/trian"): "--series: unknown series of all groups "
        "'loss/trian'; did you mean 'loss/train'?",
        ("tiny", "sweep", "-o", "runs"): "cannot write runs",
        (): "RUN is required, and not given",
    }
    for arguments, words in cases.items():
        said = saltus("compare", *arguments)
        assert (said.code, said.out) == (2, ""), arguments
        assert words in said.err and said.err.count("\n") == 1, said.err


def test_infinite_ends_are_said_and_missing_numbers_are_a_dash():
    assert short_text(Interval(nan, -inf, inf, 3)) == "–"
    assert short_text(Interval(inf, 120.0, inf, 3)) == "∞ [120, ∞]"
    assert short_text(Interval(-47.86, -inf, 26.94, 3)) == "−47.9 [−∞, 26.9]"
    assert short_text(Interval(1.0, 0.5, 1.5, 3)) == "1 [0.5, 1.5]"
    assert short_text(Interval(-2e-6, -3e-6, 0.0, 3)) == "−2 [−3, 0]·10⁻⁶"
    assert short_text(Interval(0.0, 0.0, 0.0, 3)) == "0 [0, 0]"


fields = st.from_regex(r"[a-z_][a-z0-9_]{0,5}(\.[a-z0-9_]{1,4}){0,2}", fullmatch=True)
values = st.from_regex(r"[0-9.e-]{1,5}|\[[0-9](,[0-9]){0,2}\]", fullmatch=True)


@given(st.lists(st.tuples(fields, values), min_size=1, max_size=3))
def test_settings_are_taken_apart_as_they_were_put_together(pairs):
    text = ",".join(f"{field}={value}" for field, value in pairs)
    found = SETTING.fullmatch(f"runs/my-sweep:{text}")
    assert found["run"] == "runs/my-sweep"
    assert NEXT_FIELD.split(found["settings"]) == [f"{field}={value}" for field, value in pairs]
