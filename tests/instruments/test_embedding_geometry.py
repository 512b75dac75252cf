"""Embedding geometry: tables built by hand, brute force, and members that do not mix."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.instruments import Instrument, Reading
from saltus.instruments.embedding_geometry import (
    EmbeddingGeometry,
    grid_cosines,
    mirrored,
    position_geometry,
    token_geometry,
    tokens_of,
)
from saltus.tasks.matrix_completion import MatrixCompletion
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.word_cooccurrence import WordCooccurrence
from tiny_checkpoints import MATRICES, alone, found, same_bits, trained

TASK = MatrixCompletion(rows=3, columns=4, rank=1)
VALUES = torch.linspace(-1.5, 1.5, 301, dtype=torch.float64)


def directions(count, width=16):
    return torch.linalg.qr(torch.randn(width, width, dtype=torch.float64)).Q[:count]


def signed_and_sized(noise=0.0, values=VALUES):
    """Rows sign(v) a + 1.5 |v| b, a and b of length 1 and at right angles."""
    a, b = directions(2)
    rows = values.sign().unsqueeze(1) * a + 1.5 * values.abs().unsqueeze(1) * b
    return rows + noise * torch.randn(rows.shape, dtype=torch.float64)


# ------------------------------------------------------------------------------------- tokens


def test_the_paper_looks_at_301_tokens_by_rising_value():
    chosen = tokens_of(MatrixCompletion())
    assert chosen.tolist() == list(range(851, 1152))
    values = MatrixCompletion().token_values()[chosen]
    torch.testing.assert_close(values.double(), VALUES, atol=1e-6, rtol=0)
    assert len(tokens_of(MatrixCompletion(), limit=1e9)) == 2001  # all but the mask
    assert tokens_of(MovingWindowSum(length=4)).tolist() == list(range(17))  # no separator
    assert tokens_of(MovingWindowSum(length=4), limit=3).tolist() == [0, 1, 2, 3]
    assert tokens_of(WordCooccurrence(length=4, vocabulary=16)).tolist() == list(range(16))


def test_one_axis_for_the_sign_and_one_for_the_magnitude_are_found():
    found = token_geometry(signed_and_sized(), VALUES)
    assert found["sign-magnitude"] > 0.999
    sign = int(found["sign"].argmax())
    assert found["sign"][sign] > 0.999 and found["magnitude"][1 - sign] > 0.999
    assert found["sign"][1 - sign] < 0.02 and found["magnitude"][sign] < 0.02  # 0 has no sign
    assert found["value"][sign].item() == pytest.approx(np.sqrt(3) / 2, abs=0.01)
    assert found["explained"].sum().item() == pytest.approx(1)
    assert found["symmetry"].item() == pytest.approx(1)
    # |e(v)|^2 = sign(v)^2 + 2.25 v^2
    torch.testing.assert_close(found["norms"].square(), VALUES.sign().square() + 2.25 * VALUES**2)


def test_a_number_line_is_neither_sign_nor_magnitude_and_noise_is_nothing():
    line = token_geometry(VALUES.unsqueeze(1) * directions(1), VALUES)
    assert line["value"][0] > 0.999999 and line["sign-magnitude"] == 0
    noise = token_geometry(torch.randn(301, 64, dtype=torch.float64), VALUES)
    assert noise["sign-magnitude"] < 0.3 and abs(noise["symmetry"]) < 0.3


def test_norms_that_grow_with_the_value_are_not_symmetric():
    rows = (2 + VALUES).unsqueeze(1) * directions(1)
    assert token_geometry(rows, VALUES)["symmetry"].item() == pytest.approx(-1)


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=9, unique=True))
def test_every_positive_value_meets_its_own_negative(values):
    positive, negative = mirrored(torch.tensor(sorted(values), dtype=torch.float64) / 10)
    pairs = {
        (sorted(values)[p], sorted(values)[n]) for p, n in zip(positive, negative, strict=True)
    }
    assert pairs == {(v, -v) for v in values if v > 0 and -v in values}


def test_films_do_not_flip_when_the_rows_turn():
    """The same geometry in another basis, and with a little noise, has the same coordinates."""
    rows = signed_and_sized(noise=0.01)
    turned = rows @ directions(16) + 0.3
    nearby = rows + 0.001 * torch.randn(rows.shape, dtype=torch.float64)
    first = token_geometry(rows, VALUES)["coordinates"]
    torch.testing.assert_close(token_geometry(turned, VALUES)["coordinates"], first)
    second = token_geometry(nearby, VALUES)["coordinates"]
    assert (second - first).abs().max() < 0.02


def reading(tokens, positions, donor=None, task=TASK):
    return Reading(
        task=task,
        parameters={"token.weight": tokens, "position.weight": positions},
        donor={} if donor is None else {"token.weight": donor},
    )


def random_tables(*members, width=5):
    vocabulary = TASK.interface.vocabulary
    return torch.randn(*members, vocabulary, width), torch.randn(*members, 12, width)


def test_progress_lies_along_the_donors_directions_without_centring():
    tokens, positions = random_tables()
    part = EmbeddingGeometry(progress=True)
    assert part.needs(TASK).donor and not EmbeddingGeometry().needs(TASK).donor
    own = part.read(reading(tokens, positions, donor=tokens))
    progress = own["embedding-geometry/token/progress"]
    centred = progress - progress.mean(0)
    torch.testing.assert_close(
        centred, own["embedding-geometry/token/coordinates"], rtol=1e-4, atol=1e-5
    )
    zero = part.read(reading(0 * tokens, positions, donor=tokens))
    assert zero["embedding-geometry/token/progress"].eq(0).all()
    twice = part.read(reading(2 * tokens, positions, donor=tokens))
    torch.testing.assert_close(twice["embedding-geometry/token/progress"], 2 * progress)


# ---------------------------------------------------------------------------------- positions


def by_hand(rows, grid):
    """Every pair of cells, one after the other."""
    rows = rows - rows.mean(0)
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300)
    kinds: dict[str, list[float]] = {}
    for i in range(len(rows)):
        for j in range(len(rows)):
            if i == j:
                continue
            row, column = i // grid[1] == j // grid[1], i % grid[1] == j % grid[1]
            cosine = float(rows[i] @ rows[j])
            kinds.setdefault("same-column" if column else "other-column", []).append(cosine)
            kinds.setdefault("same-row" if row else "other-row", []).append(cosine)
            if not row and not column:
                kinds.setdefault("neither", []).append(cosine)
    return {name: np.mean(values) for name, values in kinds.items()}


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_mean_cosines_are_those_of_all_pairs_one_by_one(high, wide, width, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(high * wide, width, generator=generator, dtype=torch.float64)
    expected = by_hand(rows, (high, wide))
    results = grid_cosines(rows, (high, wide))
    kinds = ("same-column", "same-row", "other-column", "other-row", "neither")
    assert {name for name in results if name in kinds} == expected.keys()
    for name, value in expected.items():
        assert results[name].item() == pytest.approx(value, abs=1e-9)
    if high > 1 and wide > 1:
        columns = expected["same-column"] - expected["other-column"]
        assert results["columns"].item() == pytest.approx(columns, abs=1e-9)
        rows_over = expected["same-row"] - expected["neither"]
        assert results["rows-over-neither"].item() == pytest.approx(rows_over, abs=1e-9)


def test_positions_that_know_their_column_alone():
    """One of C unit vectors per column: centred, they stand at cosine -1 / (C - 1)."""
    rows = torch.eye(5, dtype=torch.float64).repeat(3, 1) + 2
    found = position_geometry(rows, (3, 5))
    assert found["same-column"].item() == pytest.approx(1)
    assert found["other-column"].item() == pytest.approx(-1 / 4)
    assert found["columns"].item() == pytest.approx(5 / 4)
    assert found["columns-over-neither"].item() == pytest.approx(5 / 4)
    assert found["rows"].item() < 0
    turned = position_geometry(torch.eye(3, dtype=torch.float64).repeat_interleave(5, 0), (3, 5))
    assert turned["rows"].item() == pytest.approx(3 / 2)


def test_equal_positions_have_cosine_zero():
    found = position_geometry(torch.ones(6, 3, dtype=torch.float64), (2, 3))
    assert all(value.isfinite().all() for value in found.values()) and found["columns"] == 0


def test_rows_beyond_the_task_do_not_count():
    tokens, positions = random_tables()
    longer = torch.cat([positions, torch.full((9, 5), torch.nan)])
    part = EmbeddingGeometry()
    assert same_bits(part.read(reading(tokens, longer)), part.read(reading(tokens, positions)))


# ------------------------------------------------------------------------------------ members


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [5, 16])
def test_a_member_is_the_same_to_the_last_bit_in_any_company(dtype, width):
    tokens, positions = (each.to(dtype) for each in random_tables(5, width=width))
    donor = random_tables(5, width=width)[0].to(dtype)
    part = EmbeddingGeometry(progress=True)
    together = part.read(reading(tokens, positions, donor))
    for k in range(5):
        single = part.read(reading(tokens[k], positions[k], donor[k]))
        assert same_bits(single, {name: value[k] for name, value in together.items()})
        pair = part.read(reading(tokens[[k, 0]], positions[[k, 0]], donor[[k, 0]]))
        assert same_bits(single, {name: value[0] for name, value in pair.items()})


def test_a_member_that_diverged_gives_nan_and_leaves_the_others_alone():
    tokens, positions = random_tables(3)
    before = EmbeddingGeometry().read(reading(tokens, positions))
    tokens[1, 1000, 2], positions[1, 0, 0] = torch.nan, torch.inf
    after = EmbeddingGeometry().read(reading(tokens, positions))
    for name, value in after.items():
        assert value[1].isnan().all() and value[[0, 2]].equal(before[name][[0, 2]])


def test_members_of_an_ensemble_are_read_as_single_modules_are():
    ours = trained(["embedding-geometry"], where=MATRICES)
    together = found(ours)
    for row in range(3):
        one = alone(EmbeddingGeometry(), ours, row)
        assert same_bits(one, {name: value[row] for name, value in together.items()})


def test_what_a_task_does_not_know_is_left_out():
    digits = found(trained(["embedding-geometry"]))
    names = {name.removeprefix("embedding-geometry/token/") for name in digits if "token" in name}
    assert names == {"norms", "coordinates", "explained", "value"}  # no token is negative
    assert not [name for name in digits if "column" in name]
    assert digits["embedding-geometry/token/norms"].shape == (3, 7)
    rows = torch.randn(9, 4, dtype=torch.float64)
    assert token_geometry(rows, None).keys() == {"norms", "coordinates", "explained"}
    part = EmbeddingGeometry(positions=None)
    assert not [name for name in part.read(reading(*random_tables())) if "position" in name]


# ------------------------------------------------------------------------------------- input


def test_what_cannot_be_read_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^limit: 0.001 leaves 1 tokens of matrix-completion"):
        EmbeddingGeometry(limit=0.001).check(MatrixCompletion())
    with pytest.raises(SaltusError, match=r"^embedding-geometry.tokens: the model has no param"):
        EmbeddingGeometry(tokens="wte").read(reading(*random_tables()))
    with pytest.raises(SaltusError, match=r"^embedding-geometry.positions: the model has no p"):
        EmbeddingGeometry(positions="wpe").read(reading(*random_tables()))
    with pytest.raises(ValueError, match=r"^limit: -1 is not allowed"):
        Instrument.parse({"kind": "embedding-geometry", "limit": -1})


def test_it_is_data():
    part = EmbeddingGeometry(limit=0.5, progress=True, positions=None)
    assert Instrument.parse(part.model_dump()) == part
