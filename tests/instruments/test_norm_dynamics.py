"""Which way a step moves the parameters: closed forms, and the accounts of a whole training."""

from __future__ import annotations

from math import exp, log, prod, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.instruments import Instrument, Reading
from saltus.instruments.norm_dynamics import NormDynamics, dynamics, products
from saltus.instruments.norm_dynamics import together as laid_end_to_end
from saltus.instruments.norm_policies import NormPolicies
from saltus.integrations.plain import read
from saltus.training.ensemble import Ensemble
from saltus.training.readings import measure
from tiny_experiments import tiny

FLOAT64 = {"workers": 1, "precision": "float64"}
OPTIMIZERS = {
    "sgd": {"kind": "sgd", "learning_rate": 0.3, "weight_decay": 0.1},
    "adam": {"kind": "adam", "learning_rate": 1e-2},
    "adamw": {"kind": "adamw", "learning_rate": 1e-2, "weight_decay": 0.1},
    "adafactor": {"kind": "adafactor"},
    "norm-sgd": {"kind": "norm-sgd", "learning_rate": 0.01},
    "muon": {"kind": "muon", "learning_rate": 0.02},
}


def vectors(seed: int, size: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(3))


def test_a_step_of_3_4_5(task):
    parameters = {
        "blocks.0.x": torch.tensor([3.0, 0.0]),
        "blocks.0.y": torch.tensor([[0.0], [4.0]]),
    }
    update = {"blocks.0.x": torch.tensor([3.0, 0.0]), "blocks.0.y": torch.tensor([[-4.0], [0.0]])}
    gradients = {name: -value for name, value in parameters.items()}
    reading = Reading(task=task, parameters=parameters, update=update, gradients=gradients)
    found = NormDynamics(per="parameter").read(reading)
    expected = {
        "update-norm": 5, "relative-update": 1, "update-cosine": 9 / 25,
        "radial-share": (9 / 25) ** 2, "descent-cosine": 1, "growth/squares": 25,
        "growth/cross": 18, "growth/dot": 9, "growth/boundary": -12.5,
        "update-norm/blocks.0.x": 3, "update-norm/blocks.0.y": 4, "update-cosine/blocks.0.x": 1,
        "update-cosine/blocks.0.y": 0, "radial-share/blocks.0.x": 1, "radial-share/blocks.0.y": 0,
        "descent-cosine/blocks.0.x": 1, "descent-cosine/blocks.0.y": 1,
        "growth/dot/blocks.0.x": 9, "growth/dot/blocks.0.y": 0,
    }  # fmt: skip
    assert {name.removeprefix("norm-dynamics/") for name in found} == set(expected)
    for name, value in expected.items():
        assert found[f"norm-dynamics/{name}"].item() == pytest.approx(value, rel=1e-6), name


@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(0.01, 100))
def test_aligned_steps_are_all_radial_and_orthogonal_ones_not_at_all(seed, factor, scale):
    theta, other, gradient = vectors(seed)
    along = dynamics(products(theta, scale * theta, gradient))
    assert along["update-cosine"].item() == pytest.approx(1)
    assert along["radial-share"].item() == pytest.approx(1)
    assert along["relative-update"].item() == pytest.approx(scale)
    across = other - theta * (other @ theta) / (theta @ theta)
    off = dynamics(products(theta, scale * across, gradient))
    assert abs(off["update-cosine"].item()) < 1e-9
    after = (theta + scale * across).square().sum() - theta.square().sum()
    assert off["growth/squares"].item() == pytest.approx(after.item(), rel=1e-9)
    mixed = dynamics(products(theta, factor * theta + across, gradient))
    grows = mixed["growth/dot"] > mixed["growth/boundary"]
    longer = ((1 + factor) * theta + across).norm() > theta.norm()
    assert bool(grows) == bool(longer)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 1000))
