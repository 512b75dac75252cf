"""`saltus flow`: how far an optimiser is from gradient flow; a table, a document, a figure."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from saltus.runs import open_run

DESCENT = """\
name: descent
task: {kind: moving-window-sum, length: 3, alphabet: 3, modulus: 3}
model: {kind: decoder, width: 8, initial_deviation: 0.3}
optimizer: {kind: sgd, learning_rate: 0.02}
steps: 4
batch: 8
examples: 8
seeds: 2
engine: {workers: 1}
"""
VERY_SMALL = ("--set", "steps=2", "--moments", "2", "--reach", "1")


@pytest.fixture
def descent(tmp_path: Path) -> Path:
    """Full-batch gradient descent of a very small decoder."""
    path = tmp_path / "descent.yaml"
    path.write_text(DESCENT)
    return path


def test_two_tables_say_how_far_and_what_it_means(saltus, descent):
    said = saltus("flow", descent, "--moments", 2)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "descent: sgd beside gradient flow; mean [95 % interval] over 2 members"
    assert max(map(len, lines)) <= 80
    heads = [line.split() for line in lines if line.split()[:1] == ["step"]]
    assert heads == [
        ["step", "time", "distance", "from", "path"],
        ["step", "loss", "loss", "of", "flow", "flow", "is", "as", "low", "at"],
    ]
    rows = [line.split() for line in lines if line.split()[:1] in (["2"], ["4"])]
    assert [row[:2] for row in rows[:2]] == [["2", "0.04"], ["4", "0.08"]]
    assert all(0 < float(row[2]) < 0.1 for row in rows[:2])
    assert lines[-2:] == ["runs       runs/descent-steps", "           runs/descent-flow"]
    assert said.err.splitlines()[0] == "descent-steps: training 2 members, 4 steps in " + (
        "runs/descent-steps"
    )


def test_the_same_command_trains_once_unless_told(saltus, descent):
    first = saltus("flow", descent, *VERY_SMALL)
    again = saltus("flow", descent, *VERY_SMALL)
    assert again.out == first.out
    assert [line.split(": ")[1] for line in again.err.splitlines()] == ["already trained"] * 2
    anew = saltus("flow", descent, *VERY_SMALL, "--fresh", "--root", "runs")
    assert "runs/descent-flow-2" in anew.out and "already trained" not in anew.err


def test_json_is_one_document_even_with_a_figure(saltus, descent):
    command = ("flow", descent, *VERY_SMALL, "--json", "--figure", "distance.svg")
    found = saltus(*command).document
    assert (found["name"], found["optimizer"]) == ("descent", "sgd")
    assert [run["run"] for run in found["runs"]] == ["runs/descent-steps", "runs/descent-flow"]
    assert [each["seed"] for each in found["runs"][0]["members"]] == [0, 1]
    assert found["steps"] == [0, 1, 2] and found["times"] == pytest.approx([0, 0.02, 0.04])
    assert found["end_of_flow"] == found["times"][-1]
    for name in ("distance", "from_path", "loss", "loss_of_flow", "flow_is_as_low_at"):
        assert [len(values) for values in found[name]] == [3, 3]
    assert found["distance"][0][0] is None and found["distance"][0][1] > 0
    mean = sum(values[-1] for values in found["distance"]) / 2
    assert found["at_the_end"]["distance"]["mean"] == pytest.approx(mean)
    assert found["at_the_end"]["from_path"]["seeds"] == 2
    assert found["figure"] == "distance.svg"
    assert "Distance from the flow" in Path("distance.svg").read_text()


def test_finer_steps_fall_on_a_line_of_slope_1(saltus, descent):
    command = ("flow", descent, "--finer", "1,10,100", "--figure", "slope.svg")
    found = saltus(*command, "--json").document
    assert found["step_sizes"] == pytest.approx([0.02, 0.002, 0.0002])
    assert found["factors"] == [1, 10, 100]
    assert found["slopes"] == pytest.approx([1, 1], abs=0.1)
    assert found["slope"]["mean"] == pytest.approx(sum(found["slopes"]) / 2)
    assert len(found["runs"]) == 4 and found["figure"] == "slope.svg"
    said = saltus(*command)
    assert "descent: sgd tending to gradient flow; mean [95 % interval] over 2 members" in said.out
    assert "\nslope of log error over log step size: 1.0" in said.out
    assert said.out.endswith("           runs/descent-over-100\nfigure     slope.svg\n")
    assert "slope 1" in Path("slope.svg").read_text()


def test_where_the_flow_has_not_come_so_low_yet_it_says_after(saltus, descent):
    adam = ("--set", "optimizer={kind: adam, learning_rate: 0.03}")
    said = saltus("flow", descent, *adam, *VERY_SMALL)
    assert said.out.count("after 0.06") == 2
    assert saltus("flow", descent, *adam, *VERY_SMALL, "--json").document["flow_is_as_low_at"] == [
        [0, None, None]
    ] * 2  # fmt: skip


def test_a_study_s_arm_and_seeds_of_ones_own(saltus):
    arm = ("flow", "word-cooccurrence:U-0.08", "--seeds", 1, "--moments", 1, "--reach", 1)
    found = saltus(*arm, "--json").document
    assert found["optimizer"] == "sgd" and len(found["distance"]) == 1
    run = open_run(found["runs"][0]["run"])
    assert (run.name, run.experiment["study"]) == ("U-0.08-steps", None)


def test_a_member_that_diverges_is_named_and_left_out(saltus, descent):
    wild = ("--set", "vary={model.initial_scale: [1.0, 1e200]}", "--seeds", 1)
    said = saltus("flow", descent, *VERY_SMALL, *wild)
    assert said.code == 0
    for run in ("descent-steps", "descent-flow"):
        assert f"diverged   {run}: member 1 (seed 0, model.initial_scale = 1e+200) " in said.out
    found = saltus("flow", descent, *VERY_SMALL, *wild, "--json").document
    assert found["distance"][0][1] > 0 and found["distance"][1] == [None, None, None]
    assert found["at_the_end"]["distance"]["seeds"] == 1


def test_ctrl_c_says_that_the_same_command_continues(saltus, descent, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("saltus.training.ensemble.Ensemble.update", stop)
        said = saltus("flow", descent, *VERY_SMALL)
    assert said.code == 130
    last = said.err.splitlines()[-1]
    assert last == "saltus: interrupted; nothing is lost: the same command continues"
    said = saltus("flow", descent, *VERY_SMALL)
    assert said.err.startswith("descent-steps: resuming 2 members, 2 steps")
    assert said.code == 0


def test_a_run_that_fails_is_one_line_and_exit_code_1(saltus, descent, monkeypatch):
    from saltus.errors import SaltusError

    def fail(*_: object) -> None:
        raise SaltusError("disk full")

    monkeypatch.setattr("saltus.training.ensemble.Ensemble.update", fail)
    said = saltus("flow", descent, *VERY_SMALL)
    assert (said.code, said.out) == (1, "")
    assert said.err.splitlines()[-1] == "saltus: disk full"


# command, the line after "saltus: "
LINES = {
    "flow": "flow: FILE is required, and not given; see saltus flow --help",
    "flow missing.yaml": "missing.yaml: no such file; give a YAML file, or STUDY:ARM of a study",
    "flow descent.yaml --finer 1": (
        "--finer: '1' is not allowed: two or more different numbers"
    ),
    "flow descent.yaml --finer 2,2": (
        "--finer: '2,2' is not allowed: two or more different numbers"
    ),
    "flow descent.yaml --finer 1,x": (
        "--finer: '1,x' is not allowed: whole numbers, as in 1,2,5,10"
    ),
    "flow descent.yaml --finer 0,1": (
        "--finer: '0,1' is not allowed: whole numbers, as in 1,2,5,10"
    ),
    "flow descent.yaml --finer 1,10 --moments 3": "flow: --moments and --finer exclude each other",
    "flow descent.yaml --finer 1,10 --reach 3": "flow: --reach and --finer exclude each other",
    "flow descent.yaml --moments 0": (
        "flow: --moments: '0' is not allowed: input should be greater than or equal to 1"
    ),
    "flow descent.yaml --examples 0": (
        "flow: --examples: '0' is not allowed: input should be greater than or equal to 1"
    ),
    "flow descent.yaml --examples 4": "experiment: batch 8 is larger than examples 4",
    "flow descent.yaml --reach 0.5": "reach: 0.5 is not allowed: a number from 1",
    "flow descent.yaml --reach nan": "reach: nan is not allowed: a number from 1",
    "flow descent.yaml --seeds 0": "--seeds: '0' is not allowed: a number of seeds, 1 or more",
    "flow descent.yaml --figure leap.gif": (
        "--figure: 'leap.gif' is not allowed: must end in .svg, .pdf, .png"
    ),
    "flow descent.yaml --set optimizer.learning_rate=0": (
        "optimizer.learning_rate: it is 0 for some time; allowed: above 0"
    ),
    "flow descent.yaml --set 'vary={optimizer.learning_rate: [0.1, 0.2]}'": (
        "vary.optimizer.learning_rate: the members of twins share one clock; "
        "allowed: fields outside the optimizer"
    ),
    "flow word-cooccurrence:U-flow": (
        "optimizer: gradient-flow has no steps; allowed: sgd, adam, adamw"
    ),
    "flow word-cooccurrence:U-flow --finer 1,2": (
        "optimizer: gradient-flow has no steps; allowed: sgd, adam, adamw"
    ),
    "flow word-cooccurrence:U-0.01 --examples 32": (
        "experiment: examples: 32 samples in exact counts: allowed: multiples of 6"
    ),
    "flow descent.yaml --root descent.yaml/runs": (
        "cannot create run 'descent-steps' in descent.yaml/runs: not a directory"
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", LINES)
def test_bad_input_is_one_line_and_leaves_nothing(saltus, descent, command):
    said = saltus(*shlex.split(command))
    assert said.err == f"saltus: {LINES[command]}\n"
    assert (said.code, said.out) == (2, "")
    assert [path.name for path in descent.parent.iterdir()] == ["descent.yaml"]


def test_a_figure_that_cannot_be_written_is_one_line_and_the_runs_stay(saltus, descent):
    said = saltus("flow", descent, *VERY_SMALL, "--figure", "descent.yaml/distance.svg")
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("saltus: cannot write descent.yaml/distance.svg: ")
    assert json.loads(saltus("runs", "--json").out)[0]["state"] == "done"
