"""Arms side by side: what becomes of the others when something happens to one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import saltus.studies.reproduce as module
from saltus.errors import SaltusError
from saltus.runs import Run, list_runs, open_run
from saltus.studies import Claim, Range, Study, amount
from saltus.studies.reproduce import Watcher, reproduce
from saltus.training.workers import Stopped, Workers
from tiny_experiments import HELD, held_shard, tiny


def study(*arms: str) -> Study:
    """A study with one claim per arm; `held` stays at step HELD, `after-X` starts from arm X."""

    def parts(arm: str) -> list[dict]:
        _, after, donor = arm.partition("after-")
        graft = {"kind": "transplant", "source": f"arm:{donor}", "groups": ["mlp"]}
        return [{**graft, "member": "same seed"}] if after else []

    def last_loss(arm: str):
        return lambda runs: [amount("loss", runs[arm].series("loss/train").values[:, -1], Range())]

    said = {"paper": "-", "source": "-", "tolerance": "-"}
    small = {"instruments": [], "seeds": 2, "steps": 6}
    return Study(
        name="toy",
        title="A toy",
        paper="unpublished",
        question="Who goes on?",
        recipe=lambda scale: {
            arm: tiny(name=arm, arm=arm, study="toy", interventions=parts(arm), **small)
            for arm in arms
        },
        claims=lambda scale: [
            Claim(number, arm, arms=(arm,), measure=last_loss(arm), **said)
            for number, arm in enumerate(arms)
        ],
        changed="nothing",
        headline=("loss/train",),
    )


class Listener(Watcher):
    """Writes down what it is told, and does something when the held arm stays."""

    def __init__(self, held=lambda: None) -> None:
        self.held, self.said, self.ended = held, [], {}

    def begin(self, label: str, run: Run, how: str):
        self.said.append(f"{how} {label}")

        def report(shard: int, step: int, loss: float, leapt: int) -> None:
            if label == "toy/held" and step == HELD:
                self.held()

        return report

    def end(self, label: str, run: Run | None) -> None:
        self.ended[label] = run is not None

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def pools(monkeypatch) -> list[Workers]:
    """The pools that are made, of workers that hold the arm `held`."""
    made: list[Workers] = []

    def make(count: int, work: object) -> Workers:
        made.append(Workers(count, held_shard))
        return made[-1]

    monkeypatch.setattr(module, "Workers", make)
    monkeypatch.setattr(module, "cores", lambda: 2)
    return made


def states(root: Path) -> dict[str, str]:
    return {run.name: run.status["state"] for run in list_runs(root)}


def test_a_killed_worker_fails_its_arm_in_one_line_and_the_others_end_well(tmp_path, pools):
    def kill() -> None:
        for worker in pools[0].workers:
            if worker.order is not None and worker.order.path.endswith("held"):
                os.kill(worker.process.pid, signal.SIGKILL)

    listener = Listener(kill)
    arms = ("after-held", "held", "one", "after-one")
    outcome = reproduce(study(*arms), "quick", tmp_path, listener)
    failed, unrun = outcome.failures
    assert unrun.error == "it starts from held, which has no finished run"
    assert failed.error == (
        f"a worker of {failed.path} was killed (SIGKILL); nothing is lost: "
        f"saltus resume {failed.path}"
    )
    assert f"toy/held failed: {failed.error}" in listener.said
    assert listener.ended == {"toy/held": False, "toy/one": True, "toy/after-one": True}
    assert states(tmp_path) == {"held": "interrupted", "one": "done", "after-one": "done"}
    verdicts = [finding.verdict.value for finding in outcome.findings]
    assert verdicts == ["not run", "not run", "reproduced", "reproduced"]
    start, donor = outcome.arms["after-one"].checkpoint(0), outcome.arms["one"].checkpoint()
    assert np.array_equal(start["blocks.0.mlp.input.weight"], donor["blocks.0.mlp.input.weight"])
    assert not pools[0].workers


def test_a_watcher_that_raises_stops_all_arms_and_its_error_is_what_is_raised(tmp_path, pools):
    def fail() -> None:
        raise BrokenPipeError("nobody reads")

    listener = Listener(fail)
    with pytest.raises(BrokenPipeError, match="nobody reads"):
        reproduce(study("held", "one"), "quick", tmp_path, listener)
    assert states(tmp_path)["held"] == "interrupted"
    assert not any("failed" in line for line in listener.said)
    assert not pools[0].workers and not pools[0].dispatcher.is_alive()


def test_an_arm_that_cannot_begin_stops_those_that_did(tmp_path, pools, monkeypatch):
    original = module.create

    def create(experiment, root) -> Path:
        if experiment.arm == "late":
            while not open_run(tmp_path / "quick" / "toy" / "held").shards[0].held:
                pass
            raise SaltusError("cannot create run 'late'")
        return original(experiment, root)

    monkeypatch.setattr(module, "create", create)
    listener = Listener()
    with pytest.raises(SaltusError, match="cannot create run 'late'") as caught:
        reproduce(study("held", "late", "never"), "quick", tmp_path, listener)
    assert not isinstance(caught.value, Stopped)
    assert states(tmp_path) in ({"held": "new"}, {"held": "interrupted"})  # it had just begun
    assert listener.said == ["new toy/held"] and not pools[0].workers


def test_arms_are_made_and_told_in_their_order(tmp_path, pools):
    outcome = reproduce(study("b", "c", "a"), "quick", tmp_path)
    assert [each.arm for each in outcome.outcomes] == ["b", "c", "a"]
    assert list(outcome.arms) == ["b", "c", "a"]
