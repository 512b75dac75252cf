"""Linear probe: closed forms, numpy's least squares, and members that do not mix."""

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.instruments import Instrument, Reading
from saltus.instruments.base import Pass
from saltus.instruments.linear_probe import CHUNK, LinearProbe, least_squares
from saltus.tasks.base import Task
from saltus.tasks.matrix_completion import MatrixCompletion
from saltus.tasks.moving_window_sum import MovingWindowSum
from tiny_checkpoints import MATRICES, alone, found, same_bits, trained

PART = {"kind": "linear-probe", "train": 96, "test": 32}


class Known(Task):
    """Says whatever the batch holds."""

    kind: Literal["known"] = "known"

    def probe_targets(self, batch):
        return {name: batch[name] for name in ("vector", "number") if name in batch}


del Task.registry["known"]  # other tests list what there is


def probe(states, test=50, sites=("here",), **batch):
    """Probe hand-made states [..., sample, position, width]; the inputs say which samples run."""
    single = states.ndim == 3
    index = torch.arange(states.shape[-3] * states.shape[-2]).view(states.shape[-3:-1])
    inputs = index if single else index.expand(states.shape[:-1])

    def run(shown, *, edits=None, capture=(), parameters=None):
        some = shown if single else shown[0]
        return Pass(states, {"here": states.flatten(-3, -2)[..., some, :]})

    reading = Reading(task=Known(), parameters={}, batch={"inputs": inputs, **batch}, run=run)
    results = LinearProbe(test=test, train=1, sites=sites).read(reading)
    return {name.removeprefix("linear-probe/here/"): value for name, value in results.items()}


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_a_target_that_lies_linearly_in_the_states_is_read_off_exactly():
    states, matrix = random(600, 3, 10), random(10, 4)
    results = probe(states, vector=states @ matrix, number=(states @ matrix)[..., :1])
    for part in ("train", "test"):
        assert results[f"vector/mse/{part}"] < 1e-15 and results[f"number/mse/{part}"] < 1e-15
        assert results[f"vector/cosine/{part}"].item() == pytest.approx(1)
    assert not [name for name in results if "number/cosine" in name or "observed" in name]


def test_on_noise_the_error_is_the_variance_of_the_target():
    """With n rows and d dimensions: sigma^2 (1 - d / n) on the training rows, about
    sigma^2 (1 + d / n) on others."""
    states, target = random(2500, 4, 10), 3 * random(2500, 4, 2)
    results = probe(states, test=500, vector=target)
    assert results["vector/mse/train"].item() == pytest.approx(9 * (1 - 10 / 8000), rel=0.03)
    assert results["vector/mse/test"].item() == pytest.approx(9, rel=0.06)
    # |cos| of a random direction in the plane with another: 2 / pi
    assert results["vector/cosine/test"].item() == pytest.approx(2 / np.pi, rel=0.05)


def test_there_is_no_intercept():
    states = random(500, 2, 3)
    results = probe(states, number=torch.ones(500, 2, 1, dtype=torch.float64))
    assert results["number/mse/test"].item() == pytest.approx(1, rel=0.05)
    assert probe(states.abs() + 9, number=torch.ones(500, 2, 1).double())["number/mse/test"] < 0.01


