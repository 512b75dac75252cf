"""`saltus power` says what the functions below it compute, and asks for what it needs."""

import re
from pathlib import Path

import numpy as np
import pytest

from saltus.runs import Run, open_run
from saltus.transitions import (
    MeanEffect,
    Plateau,
    ShareEffect,
    TimeEffect,
    Transition,
    seeds_needed,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"


def test_seeds_for_a_difference_of_means(saltus):
    said = saltus("power", "mean", "--difference", 0.5, "--deviation", 1)
    assert said.code == 0 and said.err == ""
    assert said.out.splitlines()[:4] == [
        "effect     means 0.5 apart, deviation over seeds 1",
        "test       Student's t; two-sided, alpha 0.05",
        "seeds      64 per arm",
        "power      0.801 (exact)",
    ]
    numbers = [line.split()[0] for line in said.out.splitlines()[4:] if line.strip()[:1].isdigit()]
    assert numbers == ["32", "48", "64", "96", "128"]


def test_seeds_for_a_share(saltus):
    found = saltus("power", "share", "--from", 0.5, "--to", 0.9, "--json").document
    effect = ShareEffect(0.5, 0.9)
    assert found["seeds"] == seeds_needed(effect)
    assert found["power"]["estimate"] == effect.power(found["seeds"]).estimate
    assert found["power"]["simulations"] is None and found["detectable"] is None


def test_seeds_for_a_time(saltus):
    options = ["--ratio", 0.5, "--spread", 0.3, "--median", 1000, "--budget", 1200]
    said = saltus("power", "time", *options)
    found = saltus("power", "time", *options, "--json").document
    assert found["effect"] == {"ratio": 0.5, "spread": 0.3, "median": 1000, "budget": 1200}
    effect = TimeEffect(0.5, 0.3, 1000.0, 1200.0)
    assert found["seeds"] == seeds_needed(effect)
    assert found["power"]["low"] == effect.power(found["seeds"]).low
    assert found["power"]["simulations"] == 4000
    assert "ratio 0.5, spread 0.3, median 1000, budget 1200\n" in said.out
    assert f"seeds      {found['seeds']} per arm\n" in said.out
    assert "(over 4,000 simulated pairs of arms)\n" in said.out


def test_a_number_of_seeds_turns_the_question_round(saltus):
    said = saltus("power", "mean", "--deviation", 1, "--seeds", 64)
    assert "detectable a difference of 0.499 or more, with power 0.8\n" in said.out
    assert "power   " not in said.out  # of what?
    both = saltus("power", "mean", "--deviation", 1, "--difference", 1, "--seeds", 17)
    assert f"power      {MeanEffect(1.0, 1.0).power(17).estimate:.3f} (exact)\n" in both.out
    assert "a ratio of " in saltus("power", "time", "--spread", 0.3, "--seeds", 8).out
    share = saltus("power", "share", "--from", 0.5, "--seeds", 4)
    assert "detectable no effect, however large, with power 0.8\n" in share.out
    fewer = saltus("power", "share", "--from", 1, "--seeds", 12)
    assert "or less, with power 0.8\n" in fewer.out


def test_too_small_an_effect_is_no_error(saltus):
    said = saltus("power", "mean", "--difference", 0.001, "--deviation", 1)
    assert said.code == 0 and "seeds      more than 1,000 per arm for power 0.8\n" in said.out
    assert saltus(
        "power", "mean", "--difference", 0.001, "--deviation", 1, "--json"
    ).document["seeds"] is None  # fmt: skip


def test_a_deviation_is_measured_in_a_run(saltus, run):
    said = saltus("power", "mean", "--like", "tiny", "loss/train", "--seeds", 8, "--json")
    last = open_run(run).series("loss/train").values[:, -1]
    assert said.document["effect"]["deviation"] == pytest.approx(np.std(last, ddof=1))
    assert "runs/tiny loss/train: 2 members" in said.document["measured"]


def test_a_spread_is_measured_in_a_run(saltus, run, monkeypatch):
    """The leaps are set, since the tiny run has none; its last step is 6."""
    leaps = [2.0, 2.5, 3.0, 4.0]
    members = [{"member": k, "seed": k, "overrides": {}} for k in range(4)]
    found = [(Transition(Plateau(1.0, 0, at), 6.0, at, at, at, at, 0.0),) for at in leaps]
    monkeypatch.setattr(Run, "members", property(lambda self: members))
    monkeypatch.setattr(Run, "transitions", lambda self, name, direction: found)
    said = saltus("power", "time", "--like", "tiny", "loss/train", "--ratio", 0.5, "--json")
    effect = said.document["effect"]
    sigma = np.log(leaps).std(ddof=1)
    assert effect["spread"] == pytest.approx(np.sqrt(np.expm1(sigma**2)), rel=1e-4)
    assert effect["median"] == pytest.approx(np.exp(np.log(leaps).mean()), rel=1e-4)
    assert effect["budget"] == 6 and "4 of 4 members leapt" in said.document["measured"]
    longer = saltus("power", "time", "--like", "tiny", "loss/train", "--seeds", 8, "--budget", 9)
    assert "budget 9\n" in longer.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["tim"], "power: unknown question 'tim'; did you mean 'time'?"),
        (["time", "--ratio", 0.8], "power time: --spread is required, or --like RUN SERIES"),
        (["time", "--spread", 0.8], "power time: --ratio is required, or --seeds N"),
        (["share", "--to", 0.8], "power share: --from is required"),
        (["mean", "--difference", 1], "power mean: --deviation is required, or --like RUN SERIES"),
        (["mean", "--ratio", 1], "power mean: --ratio is not allowed here; allowed: --difference,"),
        (["share", "--from", 0.5, "--to", 1.2], "to: 1.2 is not allowed: a share, 0 to 1"),
        (["share", "--from", 0.5, "--seeds", 1], "seeds: 1 is not allowed: 2 to 1,000 per arm"),
        (["share", "--from", 0.5, "--to", 0.5], "effect: 0.5 is no effect"),
        (["share", "--from", 0.5, "--to", 1, "--power", 1], "power: 1 is not allowed: between"),
        (["time", "--ratio", "x"], "power: --ratio: 'x' is not"),
        (["mean", "--like", "tiny"], "option '--like' requires 2 arguments"),
        (["mean", "--difference", 1, "--like", "tony", "loss/train"], "RUN: 'tony' is not a run"),
        (["time", "--ratio", 2, "--like", "tiny", "loss/train"], "spread: 0 leaps of 2 seeds"),
    ],
    ids=["question", "spread", "size", "from", "deviation", "other", "share", "seeds", "nothing",
         "power", "number", "like", "run", "leaps"],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_said_in_one_line(saltus, run, options, message):
    said = saltus("power", *options)
    assert said.code == 2 and said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith(f"saltus: {message}")


def test_the_help_explains_the_three_questions(saltus):
    said = saltus("power", "--help").out
    for word in ("log-rank test", "Fisher's exact test", "Student's t test", "--like RUN SERIES"):
        assert word in said


def test_the_page_on_statistics_shows_what_its_code_prints(capsys):
    text = PAGE.read_text("utf-8")
    examples = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for code, printed in examples:
        exec(compile(code, PAGE.name, "exec"), {})
        assert capsys.readouterr().out == printed
    assert max(len(line) for line in text.split("\n") if not line.startswith("|")) <= 100


def test_the_page_on_statistics_shows_what_its_commands_print(saltus):
    commands = re.findall(r"^\$ saltus (.*)\n((?:[^$`].*\n|\n)*)", PAGE.read_text("utf-8"), re.M)
    assert len(commands) == 3
    for command, printed in commands:
        lines = [line.rstrip() for line in saltus(*command.split()).out.rstrip().split("\n")]
        assert lines == printed.rstrip().split("\n")
