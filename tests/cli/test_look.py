"""`saltus look`: any instrument on any checkpoint of a run, and one line for what does not fit."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from saltus.runs import open_run

ALONE = "{kind: head-ablation, samples: 4}"


def test_scalars_have_intervals_and_arrays_their_means(saltus, run):
    said = saltus("look", "tiny", "--read", ALONE, "--read", "attention-map")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("runs/tiny at step 6, 2 members\n")
    assert "mean [95 % interval]" in said.out
    rows = {line.split()[0]: line.split() for line in said.out.splitlines() if line.strip()}
    assert rows["head-ablation/intact/loss"][2].startswith("[")
    assert rows["head-ablation/loss/blocks.0"][1] == "1"
    assert rows["attention-map/blocks.0"][1:6] == ["1", "x", "8", "x", "8"]
    assert "to" in rows["attention-map/blocks.0"]


@pytest.mark.parametrize("step", [0, 6])
def test_it_reads_what_the_run_read_live(saltus, run, step):
    command = ["look", "tiny", "--step", step, "--read", "evaluation", "--read", "attention-map"]
    found = saltus(*command, "--json").document
    assert (found["step"], found["donor"]) == (step, None)
    assert [each["seed"] for each in found["members"]] == [0, 1]
    assert len(found["readings"]) >= 5
    for each in found["readings"]:
        series = open_run(run).array(each["name"])
        then = series.values[:, series.steps.tolist().index(step)]
        assert np.array_equal(np.array(each["values"], dtype=then.dtype), then)
        (setting,) = each["settings"]
        assert np.allclose(setting["mean"], then.mean(axis=0))
        if not each["shape"]:
            assert setting["low"] <= setting["mean"] <= setting["high"]
            assert setting["seeds"] == 2


def test_one_member_is_read_as_it_is_among_all(saltus, run):
    every = saltus("look", "tiny", "--read", ALONE, "--json").document
    one = saltus("look", "tiny", "--read", ALONE, "--member", 1, "--json").document
    assert [each["member"] for each in one["members"]] == [1]
    for all_of_them, alone in zip(every["readings"], one["readings"], strict=True):
        assert alone["values"] == all_of_them["values"][1:]
    said = saltus("look", "tiny", "--read", ALONE, "--member", 1)
    assert "1 member" in said.out and "inf" not in said.out


def test_settings_are_not_averaged_over(saltus, tiny):
    saltus("run", tiny, "--vary", "optimizer.learning_rate=1e-2,1e-3")
    found = saltus("look", "tiny", "--read", "norms", "--json").document
    (norm,) = [each for each in found["readings"] if each["name"] == "norm/parameters"]
    assert [each["setting"] for each in norm["settings"]] == [
        {"optimizer.learning_rate": 1e-2}, {"optimizer.learning_rate": 1e-3}
    ]  # fmt: skip
    for k, each in enumerate(norm["settings"]):
        assert each["mean"] == pytest.approx(np.mean(norm["values"][2 * k : 2 * k + 2]))
    assert "optimizer.learning_rate" in saltus("look", "tiny", "--read", "norms").out


def test_a_donor_is_a_step_of_this_run_or_of_another(saltus, tiny, run):
    switching = ["--read", "component-switching", "--json"]
    saltus("run", tiny, "--name", "other", "--set", "optimizer.learning_rate=0.1")
    own = saltus("look", "tiny", *switching, "--donor", 0).document
    assert own["donor"] == "0"
    other = saltus("look", "tiny", *switching, "--donor", "other:0").document
    assert [e["values"] for e in own["readings"]] == [e["values"] for e in other["readings"]]
    later = saltus("look", "tiny", *switching, "--donor", "runs/other:6").document
    assert [e["values"] for e in own["readings"]] != [e["values"] for e in later["readings"]]


def test_instruments_can_stand_in_a_file(saltus, run):
    Path("mine.yaml").write_text("- norms\n- {kind: head-ablation, mode: batch-mean, samples: 4}\n")
    found = saltus("look", "tiny", "--read", "mine.yaml", "--json").document
    assert [each["kind"] for each in found["instruments"]] == ["norms", "head-ablation"]
    assert found["instruments"][1]["mode"] == "batch-mean"


LINES = {
    "--read 3": "--read: 3 is no instrument; give a kind or a mapping",
    "--read '{kind: head-ablation, mode: uniforn}'": (
        "--read: mode: 'uniforn' is not allowed: input should be 'uniform' or 'batch-mean'"
    ),
    "--read mine.yaml": "--read: mine.yaml: no such file",
    "--read norms --step 4": "runs/tiny has no checkpoint of step 4; allowed: 0, 3, 6",
    "--read norms --member 2": "--member: 2 is not allowed: 0 to 1",
    "--read grid-attention": (
        "instrument grid-attention: task moving-window-sum has no grid of cells"
    ),
    "--read component-switching": (
        "--donor: required for component-switching: STEP of the same run, or RUN:STEP"
    ),
    "--read norms --donor 0": "--donor: none of the instruments mixes two checkpoints",
    "--read component-switching --donor last": (
        "--donor: 'last' is not allowed: STEP of the same run, or RUN:STEP"
    ),
    "--read component-switching --donor deeper:6": (
        "donor: blocks.1.attention.key.bias is not in this model: another architecture"
    ),
    "--read component-switching --donor wider:6": (
        "donor: token.weight has shape [6, 16], this model needs [6, 8]: another architecture"
    ),
    "--read component-switching --donor more:6": ("donor: it holds 3 members, this run 2"),
    "--read '{kind: head-ablation, sets: {far: [[0, 1]]}}'": (
        "heads: blocks.0.attention.pattern has no head 1; allowed: 0 to 0"
    ),
    "--read '{kind: head-ablation, sets: {deep: [[2, 0]]}}'": (
        "instruments: the model has no site 'blocks.2.attention.heads'"
    ),
    "--read norms --read norms": "instruments: two of them give 'norm/attention.output'; keep one",
    "--read norms --device gpu": "experiment: engine: device 'gpu' is not a device; cpu or cuda",
}
OTHERS = {"deeper": "model.depth=2", "wider": "model.width=16", "more": "seeds=3"}


@pytest.mark.parametrize("command", LINES)
def test_what_does_not_fit_is_one_line(saltus, tiny, run, command):
    for name, change in OTHERS.items():
        if name in command:
            saltus("run", tiny, "--name", name, "--set", change)
    said = saltus("look", "tiny", *shlex.split(command))
    assert (said.code, said.out) == (2, "")
    allowed = LINES[command]
    if "no checkpoint" in allowed:  # a run keeps some more steps to resume from
        assert said.err.startswith(f"saltus: {allowed.partition('; ')[0]}; allowed: 0, ")
    else:
        assert said.err == f"saltus: {allowed}\n"
