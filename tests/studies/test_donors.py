"""Arms that start from another arm's checkpoint: order, reuse, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file

import saltus.studies.reproduce as module
from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models import select
from saltus.runs import Run, list_runs, open_run
from saltus.studies import Claim, Range, Study, Verdict, amount
from saltus.studies.donors import check_arms, donors
from saltus.studies.reproduce import Watcher, reproduce
from saltus.training.launch import create, train_shard
from saltus.training.workers import Workers
from tiny_experiments import tiny

SMALL = {
    "instruments": [],
    "steps": 4,
    "checkpoints": {"at": [2]},
    "model": {"kind": "decoder", "width": 16},
}
OPTIMAL = {
    "kind": "transplant",
    "source": "arm:baseline@last",
    "groups": ["attention", "embeddings"],
    "member": "same seed",
    "freeze": True,
}
COMPONENT = {**OPTIMAL, "source": "arm:baseline@2", "groups": ["mlp"], "outside": True}


def arm(name: str, *interventions: dict, **changes) -> Experiment:
    parts = {"interventions": list(interventions), "seeds": 2}
    return tiny(**{**SMALL, **parts, "name": name, "arm": name, **changes})


# A donor stands behind what needs it, and one arm needs an arm that has a donor itself.
ARMS = {
    "component": arm("component", COMPONENT),
    "again": arm("again", {**OPTIMAL, "source": "arm:optimal", "member": "next seed"}),
    "baseline": arm("baseline"),
    "optimal": arm("optimal", OPTIMAL),
    "other": arm("other", steps=5),
}
ORDER = ("baseline", "other", "component", "optimal", "again")


def study(arms: dict[str, Experiment]) -> Study:
    def last_loss(name: str):
        return lambda runs: [amount("loss", runs[name].series("loss/train").values[:, -1], Range())]

    said = {"paper": "-", "source": "-", "tolerance": "-"}
    return Study(
        name="toy",
        title="A toy",
        paper="unpublished",
        question="Who goes first?",
        recipe=lambda scale: dict(arms),
        claims=lambda scale: [
            Claim(number, name, arms=(name,), measure=last_loss(name), **said)
            for number, name in enumerate(arms)
        ],
        changed="nothing",
    )


class Listener(Watcher):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def begin(self, label: str, run: Run, how: str):
        self.said.append(f"{how} {label.removeprefix('toy/')}")
        return super().begin(label, run, how)

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module", autouse=True)
def here() -> Iterator[SimpleNamespace]:
    """Everything in this process and thread; `here.before(path)` is called before a training."""
    place = SimpleNamespace(before=lambda path: None)

    class Pool(Workers):
        def __init__(self, *_: object) -> None: ...

        def close(self) -> None: ...

        def train(self, path, shards, progress=None) -> None:
            place.before(path)
            for index in shards:
                train_shard(path, index, progress)

    class Threads(ThreadPoolExecutor):
        def submit(self, work, *given):
            job = Future()
            job.set_result(work(*given))
            return job

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Workers", Pool)
        patch.setattr(module, "ThreadPoolExecutor", Threads)
        yield place


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def first(root, here):
    """What was said and what came out of a study that was reproduced once."""
    return reproduced(root)


def reproduced(root: Path, arms: dict[str, Experiment] = ARMS, **how):
    listener = Listener()
    return listener.said, reproduce(study(arms), "quick", root, listener, **how)


def source(run: Run, index: int = 0) -> Path:
    return Path(run.experiment["interventions"][index]["source"])


def test_donors_come_first_and_the_rest_in_its_order(first):
    said, outcome = first
    assert said == [f"new {name}" for name in ORDER]
    assert [each.arm for each in outcome.outcomes] == list(outcome.arms) == list(ARMS)
    assert not outcome.failures
    assert {finding.verdict for finding in outcome.findings} == {Verdict.REPRODUCED}


def test_every_seed_starts_from_and_keeps_its_own_donors_values(first):
    runs = first[1].arms
    base, middle = runs["baseline"].checkpoint(), runs["baseline"].checkpoint(2)
    optimal, component = runs["optimal"].checkpoint(), runs["component"].checkpoint()
    moved = set(select(base, ["mlp"]))
    for name in base:
        if name in select(base, OPTIMAL["groups"]):
            assert np.array_equal(optimal[name], base[name])
            # The seed that follows: with two seeds the other one.
            assert np.array_equal(runs["again"].checkpoint()[name], base[name][::-1])
        assert np.array_equal(component[name], middle[name]) == (name not in moved)
    start, fresh = runs["component"].checkpoint(0), runs["baseline"].checkpoint(0)
    assert all(np.array_equal(start[name], fresh[name]) for name in moved)
    assert not np.array_equal(base["readout.weight"][0], base["readout.weight"][1])


def test_the_donors_file_says_what_it_holds_and_is_named_after_it(first, root):
    runs = first[1].arms
    path = source(runs["component"])
    assert path.parent == root / "quick" / "toy" / "donors"
    assert path.name.startswith("baseline-step2-") and path != source(runs["optimal"])
    with safe_open(path, "np") as file:
        assert file.metadata() == {
            "experiment": "baseline", "step": "2", "seeds": "[0, 1]", "overrides": "[{}, {}]"
        }  # fmt: skip
    assert not list_runs(path.parent)


def test_what_was_trained_is_used_again_and_a_damaged_donors_file_is_mended(first, root):
    runs = first[1].arms
    path = source(runs["optimal"])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    said, outcome = reproduced(root)
    assert said == [f"reused {name}" for name in ORDER]
    assert all(outcome.arms[name].experiment_yaml == runs[name].experiment_yaml for name in ARMS)
    donor, mended = runs["baseline"].checkpoint(), load_file(path)
    assert all(np.array_equal(mended[name], donor[name]) for name in donor)


def test_a_donor_that_is_another_makes_its_dependents_anew_and_no_others(first, root):
    before = first[1].arms
    longer = {**ARMS, "baseline": arm("baseline", batch=8)}
    said, outcome = reproduced(root, longer)
    assert said == ["new baseline", "reused other", "new component", "new optimal", "new again"]
    assert source(outcome.arms["optimal"]) != source(before["optimal"])
    assert source(outcome.arms["optimal"]).is_file() and source(before["optimal"]).is_file()


def test_fresh_trains_all_anew_and_the_same_bits_give_the_same_donors_file(first, root):
    before = first[1].arms
    said, outcome = reproduced(root, fresh=True)
    assert {line.split()[0] for line in said} == {"new"}
    assert all(outcome.arms[name].path != run.path for name, run in before.items())
    assert source(outcome.arms["optimal"]) == source(before["optimal"])


def test_a_donor_that_fails_leaves_its_dependents_unrun_with_the_reason(
    tmp_path, here, monkeypatch
):
    def before(path: str) -> None:
        if path.endswith("baseline"):
            raise SaltusError("no more room")

    monkeypatch.setattr(here, "before", before)
    said, outcome = reproduced(tmp_path)
    why = "it starts from {}, which has no finished run"
    assert [each.arm for each in outcome.outcomes] == ["baseline", "other"]
    assert {each.arm: each.error for each in outcome.failures} == {
        "baseline": "no more room",
        "component": why.format("baseline"),
        "optimal": why.format("baseline"),
        "again": why.format("optimal"),
    }
    assert f"toy/again not run: {why.format('optimal')}" in said
    verdicts = {finding.claim.statement: finding.verdict.value for finding in outcome.findings}
    assert verdicts == {**dict.fromkeys(ARMS, "not run"), "other": "reproduced"}
    monkeypatch.undo()  # and the next time all of it is made up for
    assert reproduced(tmp_path)[0][:3] == ["resumed baseline", "reused other", "new component"]


@pytest.mark.parametrize("during", ["baseline", "optimal"])
def test_what_was_interrupted_is_continued(tmp_path, here, during, monkeypatch):
    def before(path: str) -> None:
        if path.endswith(during):
            raise KeyboardInterrupt

    monkeypatch.setattr(here, "before", before)
    with pytest.raises(KeyboardInterrupt):
        reproduced(tmp_path)
    monkeypatch.undo()
    said, outcome = reproduced(tmp_path)
    assert f"resumed {during}" in said
    assert not outcome.failures and len(outcome.arms) == len(ARMS)


def test_fewer_seeds_are_fewer_seeds_of_donors_too(tmp_path):
    arms = {name: ARMS[name] for name in ("baseline", "optimal")}
    runs = reproduced(tmp_path, arms, seeds=1)[1].arms
    own, given = runs["optimal"].checkpoint(), runs["baseline"].checkpoint()
    assert np.array_equal(own["token.weight"], given["token.weight"])
    # The seed that follows the only one is none, and only training its donor could tell.
    arms["next"] = arm("next", {**OPTIMAL, "member": "next seed"})
    (failure,) = reproduced(tmp_path, arms, seeds=1)[1].failures
    assert failure.arm == "next"
    assert failure.error.startswith("transplant.member: no seed follows the only one of ")


@pytest.mark.parametrize(
    "changed,message",
    [
        (
            {"source": "arm:basline"},
            "optimal: interventions.0 (transplant): arm:basline: unknown arm 'basline'; "
            "did you mean 'baseline'? Allowed: again, baseline, component, other",
        ),
        (
            {"source": "arm:optimal"},
            "optimal: interventions.0 (transplant): arm:optimal: arm optimal would have to be "
            "trained before itself",
        ),
        (
            {"source": "arm:again"},
            "again: interventions.0 (transplant): arm:optimal: arm again would have to be trained "
            "before itself",
        ),
        (
            {"source": "arm:baseline@3"},
            "optimal: interventions.0 (transplant): arm:baseline@3: baseline keeps no checkpoint "
            "of that step (checkpoints.at)",
        ),
        (
            {"member": 2},
            "optimal: interventions.0 (transplant): member 2: 0 to 1",
        ),
        ({"groups": ["mlpp"]}, "parameters: unknown group 'mlpp'; did you mean 'mlp'? "),
    ],
)
def test_what_could_never_begin_shows_before_anything_is_trained(tmp_path, changed, message):
    with pytest.raises(SaltusError) as caught:
        reproduced(tmp_path, {**ARMS, "optimal": arm("optimal", {**OPTIMAL, **changed})})
    assert str(caught.value).startswith(message)
    assert not list_runs(tmp_path)


def test_a_donor_of_another_shape_or_without_the_seeds_shows_before_too():
    optimal = ARMS["optimal"]
    wide = arm("baseline", model={"kind": "decoder", "width": 32})
    words = {"kind": "word-cooccurrence", "length": 4, "vocabulary": 43}
    one_layer = {"kind": "one-layer-attention", "width": 16, "neurons": 8}
    other = arm("baseline", task=words, model=one_layer, batch=12)
    varied = arm("baseline", vary={"optimizer.learning_rate": [0.1, 0.2]})
    place = "optimal: interventions.0 (transplant): "
    for baseline, message in [
        (wide, "arm:baseline@last: token.weight has shape [6, 32] in that arm, this one needs [6,"),
        (other, "arm:baseline@last: that arm has no parameter token.weight"),
        (varied, "member same seed: baseline varies settings; allowed: a number"),
        (arm("baseline", seeds=[1, 2]), "member same seed: baseline has no seed 0"),
    ]:
        with pytest.raises(SaltusError) as caught:
            check_arms({"baseline": baseline, "optimal": optimal})
        assert str(caught.value).startswith(place + message)


def test_a_dependent_arm_outside_its_study_is_refused_in_one_line(tmp_path):
    assert donors(ARMS["optimal"]) == ["baseline"] and donors(ARMS["baseline"]) == []
    with pytest.raises(SaltusError, match="checkpoint of another arm: `saltus reproduce` trains"):
        create(ARMS["optimal"], tmp_path)
    assert not list_runs(tmp_path)


def test_the_run_of_a_dependent_arm_is_an_experiment_of_its_own(first, tmp_path):
    """With its donor's file it runs anywhere, to the same bits."""
    run = first[1].arms["component"]
    copy = Experiment.of(yaml.safe_load(run.experiment_yaml))
    path = create(copy, tmp_path / "elsewhere")
    train_shard(str(path), 0, None)
    mine, theirs = open_run(path).checkpoint(), run.checkpoint()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
