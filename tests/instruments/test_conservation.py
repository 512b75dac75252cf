"""What gradient flow keeps: the symmetries are there, the flow keeps them, descent nearly."""

from __future__ import annotations

from math import exp
from typing import Any

import pytest
import torch
from torch.func import functional_call

from saltus.experiment import Experiment
from saltus.instruments import Reading
from saltus.instruments.conservation import Conservation
from saltus.models.inner_products import READOUT
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.training.ensemble import Ensemble
from saltus.training.follow import Follower
from saltus.training.gradient_flow import GradientFlow
from saltus.training.readings import measure

TIME = 0.2
DECODERS = {
    "softmax": {},
    "linear attention, relu": {"attention": "linear", "activation": "relu", "depth": 1},
    "post-norm, relu": {"norm": "post", "activation": "relu", "heads": 1},
    "bidirectional, gelu": {"causal": False, "activation": "gelu", "depth": 1},
}
decoders = pytest.mark.parametrize("fields", DECODERS.values(), ids=list(DECODERS))


def drifts(optimizer: dict[str, Any], steps: int, words=False, **model: Any) -> dict[str, Any]:
    """`conservation/...` of two seeds at the end of a training on a fixed set, in float64."""
    decoder = {"kind": "decoder", "width": 8, "heads": 2, "depth": 2, "initial_deviation": 0.3}
    attention = {"kind": "one-layer-attention", "width": 8, "neurons": 6, "kappa": 3.0}
    experiment = Experiment.of(
        {
            "task": {"kind": "word-cooccurrence", "length": 4, "vocabulary": 9}
            if words
            else {"kind": "moving-window-sum", "length": 4, "alphabet": 4, "modulus": 5},
            "model": (attention if words else decoder) | model,
            "optimizer": optimizer,
            "instruments": ["conservation"],
            "steps": steps,
            "examples": 12,
            "batch": 12,
            "seeds": 2,
            "engine": {"precision": "float64"},
        }
    )
    ensemble = Ensemble(experiment.members())
    flows = isinstance(experiment.optimizer, GradientFlow)
    mover = Follower(ensemble) if flows else ensemble
    for step in range(steps):
        ensemble.differentiate(step)
        mover.update(step)
    return measure(ensemble, experiment.instruments, steps)


def flow(**how: Any) -> dict[str, Any]:
    return {"kind": "gradient-flow", "duration": TIME, "rtol": 1e-10, "atol": 1e-12, **how}


def descent(steps: int) -> dict[str, Any]:
    return {"kind": "sgd", "learning_rate": TIME / steps}


def turned(own: dict[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
    """Other parameters of a decoder with the same outputs."""
    own, size = dict(own), model.width // model.heads

    def change(name: str, matrices: torch.Tensor) -> None:
        for part in (".weight", ".bias"):
            value = own[name + part].unflatten(0, (model.heads, size))
            moved = matrices @ (value if value.ndim == 3 else value.unsqueeze(-1))
            own[name + part] = moved.reshape(own[name + part].shape)

    for block in range(model.depth):
        at = f"blocks.{block}.attention."
        a, b = (torch.randn(model.heads, size, size, dtype=torch.float64) for _ in range(2))
        change(f"{at}query", a)
        change(f"{at}key", torch.linalg.inv(a).mT)
        change(f"{at}value", b)
        out = own[f"{at}output.weight"].unflatten(1, (model.heads, size))
        own[f"{at}output.weight"] = torch.einsum("ohs,hst->oht", out, torch.linalg.inv(b)).flatten(
            1
        )
        if model.activation == "relu":
            mlp = f"blocks.{block}.mlp."
            scale = torch.rand(len(own[f"{mlp}input.bias"]), dtype=torch.float64) + 0.5
            own[f"{mlp}input.weight"] = own[f"{mlp}input.weight"] * scale.unsqueeze(1)
            own[f"{mlp}input.bias"] = own[f"{mlp}input.bias"] * scale
            own[f"{mlp}output.weight"] = own[f"{mlp}output.weight"] / scale
    return own


@decoders
def test_the_symmetries_are_there(fields, stacked):
    stack = stacked(dtype=torch.float64, **fields)
    reading = stack.one()
    module = stack.model.build(stack.task.interface)
    other = turned(dict(reading.parameters), stack.model)
    assert all(other[n].ne(v).any() for n, v in reading.parameters.items() if ".query." in n)
    outputs = functional_call(module, other, (reading.batch["inputs"],))
    torch.testing.assert_close(outputs, reading.outputs, rtol=1e-9, atol=1e-9)


def speed(model, reading):
    """d/dt of what is conserved. Central differences are exact for quadratic forms."""
    ends = []
    for sign in (1, -1):
        own = dict(reading.parameters)
        for name in own.keys() - set(model.fixed):
            own[name] = own[name] - sign * reading.gradients[name]
        ends.append(model.conserved(own))
    return {name: (ends[0][name] - ends[1][name]) / 2 for name in ends[0]}


@decoders
def test_the_velocity_of_the_flow_leaves_them_alone(fields, stacked):
    stack = stacked(dtype=torch.float64, **fields)
    found = speed(stack.model, stack.one())
    depth, relu = stack.model.depth, stack.model.activation == "relu"
    assert len(found) == depth * (3 if relu else 2)
    for value in found.values():
        torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-12, rtol=0)


def test_the_shapes_say_what_they_are(stacked):
    stack = stacked(dtype=torch.float64, activation="relu")
    found = stack.model.conserved(stack.one().parameters)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        f"blocks.{i}.{name}": shape
        for i in range(2)
        for name, shape in (("qk", (2, 6, 6)), ("vo", (2, 6, 6)), ("relu", (48,)))
    }