def test_tensors_end_to_end_are_one_vector(sizes, seed):
    theta, update, gradient = vectors(seed, sum(sizes))
    pieces = zip(theta.split(sizes), update.split(sizes), gradient.split(sizes), strict=True)
    whole = dynamics(products(theta, update, gradient))
    for name, value in dynamics(laid_end_to_end(products(*piece) for piece in pieces)).items():
        torch.testing.assert_close(value, whole[name], rtol=1e-9, atol=1e-12)


def test_a_walk_of_orthogonal_steps_grows_as_the_root_of_its_length():
    """Section 7.6 of our spec: |theta_T| = sqrt(|theta_0|^2 + T s^2)."""
    theta, direction, gradient = vectors(0)
    first, total, step, steps = theta.norm().item(), 0.0, 0.3, 400
    for _ in range(steps):
        across = direction - theta * (direction @ theta) / (theta @ theta)
        update = step * across / across.norm()
        found = dynamics(products(theta, update, gradient))
        total += found["growth/squares"].item() + found["growth/cross"].item()
        assert abs(found["update-cosine"].item()) < 1e-12
        theta, direction = theta + update, theta.roll(1)
    assert theta.norm().item() == pytest.approx(sqrt(first**2 + steps * step**2), rel=1e-12)
    assert theta.norm().item() ** 2 - first**2 == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("kappa", [0.1, 0.5, 1.0])
def test_misaligned_steps_in_proportion_to_the_norm_have_their_product_form(kappa):
    """Section 7.7: with a rate of 1 / sqrt(t), |theta_T|^2 = |theta_0|^2 prod(1 + kappa^2 / t)."""
    theta, squares, steps = torch.tensor([2.0, 0.0], dtype=torch.float64), 4.0, 300
    for t in range(1, steps + 1):
        update = kappa / sqrt(t) * torch.stack([-theta[1], theta[0]])
        found = dynamics(products(theta, update, update))
        assert found["relative-update"].item() == pytest.approx(kappa / sqrt(t), rel=1e-12)
        squares += found["growth/squares"].item() + found["growth/cross"].item()
        theta = theta + update
    expected = 4.0 * prod(1 + kappa**2 / t for t in range(1, steps + 1))
    assert squares == pytest.approx(expected, rel=1e-12)
    assert theta.square().sum().item() == pytest.approx(expected, rel=1e-12)
    if kappa == 1.0:
        assert expected == pytest.approx(4.0 * (steps + 1), rel=1e-12)


def test_aligned_steps_in_proportion_to_the_norm_grow_as_exp_of_the_root():
    """Section 7.8: d log |theta| / d sqrt(t) tends to 2 kappa."""
    kappa, sizes, size = 0.1, {}, 1.0
    for t in range(1, 1001):
        found = dynamics(products(*[torch.tensor([size * f], dtype=torch.float64) for f in (
            1.0, kappa / sqrt(t), 1.0)]))  # fmt: skip
        size = sqrt(size**2 + found["growth/squares"].item() + found["growth/cross"].item())
        sizes[t] = size
    slope = (log(sizes[1000]) - log(sizes[250])) / (sqrt(1000) - sqrt(250))
    assert slope == pytest.approx(2 * kappa, rel=4e-3)
    assert sizes[1] == pytest.approx(1.1) and size < exp(2 * kappa * sqrt(1000))


