"""Reading the update that follows a state: it is what the step does, and it leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.tasks.base import Task
from saltus.training.ensemble import Ensemble
from saltus.training.film import film
from saltus.training.isolation import is_separable
from saltus.training.launch import start
from saltus.training.readings import measure
from saltus.training.revisit import revisit
from tiny_experiments import tiny, trajectory


class Forecast(Instrument):
    """The update itself."""

    kind: Literal["forecast"] = "forecast"
    cadence: AnyCadence = Cadence(every=1)

    def needs(self, task: Task) -> Needs:
        return Needs(update=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        return {f"forecast/{name}": value for name, value in reading.update.items()}


del Instrument.registry["forecast"]  # other tests list what there is


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    monkeypatch.setitem(Instrument.registry, "forecast", Forecast)


OPTIMIZERS = {
    "sgd": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    "adam": {"kind": "adam", "learning_rate": 1e-2, "clip": 0.01},
    "adamw": {"kind": "adamw", "learning_rate": 1e-2, "schedule": {"shape": "cosine"}},
    "muon": {"kind": "muon", "learning_rate": 0.02},
}
INTERVENTIONS = [
    {"kind": "freeze", "groups": ["mlp"], "start": 2},
    {"kind": "gradient-rescaling"},
]
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=list(OPTIMIZERS))


def experiment(**changes):
    settings = {"instruments": ["forecast"], "interventions": INTERVENTIONS}
    return tiny(**settings | changes)


def everything(ensemble: Ensemble) -> list[Tensor]:
    held = [ensemble.flat, ensemble.gradient, *ensemble.slots, *ensemble.state().values()]
    bits = [value.detach().clone().contiguous().flatten().view(torch.uint8) for value in held]
    return [*bits, torch.tensor(ensemble.updates), torch.tensor(list(ensemble.diverged.items()))]


@every_optimizer
def test_it_is_what_the_step_then_changes_to_the_bit(optimizer):
    ensemble = Ensemble(experiment(optimizer=optimizer).members())
    for step in range(4):
        ensemble.differentiate(step)
        before = everything(ensemble)
        found = measure(ensemble, ensemble.experiment.instruments, step)
        after = everything(ensemble)
        assert all(a.equal(b) for a, b in zip(before, after, strict=True))
        old = {name: value.detach().clone() for name, value in ensemble.parameters.items()}
        ensemble.update(step)
        for name, value in ensemble.parameters.items():
            assert found[f"forecast/{name}"].equal(value.detach() - old[name]), name
        frozen = [value for name, value in found.items() if ".mlp." in name]
        assert len(frozen) == 8 and all(value.any() == (step < 2) for value in frozen)


@every_optimizer
def test_a_training_that_is_read_is_the_one_that_is_not(optimizer):
    read, _, _ = trajectory(Ensemble(experiment(optimizer=optimizer).members()), 4)
    plain, _, _ = trajectory(Ensemble(experiment(optimizer=optimizer, instruments=[]).members()), 4)
    assert read.equal(plain)


def test_plain_descent_has_its_closed_form():
    changes = {"interventions": [], "engine": {"workers": 1, "precision": "float64"}}
    ensemble = Ensemble(
        experiment(optimizer={"kind": "sgd", "learning_rate": 0.5}, **changes).members()
    )
    ensemble.differentiate(0)
    for name, value in ensemble.foresee(0).items():
        torch.testing.assert_close(value, -0.5 * ensemble.gradients[name], rtol=1e-9, atol=1e-15)


def test_members_do_not_mix_and_muon_makes_no_shape_ragged():
    members = experiment(optimizer=OPTIMIZERS["muon"]).members()
    assert is_separable(Ensemble(members[:1]))
    _, _, together = trajectory(Ensemble(members), 3)
    for row, member in enumerate(members):
        _, _, alone = trajectory(Ensemble([member]), 3)
        for both, own in zip(together, alone, strict=True):
            assert all(both[name][row].equal(value[0]) for name, value in own.items())


def test_a_diverged_member_moves_no_more():
    ensemble = Ensemble(experiment(vary={"optimizer.learning_rate": [1e-2, 1e30]}).members())
    _, _, readings = trajectory(ensemble, 4)
    assert set(ensemble.diverged) == {3, 4, 5}
    last = readings[-1]["forecast/readout.weight"]
    assert not last[3:].any() and last[:3].any()


def test_running_statistics_are_part_of_it_and_stay():
    changes = {"kind": "small-convnet"}
    ensemble = Ensemble(
        experiment(
            task={"kind": "two-step-image"}, model=changes, interventions=[], batch=8, seeds=1
        ).members()
    )
    ensemble.differentiate(0)
    name = next(name for name in ensemble.names if name.endswith("running_mean"))
    before = ensemble.parameters[name].detach().clone()
    change = ensemble.foresee(0)[name]
    assert ensemble.parameters[name].equal(before) and change.any()


def test_afterwards_it_is_read_where_the_state_was_kept(tmp_path: Path):
    own = experiment(
        optimizer=OPTIMIZERS["adamw"], engine={"workers": 1, "chunk": 1}, checkpoints={"at": [2]}
    )
    run = start(own, tmp_path)
    for step in (2, 4):
        found = revisit(run, [Forecast()], step)
        some = revisit(run, [Forecast()], step, members=[2, 0])
        for name, value in found.items():
            series = run.array(name)
            at = list(series.steps).index(step)
            assert (series.values[:, at] == value).all(), name
            assert (some[name] == value[[2, 0]]).all()
    assert not found["forecast/readout.weight"].any()  # the cosine has come down to 0


def test_where_it_is_not_known_it_is_refused_in_one_line(tmp_path: Path):
    run = start(experiment(steps=2, seeds=1), tmp_path)
    with pytest.raises(SaltusError) as caught:
        film(run, 0, [Forecast()])
    assert str(caught.value) == (
        "instruments: forecast reads an update: the state of optimizer adamw is not at hand, so "
        "its next update is not known; allowed: reading it in training, or at the checkpoints of a "
        "run"
    )
    flow = experiment(
        optimizer={"kind": "gradient-flow", "duration": 1.0},
        interventions=[],
        examples=16,
        engine={"workers": 1, "precision": "float64"},
    )
    with pytest.raises(SaltusError) as caught:
        start(flow, tmp_path)
    assert str(caught.value) == (
        "instruments.0 (forecast): forecast reads an update: optimizer gradient-flow makes no "
        "updates that could be read; allowed: those with steps"
    )
