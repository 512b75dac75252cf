"""Gradient flow of real models: against scipy on ordinary autograd, and member by member."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call

from saltus.experiment import Experiment
from saltus.flow.reference import reference
from saltus.models.base import initial_parameters
from saltus.models.inner_products import token_readout
from saltus.random import Draws
from saltus.tasks.word_cooccurrence import margin
from saltus.training.ensemble import Ensemble
from saltus.training.follow import Follower
from saltus.training.isolation import is_separable
from saltus.training.readings import measure
from tiny_experiments import tiny

EXACT = {"workers": 1, "precision": "float64"}
FLOW = {"kind": "gradient-flow", "duration": 0.5, "rtol": 1e-10, "atol": 1e-12}
ROUGH = FLOW | {"rtol": 1e-6, "atol": 1e-8}  # for bits, not for digits
SMALL = {"kind": "decoder", "width": 16, "heads": 2, "initial_deviation": 0.2}
WORDS: dict[str, Any] = {
    "task": {"kind": "word-cooccurrence", "length": 4, "vocabulary": 43, "tokens": "unique"},
    "model": {"kind": "one-layer-attention", "width": 64, "neurons": 16},
    "examples": 24,
    "batch": 24,
    "evaluation_batch": 16,
}
SETTINGS = {
    "decoder": tiny(model=SMALL, optimizer=FLOW, examples=16, instruments=[], engine=EXACT),
    "decoder, decay, frozen": tiny(
        model=SMALL,
        optimizer=FLOW | {"weight_decay": 0.3},
        interventions=[{"kind": "freeze", "groups": ["mlp", "embeddings.token"]}],
        examples=16,
        instruments=[],
        engine=EXACT,
    ),
    "one-layer attention": tiny(
        **WORDS, optimizer=FLOW | {"duration": 0.05}, instruments=[], engine=EXACT
    ),
}


class Alone:
    """One member as anyone would write it: an `nn.Module`, autograd, a flat vector of weights."""

    def __init__(self, experiment: Experiment, seed: int) -> None:
        self.experiment, self.task = experiment, experiment.task
        self.module = experiment.model.build(self.task.interface).double()
        self.start = initial_parameters(
            experiment.model, self.module, seed, dtype=torch.float64
        )  # fmt: skip
        draws = Draws(seed, "data", 0, dtype=torch.float64)
        assert experiment.examples is not None
        self.batch = self.task.sample(draws, experiment.examples)
        self.still = set(experiment.model.fixed)
        for part in experiment.interventions:
            self.still |= set(part.frozen(list(self.start), 0))

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        sizes = [value.numel() for value in self.start.values()]
        parts = flat.split(sizes)
        return {n: p.view(v.shape) for (n, v), p in zip(self.start.items(), parts, strict=True)}

    def flat(self, named: dict[str, Tensor]) -> Tensor:
        return torch.cat([named[name].detach().flatten() for name in self.start])

    def outputs(self, named: dict[str, Tensor]) -> Tensor:
        return functional_call(self.module, named, (self.batch["inputs"],))

    def velocity(self, states: Tensor) -> Tensor:
        leaves = {n: v.detach().requires_grad_() for n, v in self.named(states[0]).items()}
        loss = self.task.loss(self.outputs(leaves), self.batch).mean()
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        decay = self.experiment.optimizer.weight_decay
        slopes = {
            name: torch.zeros_like(value)
            if slope is None or name in self.still
            else -(slope + decay * value)
            for (name, value), slope in zip(leaves.items(), found, strict=True)
        }
        return self.flat(slopes)[None]

    def at(self, *times: float) -> Tensor:
        """The weights at some times, [time, weight], by scipy."""
        return reference(self.velocity, self.flat(self.start), times, 1e-10, 1e-12).states[0]


def followed(experiment: Experiment, seeds: tuple[int, ...] | None = None):
    """The ensemble and its mover at the end, and at every step the weights and all readings."""
    if seeds is not None:
        experiment = experiment.model_copy(update={"seeds": seeds})
    ensemble = Ensemble(experiment.members())
    mover, kept = Follower(ensemble), []
    for step in range(experiment.steps + 1):
        losses = ensemble.differentiate(step)
        readings = measure(ensemble, experiment.instruments, step) | mover.progress(step)
        kept.append((ensemble.flat.detach().clone(), readings | {"loss/train": losses}))
        if step < experiment.steps:
            mover.update(step)
    return ensemble, mover, kept


@pytest.mark.parametrize("name", SETTINGS)
def test_scipy_on_ordinary_autograd_goes_the_same_way(name):
    experiment = SETTINGS[name]
    ensemble, mover, kept = followed(experiment, (0, 3))
    for row, seed in enumerate((0, 3)):
        alone = Alone(experiment, seed)
        path = alone.at(*mover.moments)
        assert float((path[-1] - path[0]).norm()) > 0.05  # it went somewhere
        for (flat, _), expected in zip(kept, path, strict=True):
            views = ensemble.layout.views(flat)
            mine = alone.flat({key: value[row] for key, value in views.items()})
            torch.testing.assert_close(mine, expected, atol=1e-8, rtol=0)
        for key in alone.still:
            assert ensemble.parameters[key][row].equal(ensemble.initial[key][row])


def test_gradient_descent_tends_to_the_flow_with_the_first_power_of_its_step():
    plain = SETTINGS["decoder"]
    flat = followed(plain, (0,))[0].flat.detach()
    errors = []
    for count in (25, 50, 100):
        rate = plain.optimizer.times(plain.steps)[-1] / count
        descent = plain.override(
            {"optimizer": {"kind": "sgd", "learning_rate": rate}, "seeds": [0]}
        )
        ensemble = Ensemble(descent.members())
        for step in range(count):
            ensemble.differentiate(step)
            ensemble.update(step)
        errors.append(float((ensemble.flat.detach() - flat).norm()))
    ratios = np.array(errors[:-1]) / errors[1:]
    assert ratios == pytest.approx(2.0, abs=0.1)


# ---------------------------------------------------------------------------- events


EVENTS = tiny(
    **WORDS,
    optimizer=FLOW | {"duration": 30.0, "clock": "model", "rtol": 1e-8},
    instruments=[{"kind": "two-phases", "cadence": 1}],
    seeds=2,
    engine=EXACT,
)


@cache
def words():
    return followed(EVENTS)


def test_events_are_where_a_path_solved_anew_crosses_them():
    """`classified`, `T1` and `T05`, with margins from outputs and dG by a directional derivative.

    An event is at most 1e-13 of its time late; 1e-6 of it earlier the signal is negative.
    """
    _, mover, kept = words()
    readings = kept[-1][1]
    for row, seed in enumerate(EVENTS.seeds):
        alone = Alone(EVENTS, seed)

        def signals(flat: Tensor, alone=alone) -> dict[str, float]:
            flat = flat.clone().requires_grad_()
            named, slope = alone.named(flat), alone.velocity(flat[None])[0]
            least = float(margin(alone.outputs(named), alone.batch).min().detach())
            read = token_readout(named, [0, 1, 2])
            towards = [torch.autograd.grad(g, flat, retain_graph=True)[0] for g in read]
            speed = [float(each @ slope) for each in towards]
            first, second, common = read.tolist()
            return {
                "classified": least,
                "T1": min(least - 0.1, first - 0.3, second - 0.3, -common - 0.3),
                "T05": -speed[2] - max(speed[:2]),
            }

        for name in ("classified", "T1", "T05"):
            moment = float(readings[f"time/{name}"][row]) / mover.rates[row]
            assert 0 < moment < 30 / mover.rates[row]
            before, after = alone.at(moment * (1 - 1e-6), moment * (1 + 1e-6))
            assert signals(before)[name] < 0 < signals(after)[name]
    names = ("time/T05", "time/classified", "time/T1")
    assert (torch.stack([readings[name] for name in names]).diff(dim=0) > 0).all()


def test_readings_of_signals_are_the_events_own_and_change_sign_with_them():
    _, mover, kept = words()
    for name in ("T05", "classified", "T1"):
        last = kept[-1][1][f"time/{name}"]
        for moment, (_, readings) in zip(mover.moments, kept, strict=True):
            assert ((readings[f"signal/{name}"] >= 0) == (last <= moment)).all()


# ---------------------------------------------------------------------------- members


def every_step(*kinds: str) -> list[dict[str, Any]]:
    return [{"kind": kind, "cadence": 1} for kind in kinds]


READ = every_step("evaluation", "norms", "gradient-norms", "attention-shift")
STACKED = {
    "decoder": tiny(
        model=SMALL,
        optimizer=ROUGH | {"weight_decay": 0.1},
        examples=16,
        instruments=[*READ, *every_step("attention-entropy", "conservation")],
        engine=EXACT,
        steps=3,
    ),
    "one-layer attention": tiny(
        **WORDS,
        optimizer=ROUGH | {"duration": 20.0, "clock": "model"},
        instruments=[
            *READ,
            *every_step("class-balance", "score-shift", "sample-losses"),
            {"kind": "token-attention", "cadence": 1, "tokens": [0, 1, 2]},
        ],
        engine=EXACT,
        steps=3,
    ),
}


@cache
def alone(name: str, seed: int):
    return followed(STACKED[name], (seed,))


@pytest.mark.parametrize("name", STACKED)
def test_the_settings_below_really_are_stacked(name):
    assert is_separable(Ensemble(STACKED[name].members()[:1]))


@pytest.mark.parametrize("name", STACKED)
@settings(max_examples=4)
@given(data=st.data())
def test_any_ensemble_in_any_order_follows_each_seed_to_its_own_bits(name, data):
    seeds = data.draw(st.lists(st.integers(0, 5), min_size=2, max_size=5, unique=True))
    _, mover, together = followed(STACKED[name], tuple(seeds))
    for row, seed in enumerate(seeds):
        _, own_mover, single = alone(name, seed)
        for (flat, readings), (own_flat, own) in zip(together, single, strict=True):
            assert flat[row].equal(own_flat[0])
            assert readings.keys() == own.keys()
            for key, value in readings.items():
                assert value[row].nan_to_num(nan=-1).equal(own[key][0].nan_to_num(nan=-1)), key
        for key, value in own_mover.state().items():
            assert mover.state()[key][row].nan_to_num(nan=-1).equal(value[0].nan_to_num(nan=-1))


@pytest.mark.parametrize("name", STACKED)
def test_a_state_restored_continues_to_the_same_bits(name):
    experiment = STACKED[name].model_copy(update={"seeds": (0, 1, 2)})
    ensemble, mover, kept = followed(experiment)
    for pause in range(experiment.steps):
        begun = Follower(Ensemble(experiment.members()))
        for step in range(pause):
            begun.update(step)
        state = {key: value.clone() for key, value in begun.state().items()}
        again = Follower(Ensemble(experiment.members(), initialise=False))
        again.restore(state)
        for step in range(pause, experiment.steps):
            again.update(step)
        assert again.ensemble.flat.equal(ensemble.flat)
        for key, value in again.state().items():
            assert value.nan_to_num(nan=-1).equal(mover.state()[key].nan_to_num(nan=-1)), key
        last = kept[-1][1]
        for key, value in again.progress(experiment.steps).items():
            assert value.nan_to_num(nan=-1).equal(last[key].nan_to_num(nan=-1)), key