@pytest.mark.parametrize("over", ["encoder", "all"])
@pytest.mark.parametrize("settings", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_what_the_steps_add_is_what_the_norm_has_gained(settings, over):
    """M10, of every member, to relative 1e-9."""
    instruments = [
        {"kind": "norm-dynamics", "over": over, "per": "block", "cadence": 1},
        {"kind": "norm-policies", "policies": ["encoder", "total"], "cadence": 1},
    ]
    experiment = tiny(optimizer=settings, instruments=instruments, engine=FLOAT64, seeds=2)
    ensemble = Ensemble(experiment.members())
    whole = "norm-policies/" + ("encoder" if over == "encoder" else "total")
    first, gained = None, torch.zeros(2, dtype=torch.float64)
    for step in range(4):
        ensemble.differentiate(step)
        found = measure(ensemble, experiment.instruments, step)
        first = found[whole] if first is None else first
        gained += found["norm-dynamics/growth/squares"] + found["norm-dynamics/growth/cross"]
        ensemble.update(step)
    last = measure(ensemble, experiment.instruments[1:], 4)[whole]
    scale = last.square()
    assert ((last.square() - first.square() - gained).abs() <= 1e-12 * scale).all()
    torch.testing.assert_close(gained, last.square() - first.square(), rtol=1e-9, atol=0)


def test_plain_descent_moves_along_the_descent():
    experiment = tiny(
        optimizer={"kind": "sgd", "learning_rate": 0.1},
        instruments=[{"kind": "norm-dynamics", "per": "parameter"}],
        engine=FLOAT64,
    )
    ensemble = Ensemble(experiment.members())
    ensemble.differentiate(0)
    found = measure(ensemble, experiment.instruments, 0)
    for name, value in found.items():
        if name.startswith("norm-dynamics/update-cosine") and "key.bias" not in name:
            other = found[name.replace("update-cosine", "descent-cosine")]
            torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-7, equal_nan=True)


def test_modules_are_the_groups_of_what_it_is_over_and_add_up():
    experiment = tiny(
        instruments=[{"kind": "norm-dynamics"}, {"kind": "norm-policies"}], engine=FLOAT64
    )
    ensemble = Ensemble(experiment.members())
    ensemble.differentiate(0)
    found = measure(ensemble, experiment.instruments, 0)
    name = "norm-dynamics/update-norm"
    modules = {each.removeprefix(f"{name}/") for each in found if each.startswith(f"{name}/")}
    assert modules == {
        "attention.qk", "attention.value", "attention.output", "mlp", "norm.attention", "norm.mlp",
        "norm.final",
    }  # fmt: skip
    squares = sum(found[f"{name}/{module}"].square() for module in modules)
    torch.testing.assert_close(squares, found[name].square())
    relative = found[name] / found["norm-policies/encoder"]
    torch.testing.assert_close(found["norm-dynamics/relative-update"], relative)


def test_what_does_not_move_has_no_direction():
    experiment = tiny(
        instruments=["norm-dynamics"], interventions=[{"kind": "freeze", "groups": ["mlp"]}]
    )
    ensemble = Ensemble(experiment.members())
    ensemble.differentiate(0)
    found = measure(ensemble, experiment.instruments, 0)
    assert found["norm-dynamics/update-cosine/mlp"].isnan().all()
    assert not found["norm-dynamics/update-norm/mlp"].any()
    assert found["norm-dynamics/update-cosine"].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("per", ["none", "group", "block", "parameter"])
def test_a_member_is_the_same_to_the_last_bit_in_any_company(per, dtype, stacked, mapped):
    plain = stacked(dtype=dtype)
    stack = plain.only("parameters", "gradients")
    stack["update"] = {name: 0.01 * value.flip(-1) for name, value in plain["parameters"].items()}
    instrument = NormDynamics(per=per, over="all")
    together = mapped(instrument, stack)
    for member in range(5):
        alone = mapped(instrument, stack, slice(member, member + 1))
        for name, value in alone.items():
            assert together[name][member].equal(value[0]), name
            assert value.isfinite().all()
        single = instrument.read(stack.one(member))
        assert single.keys() == together.keys()
        for name, value in single.items():
            torch.testing.assert_close(value, together[name][member], rtol=1e-4, atol=1e-6)


def test_a_plain_loop_has_no_update_to_read():
    module = torch.nn.Linear(2, 2)
    with pytest.raises(SaltusError, match="norm-dynamics: the update that follows needs saltus"):
        read(module, [NormDynamics()])
    assert read(module, [NormPolicies()])


def test_an_instrument_is_data():
    instrument = NormDynamics(over="all", per="block", cadence=7)
    assert Instrument.parse(instrument.model_dump()) == instrument
    with pytest.raises(ValueError, match="per"):
        NormDynamics(per="layer")
