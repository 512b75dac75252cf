"""Batch norm is PyTorch's, for one model and for a stack whose members do not mix."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from saltus.errors import SaltusError
from saltus.instruments import Reading
from saltus.instruments.gradient_norms import GradientNorms
from saltus.instruments.norms import Norms
from saltus.models import Tape, group_of
from saltus.models.batch_norm import BatchNorm
from saltus.tasks.base import Task

NAMES = ("weight", "bias", "running_mean", "running_variance")


def prepared(members, batch=5, channels=3, sides=(4, 2), dtype=torch.float64):
    lead = (members,) if members else ()
    own = {name: torch.rand(*lead, channels, dtype=dtype) + 0.5 for name in NAMES}
    own = {name: value.requires_grad_() for name, value in own.items()}
    x = torch.randn(*lead, batch, channels, *sides, dtype=dtype) * 3 + 1
    return own, x.requires_grad_()


def normed(own, x, training):
    """Outputs, slopes for x, weight and bias, and the statistics of the pass."""
    tape = Tape(training=training)
    y = functional_call(BatchNorm(x.shape[-3]), own, (x, tape, "a.norm"))
    weights = torch.linspace(-1, 1, y.shape[-4:].numel(), dtype=y.dtype).view(y.shape[-4:])
    slopes = torch.autograd.grad((y * weights).sum(), [x, own["weight"], own["bias"]])
    return [y.detach(), *slopes], tape.statistics


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_layer_is_pytorchs_with_its_running_values(training):
    own, x = prepared(0)
    found, statistics = normed(own, x, training)
    library = torch.nn.BatchNorm2d(3).double().train(training)
    theirs = ("weight", "bias", "running_mean", "running_var")
    state = {a: own[b].detach() for a, b in zip(theirs, NAMES, strict=True)}
    library.load_state_dict(state, strict=False)
    y = library(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    slopes = torch.autograd.grad((y * weights).sum(), [x, library.weight, library.bias])
    for mine, other in zip(found, [y, *slopes], strict=True):
        torch.testing.assert_close(mine, other)
    if training:
        torch.testing.assert_close(statistics["a.norm.running_mean"], library.running_mean)
        torch.testing.assert_close(statistics["a.norm.running_variance"], library.running_var)
    else:
        assert statistics == {}


def test_a_training_pass_written_out():
    own, x = prepared(0)
    (y, *_), statistics = normed(own, x, True)
    rows = x.detach().movedim(1, 0).flatten(1)  # [channel, number]
    mean, biased, unbiased = rows.mean(1), rows.var(1, correction=0), rows.var(1)
    expected = (x - mean[:, None, None]) / (biased[:, None, None] + 1e-5).sqrt()
    expected = expected * own["weight"][:, None, None] + own["bias"][:, None, None]
    torch.testing.assert_close(y, expected.detach())
    now = {name: value.detach() for name, value in own.items()}
    torch.testing.assert_close(
        statistics["a.norm.running_mean"], 0.9 * now["running_mean"] + 0.1 * mean
    )
    torch.testing.assert_close(
        statistics["a.norm.running_variance"], 0.9 * now["running_variance"] + 0.1 * unbiased
    )


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_pass_changes_no_parameter_and_gives_the_running_values_no_gradient(training):
    own, x = prepared(2)
    before = {name: value.detach().clone() for name, value in own.items()}
    y = functional_call(BatchNorm(3), own, (x, tape := Tape(training=training), "n"))
    running = [own["running_mean"], own["running_variance"]]
    slopes = torch.autograd.grad(y.square().sum(), running, materialize_grads=True)
    assert all(slope.count_nonzero() == 0 for slope in slopes)
    assert all(own[name].equal(value) for name, value in before.items())
    assert not any(value.requires_grad for value in tape.statistics.values())


@settings(max_examples=15)
@given(data=st.data())
def test_a_members_bits_do_not_depend_on_who_is_beside_it(data):
    members = data.draw(st.integers(2, 5))
    sides = (data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5)))
    batch, channels = data.draw(st.integers(2, 9)), data.draw(st.integers(1, 9))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    training = data.draw(st.booleans())
    own, x = prepared(members, batch, channels, sides, dtype)
    found, statistics = normed(own, x, training)
    k = data.draw(st.integers(0, members - 1))
    alone = {name: value[k : k + 1].detach().requires_grad_() for name, value in own.items()}
    single, expected = normed(alone, x[k : k + 1].detach().requires_grad_(), training)
    assert all(a[k].equal(b[0]) for a, b in zip(found, single, strict=True))
    assert all(statistics[name][k].equal(value[0]) for name, value in expected.items())


def test_a_batch_of_one_number_is_refused_in_one_line():
    own, x = prepared(2, batch=1, sides=(1, 1))
    with pytest.raises(SaltusError, match=r"^batch 1 with a single place left at a\.norm: .*$"):
        normed(own, x, True)
    normed(own, x, False)


def test_running_values_are_statistics_and_no_part_of_any_norm():
    names = {f"stem.batch_norm.{name}": name for name in NAMES}
    groups = [group_of(name) for name in names]
    assert groups == ["norm.batch", "norm.batch", "statistics", "statistics"]
    parameters = {name: torch.full((4,), 3.0) for name in names}
    reading = Reading(task=Task(kind="none"), parameters=parameters, gradients=parameters)
    for instrument, whole in ((Norms(), "norm"), (GradientNorms(), "gradient")):
        results = instrument.read(reading)
        assert len(results) == 2
        for value in results.values():
            assert value.item() == pytest.approx(3 * math.sqrt(8)), whole
    assert set(Norms().read(reading)) == {"norm/parameters", "norm/norm.batch"}
    assert f"norm/stem.batch_norm.{NAMES[2]}" not in Norms(per="parameter").read(reading)


def test_momentum_tends_to_the_statistics_of_steady_batches():
    """After n equal batches the distance to the batch's mean is 0.9^n of what it was."""
    own, x = prepared(0)
    first = own["running_mean"].detach()
    for _ in range(7):
        _, statistics = normed(own, x, True)
        own |= {
            name: statistics[f"a.norm.{name}"].requires_grad_()
            for name in ("running_mean", "running_variance")
        }
    mean = x.detach().mean((0, 2, 3))
    torch.testing.assert_close(own["running_mean"].detach() - mean, (first - mean) * 0.9**7)


def test_evaluation_with_running_values_is_an_affine_map():
    own, x = prepared(0)
    (y, *_), _ = normed(own, x, False)
    values = [own[name].detach() for name in ("running_mean", "running_variance")]
    torch.testing.assert_close(y, F.batch_norm(x, *values, own["weight"], own["bias"]).detach())
