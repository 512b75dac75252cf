"""Low-rank matrices: the law of the entries, the tokens, the masks, and what analyses ask for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.low_rank import MASK
from saltus.tasks.matrix_completion import MatrixCompletion

PAPER = MatrixCompletion()
LAWS = [
    {"factors": "uniform"},
    {"factors": "uniform", "low": -0.5, "high": 1.0, "rank": 1},
    {"factors": "gaussian", "scale": 0.5},
    {"factors": "laplace", "scale": 0.25, "rank": 3},
    {"factors": "two-point", "low": -0.5, "rank": 2},
    {"factors": "entries"},
]
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(1, min(size)), st.integers(0, 3))
)


def drawn(task, batch=64, seed=0, step=0):
    return task.sample(Draws(seed, "data", step), batch)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_closed_form_of_the_variance_is_that_of_samples(law):
    task = MatrixCompletion(rows=8, columns=8, decimals=3, **law)
    # The cells of one matrix are not independent: the error is that of a mean over matrices.
    values = drawn(task, 20_000)["targets"]
    per_matrix = (values - values.mean()).square().mean(-1)
    error = float(per_matrix.std()) / len(values) ** 0.5
    assert abs(float(per_matrix.mean()) - task.variance) < 5 * error


def test_the_papers_levels():
    assert PAPER.variance == pytest.approx(2 / 9)
    assert PAPER.levels()["plateau"] == pytest.approx(0.3 * 2 / 9)
    fixed = MatrixCompletion(missing=14)
    assert fixed.levels()["plateau"] == pytest.approx(14 / 49 * 2 / 9)


@given(sizes=SIZES, seed=st.integers(0, 99))
def test_matrices_have_their_rank_and_tokens_say_what_is_seen(sizes, seed):
    (rows, columns), rank, decimals = sizes
    task = MatrixCompletion(rows=rows, columns=columns, rank=rank, decimals=decimals)
    batch = drawn(task, 3, seed)
    tokens, values, observed = batch["inputs"], batch["targets"], batch["observed"]
    assert tokens.shape == values.shape == observed.shape == (3, rows * columns)
    assert tokens.min() >= 0
    assert tokens.max() < task.interface.vocabulary
    assert torch.equal(tokens == MASK, ~observed)
    shown = task.decode(tokens)
    assert torch.equal(shown[observed], values[observed])
    assert shown[~observed].isnan().all()
    unrounded = task._values(Draws(seed, "data"), 3, rows, columns).double()
    assert torch.linalg.matrix_rank(unrounded, atol=1e-5).max() <= rank
    assert (unrounded.flatten(-2) - values).abs().max() <= 0.5 / 10**decimals + 1e-6


def test_the_papers_vocabulary():
    assert PAPER.interface[:3] == (2002, 49, 1)
    assert PAPER.encode(torch.tensor([-10.0, -0.01, 0.0, 1.5, 10.0])).tolist() == [
        1,
        1000,
        1001,
        1151,
        2001,
    ]
    # Values whose hundredfold is a hair below a whole number: rounding, not truncation.
    hundredths = torch.arange(-1000, 1001)
    assert torch.equal(PAPER.encode(hundredths / 100), hundredths + 1001)
    assert PAPER.token_values()[0].isnan()
    assert PAPER.token_values()[1151] == 1.5


def test_masks_hit_every_cell_with_their_probability():
    observed = drawn(MatrixCompletion(mask_probability=0.2), 20_000)["observed"]
    assert torch.allclose(observed.double().mean(0), torch.tensor(0.8, dtype=float), atol=0.015)
    exact = drawn(MatrixCompletion(missing=14), 500)["observed"]
    assert ((~exact).sum(-1) == 14).all()
    assert exact.double().mean(0).min() > 0.5


def test_structured_masks():
    task = MatrixCompletion(hidden_rows=(3, 6), shown=((3, 1), (6, 5)))
    observed = drawn(task, 4)["observed"].unflatten(-1, (7, 7))
    expected = torch.ones(7, 7, dtype=torch.bool)
    expected[[3, 6]] = False
    expected[3, 1] = expected[6, 5] = True
    assert (observed == expected).all()
    assert task.levels()["plateau"] == pytest.approx(12 / 49 * 2 / 9)
    stacked = task.sample(Draws([0, 1], "data"), 4)["observed"]
    assert stacked.shape == (2, 4, 49)
    columns = drawn(MatrixCompletion(hidden_columns=(2,)), 4)["observed"].unflatten(-1, (7, 7))
    assert not columns[..., 2].any()
    assert columns.sum() == 4 * 42


def test_a_mixture_draws_one_size_a_step_for_all_members():
    task = MatrixCompletion(rank=1, sizes=(5, 7, 9))
    cells = [task.sample(Draws([3, 4], "data", step), 2)["inputs"].shape for step in range(60)]
    assert {shape[-1] for shape in cells} == {25, 49, 81}
    assert task.interface.positions == 81
    assert not task.steady
    assert task.grid is None
    alone = task.sample(Draws(4, "data", 7), 2)["targets"]
    assert torch.equal(alone, task.sample(Draws([3, 4], "data", 7), 2)["targets"][1])


def test_loss_is_that_of_both_kinds_of_cell():
    batch = drawn(PAPER, 32)
    outputs = torch.randn(32, 49, 1)
    metrics = PAPER.metrics(outputs, batch)
    share = float(batch["observed"].double().mean())
    total = PAPER.loss(outputs, batch).mean()
    parts = share * metrics["loss/observed"] + (1 - share) * metrics["loss/masked"]
    assert torch.allclose(total, parts)
    copying = torch.where(batch["observed"], batch["targets"], 0.0).unsqueeze(-1)
    copied = PAPER.metrics(copying, batch)
    assert copied["loss/observed"] == copied["mask-value"] == 0
    assert copied["loss/masked"] == pytest.approx(PAPER.variance, rel=0.2)
    full = MatrixCompletion(mask_probability=0.0)
    assert full.metrics(outputs, drawn(full, 32))["loss/masked"].isnan()


def test_planting_writes_a_value_where_nothing_is_seen():
    batch = drawn(PAPER, 8)
    planted = PAPER.planted(batch, 0.44)
    assert torch.equal(planted.where, ~batch["observed"])
    seen = PAPER.decode(planted.batch["inputs"])
    assert torch.allclose(seen[planted.where], torch.tensor(0.44))
    assert torch.equal(seen[~planted.where], batch["targets"][~planted.where])
    perfect = seen.unsqueeze(-1)
    assert PAPER.copy_error(perfect, planted)[planted.where].max() < 1e-12


def test_corruption_turns_the_matrix_round_and_keeps_the_mask():
    batch = drawn(PAPER, 8)
    twin = PAPER.corrupted(batch)
    assert torch.equal(twin["targets"], -batch["targets"])
    assert torch.equal(twin["inputs"] == MASK, batch["inputs"] == MASK)
    shown = PAPER.decode(twin["inputs"])
    assert torch.equal(shown[batch["observed"]], -batch["targets"][batch["observed"]])
    again = PAPER.corrupted(twin)
    assert all(torch.equal(again[name], value) for name, value in batch.items())


def test_what_probes_look_for():
    task = MatrixCompletion(rows=4, columns=6, rank=1)
    batch = drawn(task, 5)
    targets = task.probe_targets(batch)
    values, observed = (batch[name].view(5, 4, 6) for name in ("targets", "observed"))
    assert {name: tuple(value.shape) for name, value in targets.items()} == {
        "row": (5, 24, 6),
        "element": (5, 24, 1),
        "svd": (5, 24, 4),
    }
    for sample in range(5):
        for row in range(4):
            expected = values[sample, row].where(observed[sample, row], 0.0)
            for column in range(6):
                cell = row * 6 + column
                assert torch.equal(targets["row"][sample, cell], expected)
                assert targets["element"][sample, cell, 0] == values[sample, row, column]
        vector = targets["svd"][sample, 0].double()
        left = np.linalg.svd(values[sample].double().numpy())[0][:, 0]
        assert abs(float(vector @ torch.tensor(left))) == pytest.approx(1.0, abs=1e-6)
        assert vector[vector.abs().argmax()] > 0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mask_probability", 1.5, "task.mask_probability"),
        ("rank", 8, "rank 8 is above the size: at most 7 here"),
        ("rows", 0, "task.rows"),
        ("low", 2.0, "low 2 must be below high 1"),
        ("missing", 50, "missing 50 is more than the 49 cells"),
        ("hidden_rows", [7], "hidden_rows: 7 is not in 0 .. 6"),
        ("shown", [[0, 0]], "shown needs hidden_rows"),
        ("sizes", [5, 0], "sizes: 0 is not allowed"),
        ("factors", "cauchy", "task.factors"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(field, value, message):
    data = {
        "task": {"kind": "matrix-completion", field: value},
        "model": {"kind": "encoder", "depth": 1, "heads": 1, "width": 8},
        "steps": 1,
        "batch": 1,
    }
    with pytest.raises(SaltusError, match=message) as caught:
        Experiment.of(data)
    assert "\n" not in str(caught.value)


def test_the_record_survives_plain_data():
    task = MatrixCompletion(hidden_rows=(1,), shown=((1, 2),), sizes=(), factors="laplace")
    assert Task.parse(task.model_dump(mode="json")) == task
