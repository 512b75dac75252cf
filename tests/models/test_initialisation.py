"""The start: the law of section 3.3, and each parameter a function of the seed and its name."""

import pytest
import torch

from saltus.models import Interface, group_of, initial_parameters
from saltus.models.transformer import Decoder

INTERFACE = Interface(64, 64, 64)
MODEL = Decoder(depth=2, heads=2, width=64)


def started(model=MODEL, seed=0, **where):
    return initial_parameters(model, model.build(INTERFACE), seed, **where)


def test_every_parameter_starts_with_the_papers_deviation():
    for name, value in started().items():
        if value.ndim == 1:
            expected = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            assert (value == expected).all(), name
            continue
        output = group_of(name) == "attention.output" or name.endswith("mlp.output.weight")
        deviation = 0.02 / (2 * MODEL.depth) ** 0.5 if output else 0.02
        error = deviation / value.numel() ** 0.5
        assert abs(value.mean()) < 5 * error, name
        assert abs(value.std() - deviation) < 5 * error / 2**0.5, name


def test_the_initial_scale_multiplies_every_random_start_and_nothing_else():
    plain = started()
    for name, value in started(MODEL.model_copy(update={"initial_scale": 3.0})).items():
        torch.testing.assert_close(value, plain[name] if value.ndim == 1 else 3 * plain[name])
    still = started(MODEL.model_copy(update={"initial_scale": 0.0}))
    assert all((value == (1.0 if "norm.weight" in name else 0.0)).all()
               for name, value in still.items())  # fmt: skip


def test_the_initial_deviation_is_a_setting():
    plain = started()["token.weight"]
    wide = started(MODEL.model_copy(update={"initial_deviation": 0.04}))["token.weight"]
    torch.testing.assert_close(wide, 2 * plain)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_parameters_start_does_not_depend_on_the_others(depth):
    """Adding a layer, a head or a position leaves every other start where it was."""
    plain = started()
    changed = started(Decoder(depth=depth, heads=4, width=64, positions=99, norm="post"))
    shared = [n for n in plain if n in changed and plain[n].shape == changed[n].shape]
    assert len(shared) > 10
    for name in shared:
        if not name.endswith("output.weight"):  # their law contains the depth
            assert changed[name].equal(plain[name]), name


def test_a_start_is_a_function_of_the_seed():
    plain = started(seed=1)
    assert all(value.equal(plain[name]) for name, value in started(seed=1).items())
    other = started(seed=2)
    assert all(not value.equal(plain[name]) for name, value in other.items() if value.ndim == 2)


def test_no_two_parameters_start_with_the_same_numbers():
    starts = started()
    square = [value for value in starts.values() if value.shape == (64, 64)]
    assert len(square) >= 10
    for i, one in enumerate(square):
        assert not any(one.equal(other) for other in square[:i])


def test_a_start_has_the_dtype_asked_for():
    assert {value.dtype for value in started(dtype=torch.float64).values()} == {torch.float64}
    assert {value.dtype for value in started().values()} == {torch.float32}
