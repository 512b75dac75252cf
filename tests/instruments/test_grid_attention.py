"""Grid attention: shares of hand-made patterns, chance, and what heads are called."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import saltus
from analysed import One
from saltus.instruments import Reading
from saltus.instruments.grid_attention import GridAttention, category, chance, same, shares
from saltus.tasks.matrix_completion import MatrixCompletion
from saltus.tasks.moving_window_sum import MovingWindowSum

TASK = MatrixCompletion(rows=3, columns=4)
grids = st.tuples(st.integers(1, 6), st.integers(1, 6))


def read(pattern, observed=None, task=TASK):
    """The results for one layer with a pattern [batch, head, query, key]."""
    batch = {} if observed is None else {"observed": observed}
    sites = {"blocks.0.attention.pattern": pattern}
    found = GridAttention().read(Reading(task=task, parameters={}, batch=batch, sites=sites))
    return {name.removeprefix("grid-attention/"): value for name, value in found.items()}


def head_that_looks_at(mask):
    """Even attention on the keys of a mask [query, key]."""
    return mask.float() / mask.float().sum(-1, keepdim=True).clamp_min(1)


@given(grids)
def test_a_head_that_looks_everywhere_is_at_chance(grid):
    task = MatrixCompletion(rows=grid[0], columns=grid[1], rank=1)
    cells = grid[0] * grid[1]
    found = read(torch.full((2, 3, cells, cells), 1 / cells), task=task)
    for name, level in chance(grid).items():
        torch.testing.assert_close(found[f"{name}/blocks.0"], torch.full((3,), level))
    assert sum(chance(grid).values()) <= 1 + 1e-9


@given(grids)
def test_masks_are_what_they_are_called(grid):
    masks = same(grid)
    for query in range(grid[0] * grid[1]):
        i, j = divmod(query, grid[1])
        for key in range(grid[0] * grid[1]):
            k, m = divmod(key, grid[1])
            assert masks["row"][query, key] == (i == k and j != m)
            assert masks["column"][query, key] == (i != k and j == m)
            assert masks["self"][query, key] == (query == key)


def test_pure_heads_have_all_their_mass_in_one_place():
    masks = same((3, 4))
    pattern = torch.stack([head_that_looks_at(masks[name]) for name in ("row", "column", "self")])
    found = read(pattern.expand(5, 3, 12, 12))
    for k, name in enumerate(("row", "column", "self")):
        torch.testing.assert_close(found[f"{name}/blocks.0"], torch.eye(3)[k])
    assert found["largest-row"] == found["largest-column"] == 1
    assert found["largest-row"].shape == () and "observed/blocks.0" not in found


def test_observed_mass_is_that_of_each_sample_s_own_mask():
    observed = torch.rand(6, 12, generator=torch.Generator().manual_seed(0)) < 0.6
    even = torch.full((6, 1, 12, 12), 1 / 12)
    only = head_that_looks_at(observed[:, None, None, :].expand(6, 1, 12, 12))
    found = read(torch.cat([even, only], dim=1), observed)["observed/blocks.0"]
    torch.testing.assert_close(found[0], observed.float().mean())
    torch.testing.assert_close(found[1], torch.tensor(1.0))


def test_signed_weights_count_by_their_size_whatever_their_sum():
    pattern = torch.randn(4, 2, 12, 12, generator=torch.Generator().manual_seed(1))
    found, scaled = read(pattern), read(-3.7 * pattern)
    for name, value in found.items():
        torch.testing.assert_close(scaled[name], value)
    assert shares(torch.zeros(1, 1, 2, 2)).equal(torch.zeros(1, 1, 2, 2))


def test_it_reads_a_model_and_the_largest_are_over_all_layers():
    one = One("completing")
    found = saltus.read(one.module, [GridAttention()], one.task, one.batch)
    for name in ("row", "column"):
        every = torch.cat([found[f"grid-attention/{name}/blocks.{i}"] for i in range(2)])
        assert every.shape == (4,) and found[f"grid-attention/largest-{name}"] == every.max()
    four = ("row", "column", "self", "observed")
    total = sum(found[f"grid-attention/{name}/blocks.0"] for name in four[:3])
    assert (total <= 1 + 1e-9).all()


@pytest.mark.parametrize(
    ("masses", "name"),
    [
        ((0.64, 0.1, 0.1), "row"),
        ((0.1, 0.64, 0.1), "column"),
        ((0.1, 0.1, 0.7), "self"),
        ((0.1, 0.19, 0.1), "unstructured"),
        ((0.1, 0.3, 0.1), "mixed"),
        ((0.6, 0.1, 0.1), "mixed"),
    ],
)
def test_heads_are_called_by_their_masses(masses, name):
    assert category(*masses) == name


def test_thresholds_can_be_other_ones():
    assert category(0.55, 0.1, 0.1, structured=0.5) == "row"
    assert category(0.15, 0.1, 0.1, unstructured=0.1) == "mixed"


def test_a_task_without_a_grid_is_refused():
    with pytest.raises(ValueError, match="task moving-window-sum has no grid of cells"):
        GridAttention().check(MovingWindowSum())
    with pytest.raises(ValueError, match="task matrix-completion has no grid of cells"):
        GridAttention().check(MatrixCompletion(sizes=(5, 7), rank=1))
    GridAttention().check(TASK)