def test_the_velocity_of_the_word_model_leaves_i1_to_i3_alone(words):
    stack = words()
    found = speed(stack.model, stack.one())
    assert found.keys() == {"I1", "I2", "I3"} and stack.model.fixed == (READOUT,)
    for value in found.values():
        torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-12, rtol=0)


@decoders
def test_the_drift_of_descent_halves_with_its_step_and_the_flow_has_none(fields):
    """The kinks of ReLU cost the solver so many steps that the flow is followed more roughly."""
    rough = fields.get("activation") == "relu"
    exact = drifts(
        flow(rtol=1e-4, atol=1e-6) if rough else flow(rtol=1e-8, atol=1e-10), 1, **fields
    )
    coarse, fine = (drifts(descent(steps), steps, **fields) for steps in (40, 80))
    assert exact.keys() == coarse.keys() == fine.keys()
    for name, value in coarse.items():
        assert ((value / fine[name] > 1.85) & (value / fine[name] < 2.15)).all(), name
        assert (exact[name] < (0.1 if rough else 1e-5) * fine[name]).all(), name


def test_weight_decay_takes_them_down_at_twice_its_rate():
    """theta' = -grad - w theta makes C' = -2 w C for quadratic C, -w C for linear ones."""
    lost = 1 - exp(-2 * 0.7 * TIME)
    for value in drifts(flow(weight_decay=0.7), 1, depth=1).values():
        torch.testing.assert_close(value, torch.full_like(value, lost), rtol=1e-7, atol=0)
    found = drifts(flow(weight_decay=0.7), 1, words=True)
    for name, expected in (("I1", lost), ("I2", lost), ("I3", 1 - exp(-0.7 * TIME))):
        value = found[f"conservation/{name}"]
        torch.testing.assert_close(value, torch.full_like(value, expected), rtol=1e-7, atol=0)


def test_linear_invariants_are_kept_at_any_step_and_quadratic_ones_by_the_flow():
    coarse, fine = (drifts(descent(steps), steps, words=True) for steps in (10, 20))
    exact = drifts(flow(), 1, words=True)
    for name in ("I1", "I2"):
        ratio = coarse[f"conservation/{name}"] / fine[f"conservation/{name}"]
        assert ((ratio > 1.9) & (ratio < 2.1)).all()
        assert float(exact[f"conservation/{name}"].max()) < 1e-8
    for found in (coarse, fine, exact):
        assert float(found["conservation/I3"].max()) < 1e-14


def test_drift_is_relative_and_zero_at_the_start(words):
    reading = words().one()
    model = words().model
    now, then = model.conserved(reading.parameters), model.conserved(reading.initial)
    for name, value in Conservation().read(reading).items():
        own = name.removeprefix("conservation/")
        expected = (now[own] - then[own]).flatten().norm() / then[own].flatten().norm()
        torch.testing.assert_close(value, expected)
    still = Reading(reading.task, reading.initial, model=model, initial=reading.initial)
    assert all(value == 0 for value in Conservation().read(still).values())


def test_a_strangers_module_has_no_known_symmetries():
    assert Conservation().read(Reading(MovingWindowSum(), {"x": torch.ones(2)})) == {}