def test_it_is_numpys_least_squares_over_more_than_one_pass():
    samples = CHUNK + 70
    states, target = random(samples, 5, 6), random(samples, 5, 3)
    shown = torch.rand(samples, 5) < 0.7
    number = target[..., :1] + states[..., :1]
    results = probe(states, vector=target, number=number, observed=shown)
    split = samples - 50
    x, rest = states[:split].flatten(0, 1).numpy(), states[split:].flatten(0, 1).numpy()
    for name, true in (("vector", target), ("number", number)):
        y, held_out = true[:split].flatten(0, 1).numpy(), true[split:].flatten(0, 1).numpy()
        weights = np.linalg.lstsq(x, y)[0]
        for part, inputs, wanted in (("train", x, y), ("test", rest, held_out)):
            said = inputs @ weights
            square = (said - wanted) ** 2
            assert results[f"{name}/mse/{part}"].item() == pytest.approx(square.mean(), rel=1e-9)
            if name == "vector":
                norms = np.linalg.norm(said, axis=1) * np.linalg.norm(wanted, axis=1)
                cosine = np.abs((said * wanted).sum(1) / norms).mean()
                assert results[f"vector/cosine/{part}"].item() == pytest.approx(cosine, rel=1e-9)
            else:
                seen = (shown[:split] if part == "train" else shown[split:]).flatten().numpy()
                for what, where in (("observed", seen), ("masked", ~seen)):
                    value = results[f"number/mse-{what}/{part}"].item()
                    assert value == pytest.approx(square[where].mean(), rel=1e-9)


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 99))
def test_states_that_do_not_fill_their_space_do_no_harm(rank, extra, seed):
    """Copies, multiples and zeros of features, with the rounding of float32, change nothing."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(rank, rank + extra, generator=generator).double()
    free = torch.randn(200, 3, rank, generator=generator).double()
    states = (free @ basis).float().double()
    target = (
        free.sum(-1, keepdim=True) + 0.1 * torch.randn(200, 3, 1, generator=generator)
    ).double()
    full, wide = probe(free, number=target), probe(states, number=target)
    for part in ("train", "test"):
        least = full[f"number/mse/{part}"].item()
        assert wide[f"number/mse/{part}"].item() == pytest.approx(least, rel=1e-3)


def test_states_of_nothing_say_nothing():
    target = random(100, 2, 3)
    results = probe(torch.zeros(100, 2, 4, dtype=torch.float64), vector=target)
    split = target[50:].square().mean().item()
    assert results["vector/mse/test"].item() == pytest.approx(split)
    assert results["vector/cosine/test"] == 0


def test_where_nothing_is_masked_there_is_no_number():
    shown = torch.ones(100, 2, dtype=torch.bool)
    results = probe(random(100, 2, 4), number=random(100, 2, 1), observed=shown)
    assert results["number/mse-masked/test"].isnan()
    assert results["number/mse-observed/test"].equal(results["number/mse/test"])


def test_least_squares_solves_the_normal_equations():
    x, y = random(50, 7), random(50, 2)
    weights = least_squares(x.T @ x, x.T @ y)
    torch.testing.assert_close(
        x.T @ (x @ weights - y), torch.zeros_like(weights), atol=1e-7, rtol=0
    )


# ------------------------------------------------------------------------------------ members


@pytest.mark.parametrize("width", [7, 16])
def test_a_member_is_the_same_to_the_last_bit_in_any_company(width):
    states, target = random(5, 300, 3, width).float(), random(5, 300, 3, 5).float()
    shown = torch.rand(5, 300, 3) < 0.5
    batch = {"vector": target, "number": target[..., :1], "observed": shown}
    together = probe(states, **batch)
    for k in range(5):
        single = probe(states[k], **{name: value[k] for name, value in batch.items()})
        assert same_bits(single, {name: value[k] for name, value in together.items()})
        pair = probe(states[[k, 0]], **{name: value[[k, 0]] for name, value in batch.items()})
        assert same_bits(single, {name: value[0] for name, value in pair.items()})


def test_a_member_that_diverged_gives_nan_and_leaves_the_others_alone():
    states, target = random(3, 100, 2, 4), random(3, 100, 2, 3)
    before = probe(states, vector=target)
    states[1, 7, 0, 0] = torch.nan
    after = probe(states, vector=target)
    for name, value in after.items():
        assert value[1].isnan() and value[[0, 2]].equal(before[name][[0, 2]])


def test_an_encoder_is_probed_layer_by_layer_for_what_the_paper_looks_for():
    ours = trained([PART], where=MATRICES)
    together = found(ours)
    sites = ("embedding", "blocks.0.residual.post", "blocks.1.residual.post")
    whats = ("row/mse", "row/cosine", "svd/mse", "svd/cosine", "element/mse")
    whats = (*whats, "element/mse-observed", "element/mse-masked")
    assert together.keys() == {
        f"linear-probe/{site}/{what}/{part}"
        for site in sites for what in whats for part in ("train", "test")
    }  # fmt: skip
    for name, value in together.items():
        assert value.shape == (3,) and value.isfinite().all() and (value >= 0).all(), name
    for row in range(3):
        for name, value in alone(LinearProbe(train=96, test=32), ours, row).items():
            torch.testing.assert_close(value, together[name][row], rtol=1e-3, atol=1e-4)


def test_the_embedding_knows_the_observed_entry_and_not_the_missing_one():
    """Every token is its own direction when the tables are wide and random, untrained as they
    are; the missing entry is a guess, and its error the variance."""
    where = {
        "task": MATRICES["task"] | {"decimals": 1},
        "model": {"kind": "encoder", "width": 64, "heads": 1, "depth": 1},
    }
    part = {**PART, "train": 600, "test": 200, "sites": ["embedding"], "targets": ["element"]}
    results = {
        name: value.mean().item() for name, value in found(trained([part], 0, where=where)).items()
    }
    assert results["linear-probe/embedding/element/mse-observed/test"] < 0.03
    missing = results["linear-probe/embedding/element/mse-masked/test"]
    assert missing == pytest.approx(1 / 9, rel=0.2)


# -------------------------------------------------------------------------------------- input


def test_what_cannot_be_probed_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^task moving-window-sum says nothing"):
        LinearProbe().check(MovingWindowSum(length=4))
    LinearProbe().check(MatrixCompletion())
    with pytest.raises(SaltusError, match=r"^linear-probe.test: 50 of a batch of 50 samples"):
        probe(random(50, 2, 3), number=random(50, 2, 1))
    with pytest.raises(SaltusError, match=r"^linear-probe.sites: the model has no site 'there'"):
        probe(random(60, 2, 3), sites=("there",), number=random(60, 2, 1))
    bad = {**PART, "targets": ["rows"]}
    with pytest.raises(SaltusError) as caught:
        found(trained([bad], 0, where=MATRICES))
    assert str(caught.value) == (
        "linear-probe.targets: unknown target 'rows'; did you mean 'row'? "
        "Allowed: element, row, svd"
    )
    bad = {**PART, "sites": ["blocks.0.attention.pattern"]}
    with pytest.raises(SaltusError, match=r"is not one state per position$"):
        found(trained([bad], 0, where=MATRICES))


def test_it_is_data():
    part = LinearProbe(targets=("row",), train=5)
    assert Instrument.parse(part.model_dump()) == part
    with pytest.raises(ValueError, match=r"^targets: "):
        Instrument.parse({"kind": "linear-probe", "targets": []})
