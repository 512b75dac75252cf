"""What instruments are shown: which batch, which parameters, which members."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.models import Tape
from saltus.random import Draws
from saltus.tasks.base import Task
from saltus.tasks.word_cooccurrence import WordCooccurrence
from saltus.training.ensemble import Ensemble
from saltus.training.readings import State, measure, signals
from tiny_experiments import tiny

WORDS = {"kind": "word-cooccurrence", "length": 4, "vocabulary": 16, "unseen": 8}
UNSEEN = WORDS | {"evaluation": "unseen"}
PATTERN = "blocks.0.attention.pattern"


class Spy(Instrument):
    """Tells what it was shown."""

    kind: Literal["spy"] = "spy"
    label: str = "spy"
    training: bool = False
    initial: bool = False
    elsewhere: bool = False
    cadence: AnyCadence = Cadence(every=1)

    def needs(self, task: Task) -> Needs:
        return Needs(
            sites=(PATTERN,),
            outputs=True,
            initial=self.initial,
            training=self.training,
            task=WordCooccurrence.model_validate(UNSEEN) if self.elsewhere else None,
        )

    def read(self, reading: Reading) -> dict[str, Tensor]:
        shown = {
            "inputs": reading.batch["inputs"],
            "losses": reading.losses,
            "pattern": reading.sites[PATTERN],
            "value": reading.parameters["readout.weight"],
        }
        if self.initial:
            shown["first-pattern"] = reading.initial_sites[PATTERN]
            shown["first-value"] = reading.initial["readout.weight"]
        assert bool(reading.initial) is self.initial and bool(reading.initial_sites) is self.initial
        assert reading.task.evaluation == ("unseen" if self.elsewhere else "seen")
        return {f"{self.label}/{name}": value for name, value in shown.items()}

    def events(self, reading: Reading) -> dict[str, Tensor]:
        return {self.label: reading.losses.mean() - reading.parameters["readout.weight"].sum()}


class Sampler(Instrument):
    """Wants a batch and nothing else."""

    kind: Literal["sampler"] = "sampler"
    cadence: AnyCadence = Cadence(every=1)

    def needs(self, task: Task) -> Needs:
        return Needs(samples=6)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        assert reading.outputs is None and reading.losses is None and not reading.sites
        return {"sampler/inputs": reading.batch["inputs"]}


for name in ("spy", "sampler"):
    del Instrument.registry[name]  # other tests list what there is


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    monkeypatch.setitem(Instrument.registry, "spy", Spy)
    monkeypatch.setitem(Instrument.registry, "sampler", Sampler)


def trained(instruments, steps=3, **changes) -> Ensemble:
    """Three decoders some steps after their start."""
    plain = {"task": WORDS, "examples": 24, "batch": 12, "evaluation_batch": 10, "seeds": 3}
    experiment: Experiment = tiny(**plain | {"instruments": instruments} | changes)
    ensemble = Ensemble(experiment.members())
    for step in range(steps):
        ensemble.differentiate(step)
        ensemble.update(step)
    ensemble.differentiate(steps)
    return ensemble


def seen_by(ensemble: Ensemble, parameters, batch, row: int):
    """Outputs and attention of one member as an ordinary module gives them."""
    own, tape = {name: value[row] for name, value in parameters.items()}, Tape([PATTERN])
    outputs = functional_call(ensemble.module, own, (batch["inputs"][row], tape))
    return outputs, tape.values[PATTERN]


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("where", ["fresh", "training", "elsewhere"])
def test_an_instrument_is_shown_what_it_asked_for(where, initial):
    spy = {"kind": "spy", "initial": initial, where: True} if where != "fresh" else {
        "kind": "spy", "initial": initial
    }  # fmt: skip
    ensemble = trained([spy])
    found = measure(ensemble, ensemble.experiment.instruments, 3)
    batch = ensemble.training_batch(3)
    task = ensemble.task
    if where != "training":
        task = WordCooccurrence.model_validate(UNSEEN if where == "elsewhere" else WORDS)
        batch = task.sample(Draws(ensemble.seeds, "evaluation", 3), 10)
    assert found["spy/inputs"].equal(batch["inputs"])
    random = found["spy/inputs"][found["spy/inputs"] > 2]
    assert ((random >= 16) == (where == "elsewhere")).all()
    for row in range(3):
        outputs, pattern = seen_by(ensemble, ensemble.parameters, batch, row)
        close(found["spy/pattern"][row], pattern)
        close(found["spy/losses"][row], task.loss(outputs, {n: v[row] for n, v in batch.items()}))
        if initial:
            _, first = seen_by(ensemble, ensemble.initial, batch, row)
            close(found["spy/first-pattern"][row], first)
            assert not torch.allclose(first, pattern, rtol=1e-4)
    if initial:
        start = Ensemble(ensemble.members).parameters["readout.weight"]
        assert found["spy/first-value"].equal(start) and not found["spy/value"].equal(start)


def test_a_batch_alone_comes_without_a_forward_pass(monkeypatch):
    ensemble = trained(["sampler"])

    def forward(*_: object) -> None:
        raise AssertionError("the model was run")

    monkeypatch.setattr(ensemble, "lifted", forward)
    found = measure(ensemble, ensemble.experiment.instruments, 3)
    batch = ensemble.task.sample(Draws(ensemble.seeds, "evaluation", 3), 6)
    assert found["sampler/inputs"].equal(batch["inputs"])


def test_instruments_of_one_step_do_not_see_each_others_batches():
    spies = [
        {"kind": "spy", "label": name, "training": training, "elsewhere": elsewhere}
        for name, training, elsewhere in (
            ("a", False, False), ("b", True, False), ("c", False, True), ("d", False, False),
        )
    ]  # fmt: skip
    ensemble = trained(spies)
    together = measure(ensemble, ensemble.experiment.instruments, 3)
    for spy in ensemble.experiment.instruments:
        alone = measure(ensemble, [spy], 3)
        assert all(together[name].equal(value) for name, value in alone.items())
    assert together["a/inputs"].equal(together["d/inputs"])
    assert not together["a/inputs"].equal(together["c/inputs"])
    assert together["b/inputs"].shape == (3, 12, 4)


def test_initial_parameters_do_not_depend_on_what_was_trained_or_restored():
    ensemble = trained([{"kind": "spy", "initial": True}])
    again = Ensemble(ensemble.members, initialise=False)
    again.restore({name: value.clone() for name, value in ensemble.state().items()})
    for name, value in Ensemble(ensemble.members).parameters.items():
        assert ensemble.initial[name].equal(value) and again.initial[name].equal(value)


def test_signals_are_recorded_with_the_readings_and_computed_for_any_members():
    ensemble = trained([{"kind": "spy", "training": True}, "norms"])
    readings = measure(ensemble, ensemble.experiment.instruments, 3)
    signal = readings["spy/losses"].mean(1) - readings["spy/value"].sum((1, 2))
    close(readings["signal/spy"], signal)
    whole = signals(ensemble, State(None, ensemble.parameters, ensemble.gradients))
    for rows in ([0, 1, 2], [2], [2, 0]):
        own = {name: value[rows] for name, value in ensemble.parameters.items()}
        found = signals(ensemble, State(rows, own, own))
        assert found.keys() == {"spy"}
        close(found["spy"], whole["spy"][rows])


def test_two_instruments_with_one_name_are_refused_in_one_line():
    for instruments, name in (
        (["norms", {"kind": "norms", "per": "parameter"}], "norm/parameters"),
        (["evaluation", {"kind": "evaluation", "task": UNSEEN}], "evaluation/accuracy"),
    ):
        ensemble = trained(instruments, steps=0)
        with pytest.raises(SaltusError) as caught:
            measure(ensemble, ensemble.experiment.instruments, 0)
        assert str(caught.value) == f"instruments: two of them give '{name}'; keep one"


def test_two_evaluations_stand_side_by_side_under_labels():
    other = {"kind": "evaluation", "task": UNSEEN, "label": "unseen"}
    ensemble = trained(["evaluation", other])
    found = measure(ensemble, ensemble.experiment.instruments, 3)
    for label, words in (("evaluation", WORDS), ("unseen", UNSEEN)):
        task = WordCooccurrence.model_validate(words)
        batch = task.sample(Draws(ensemble.seeds, "evaluation", 3), 10)
        for row in range(3):
            outputs, _ = seen_by(ensemble, ensemble.parameters, batch, row)
            metrics = task.metrics(outputs, {name: value[row] for name, value in batch.items()})
            for name, value in metrics.items():
                close(found[f"{label}/{name}"][row], value)
