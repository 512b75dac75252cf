"""`saltus reproduce` on a study of two tiny arms: what it prints, and what it takes up again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import saltus.studies.reproduce as module
from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import Run, list_runs, open_run, verify
from saltus.studies import Claim, Range, Study, amount
from saltus.studies.reproduce import arms_of, reproduce
from saltus.training.launch import train_in_worker
from saltus.training.workers import Workers
from tiny_experiments import HELD, held_shard

QUICK = Path("runs/quick/toy")


def last_loss(arms):
    values = [run.series("loss/train").values[:, -1] for run in arms.values()]
    return [amount("last loss", np.concatenate(values), Range(1.0, 3.0))]


def missing_series(arms):
    return [amount("nothing", arms["slow"].series("nothing").values[:, -1], Range())]


class Lasting(Workers):
    """Workers that outlive a study: to start them takes longer than to train all of its arms."""

    def train(self, path, shards, progress=None) -> None:
        super().train(str(Path(path).absolute()), shards, progress)  # each test has a directory

    def close(self) -> None:
        pass

    def end(self) -> None:
        super().close()


@pytest.fixture(scope="module")
def lasting() -> Iterator[Lasting]:
    pool = Lasting(2, train_in_worker)
    yield pool
    pool.end()


@pytest.fixture
def toy(tiny, monkeypatch, lasting) -> Study:
    """A study whose claims end in each of the ways that a claim can end."""
    plain = Experiment.load(tiny).override({"instruments": []})
    base = plain.override({"study": "toy", "arm": "slow", "name": "toy-slow"})
    fast = base.override({"arm": "fast", "name": "toy-fast", "optimizer.learning_rate": 0.1})
    said = {"source": "nowhere", "tolerance": "1 to 3"}
    study = Study(
        name="toy",
        title="A toy",
        paper="unpublished",
        question="Does it print?",
        recipe=lambda scale: {"slow": base, "fast": fast},
        claims=lambda scale: [
            Claim(1, "Both end near", paper="2", arms=("slow", "fast"), measure=last_loss, **said),
            Claim(2, "No such arm", paper="-", arms=("other",), measure=last_loss, **said),
            Claim(3, "No such series", paper="-", arms=("slow",), measure=missing_series, **said),
        ],
        changed="everything",
        headline=("loss/train",),
    )
    monkeypatch.setattr("saltus.studies.study.all_studies", lambda: {"toy": study})
    monkeypatch.setattr("saltus.studies.all_studies", lambda: {"toy": study})
    monkeypatch.setattr(module, "Workers", lambda count, work: lasting)
    return study


def losses(root: str | Path = QUICK) -> dict[str, np.ndarray]:
    return {run.name: run.series("loss/train").values for run in list_runs(root)}


def test_it_prints_the_ledger_the_costs_and_the_report(saltus, toy):
    said = saltus("reproduce")
    assert said.code == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "A toy - unpublished" in lines
    assert "quick scale: everything" in lines
    assert "1 Both end near reproduced" in lines
    assert any(line.startswith("- last loss ") and line.endswith("] 4") for line in lines)
    assert "2 No such arm not run" in lines
    assert "3 No such series inconclusive" in lines
    assert "1 reproduced, 1 not run, 1 inconclusive" in lines
    assert any(line.startswith("slow new 2 ") and line.endswith("%") for line in lines)
    assert lines[-1] == "report: runs/quick/report.html"
    assert "</html>" in Path("runs/quick/report.html").read_text()
    assert max(map(len, said.out.splitlines())) <= 80
    trained = [line for line in said.err.splitlines() if "training" in line]
    assert sorted(trained) == [
        f"toy/{arm}: training 2 members, 6 steps in {QUICK}/toy-{arm}" for arm in ("fast", "slow")
    ]
    assert len(said.err.splitlines()) == 4  # begun and done, per arm


def test_json_holds_all_of_it(saltus, toy):
    said = saltus("reproduce", "toy", "--json", "--seeds", 3, "--report", "page.html")
    assert said.code == 0
    found = said.document
    assert found["report"] == "page.html" and Path("page.html").exists()
    study = found["studies"][0]
    first = study["findings"][0]
    assert (first["verdict"], first["paper"]) == ("reproduced", "2")
    assert len(first["quantities"][0]["values"]) == first["quantities"][0]["seeds"] == 6
    assert [each["verdict"] for each in study["findings"][1:]] == ["not run", "inconclusive"]
    for arm in study["arms"]:
        assert arm["how"] == "new" and arm["error"] is None
        assert [each["seed"] for each in arm["members"]] == [0, 1, 2]
        assert arm["overhead"] == pytest.approx(arm["instrument_seconds"] / arm["seconds"])


def test_every_figure_of_the_report_is_written_where_asked(saltus, toy):
    said = saltus("reproduce", "--figures", "drawn")
    lines = [line for line in said.out.splitlines() if line.startswith("figure: ")]
    assert lines == [
        "figure: drawn/toy/1-training-loss.svg, .pdf, .png: Training loss",
        "figure: drawn/toy/2-headline-series.svg, .pdf, .png: Headline series",
    ]
    files = sorted(path.name for path in Path("drawn/toy").iterdir())
    assert files == [f"{name}.{kind}" for name in ("1-training-loss", "2-headline-series")
                     for kind in ("pdf", "png", "svg")]  # fmt: skip
    said = saltus("report", QUICK / "toy-slow", "--figures", "one", "--json")
    assert said.document["figures"] == [f"one/1-training-loss.{k}" for k in ("svg", "pdf", "png")]


def test_a_finished_run_of_the_same_experiment_is_used_again(saltus, toy):
    saltus("reproduce")
    before = {path: path.stat().st_mtime_ns for path in QUICK.rglob("*") if path.is_file()}
    said = saltus("reproduce", "toy")
    assert said.code == 0
    assert f"toy/slow: already trained: 2 members, 6 steps in {QUICK}/toy-slow" in said.err
    assert before == {path: path.stat().st_mtime_ns for path in QUICK.rglob("*") if path.is_file()}
    # another number of seeds is another experiment, and --fresh asks for one
    for options in (["--seeds", 1], ["--seeds", 1, "--fresh"]):
        saltus("reproduce", *options)
    assert {run.name: len(run.seeds) for run in list_runs(QUICK)} == {
        "toy-slow": 2, "toy-fast": 2, "toy-slow-2": 1, "toy-fast-2": 1, "toy-slow-3": 1,
        "toy-fast-3": 1,
    }  # fmt: skip


def test_after_ctrl_c_the_same_command_continues(saltus, toy, monkeypatch, ctrl_c):
    """One arm of three is on its way, the others wait for their turn."""
    arms = toy.recipe("quick")
    held = arms["slow"].override({"arm": "held", "name": "toy-held"})
    more = dataclasses.replace(toy, recipe=lambda scale: {"held": held, **arms})
    monkeypatch.setattr("saltus.studies.all_studies", lambda: {"toy": more})
    monkeypatch.setattr("saltus.studies.study.all_studies", lambda: {"toy": more})
    pools: list[Workers] = []

    def pool(count: int, work: object) -> Workers:
        pools.append(Workers(count, held_shard))
        return pools[0]

    with monkeypatch.context() as patch, ctrl_c("toy/held", HELD):
        patch.setattr(module, "Workers", pool)
        patch.setattr(module, "cores", lambda: 1)
        said = saltus("reproduce", "toy")
    assert said.code == 130
    assert said.err.splitlines() == [
        f"toy/held: training 2 members, 6 steps in {QUICK}/toy-held",
        "saltus: interrupted; nothing is lost: the same command continues",
    ]
    assert not pools[0].workers and not pools[0].dispatcher.is_alive()
    assert open_run(QUICK / "toy-held").status["state"] == "interrupted"
    said = saltus("reproduce", "toy")
    assert said.code == 0
    assert f"toy/held: resuming 2 members, 6 steps, 50% done, in {QUICK}/toy-held" in said.err
    broken = losses()
    saltus("reproduce", "toy", "--root", "other")
    unbroken = losses("other/quick/toy")
    assert broken.keys() == unbroken.keys() == {"toy-held", "toy-slow", "toy-fast"}
    assert all(np.array_equal(broken[name], unbroken[name]) for name in broken)


def test_a_damaged_run_is_not_used_again(saltus, toy, flip):
    saltus("reproduce")
    flip(QUICK / "toy-slow/shards/000/metrics.log")
    said = saltus("reproduce")
    assert said.code == 0
    assert f"{QUICK}/toy-slow is damaged (shards/000/metrics.log: " in said.err
    assert verify(QUICK / "toy-slow-2").ok


def test_an_arm_that_fails_leaves_the_others_and_exits_with_1(saltus, toy, monkeypatch):
    original = module.resume

    def fail(path: Path, *others: object) -> Run:
        if path.name == "toy-slow":
            raise SaltusError("disk full while writing x; nothing is lost")
        return original(path, *others)

    monkeypatch.setattr(module, "resume", fail)
    said = saltus("reproduce", "--json")
    assert said.code == 1
    assert said.err.splitlines()[-1] == (
        "saltus: toy/slow failed: disk full while writing x; nothing is lost"
    )
    assert "toy/slow failed: disk full while writing x; nothing is lost" in said.err.splitlines()
    study = said.document["studies"][0]
    assert [arm["error"] is None for arm in study["arms"]] == [False, True]
    assert study["findings"][0]["verdict"] == "not run"
    assert study["findings"][0]["reason"] == "arm slow was not run"
    assert "failed" in saltus("reproduce").out


def test_arms_that_were_not_run_stand_among_the_costs_with_their_reason(saltus, toy, monkeypatch):
    graft = {"kind": "transplant", "source": "arm:slow", "groups": ["mlp"], "member": "same seed"}
    arms = toy.recipe("quick")
    changes = {"arm": "later", "name": "toy-later", "interventions": [graft]}
    arms["later"] = arms["slow"].override(changes)
    more = dataclasses.replace(toy, recipe=lambda scale: dict(arms))
    monkeypatch.setattr("saltus.studies.all_studies", lambda: {"toy": more})
    monkeypatch.setattr("saltus.studies.study.all_studies", lambda: {"toy": more})
    original = module.resume

    def fail(path: Path, *others: object) -> Run:
        if path.name.startswith("toy-slow"):
            raise SaltusError("disk full")
        return original(path, *others)

    monkeypatch.setattr(module, "resume", fail)
    said, why = saltus("reproduce"), "it starts from slow, which has no finished run"
    assert said.code == 1
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "later not run - - - - -" in lines
    assert f"later was not run: {why}" in lines
    assert any(line.startswith("slow failed 2 ") for line in lines)
    found = saltus("reproduce", "--json").document["studies"][0]["arms"]
    assert [arm["arm"] for arm in found] == ["slow", "fast", "later"]
    assert found[2] == {"run": None, "members": [], "arm": "later", "how": "not run", "error": why}


def test_reproduce_is_a_function_too(toy, tmp_path):
    outcome = reproduce(toy, "quick", tmp_path, seeds=1)
    assert [each.how for each in outcome.outcomes] == ["new", "new"]
    assert outcome.failures == [] and list(outcome.arms) == ["slow", "fast"]
    assert all(run.status["state"] == "done" for run in outcome.arms.values())
    assert [each.how for each in reproduce(toy, "quick", tmp_path, seeds=1).outcomes] == [
        "reused",
        "reused",
    ]


def test_seeds_replace_those_of_every_arm(toy):
    assert {each.seeds for each in arms_of(toy, "quick").values()} == {(0, 1)}
    assert {each.seeds for each in arms_of(toy, "quick", 3).values()} == {(0, 1, 2)}


def test_the_engine_is_replaced_in_every_arm_and_arms_are_chosen(toy):
    engine = {"precision": "float64"}
    assert {each.engine.precision for each in arms_of(toy, "quick", engine=engine).values()} == {
        "float64"
    }
    assert list(arms_of(toy, "quick", only=["fast"])) == ["fast"]


def test_one_arm_alone(toy, tmp_path):
    outcome = reproduce(toy, "quick", tmp_path, seeds=1, only=["fast"])
    assert list(outcome.arms) == ["fast"]
