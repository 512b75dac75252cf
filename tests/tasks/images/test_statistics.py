"""Statistics of 50,000 samples of each variant (claim C15 of our spec) and of the controls."""

import pytest
import torch

from saltus.random import Draws
from saltus.tasks.images import VARIANTS, TwoStepImage

TOLERANCE = 0.01
TOP_RIGHT, BOTTOM_LEFT = (0, 1), (1, 0)


@pytest.fixture(scope="module", params=VARIANTS)
def drawn(request, many):
    return request.param, many(TwoStepImage(variant=request.param))


def test_every_variant_is_balanced_and_no_single_cell_tells_the_label(drawn):
    variant, batch = drawn
    y, z = batch["targets"], batch["z"]
    assert z.float().mean().item() == pytest.approx(0.5, abs=TOLERANCE)
    assert (y.bincount(minlength=10) / len(y) - 0.1).abs().max() < TOLERANCE
    for row in (0, 1):
        for column in (0, 1):
            seen = batch["cells"][:, row, column] * 16 + batch["colours"][:, row, column]
            assert best_guess(seen, y) <= 0.56
            # Blank cells are where T4's z is; elsewhere no cell alone knows anything of it.
            assert best_guess(seen, z) < 0.5 + 2 * TOLERANCE
    group = batch["colours"].flatten(1) @ torch.tensor([1000, 100, 10, 1])
    if variant == "T6":  # ten thousand groups are too many: the indicators' alone
        group = batch["colours"][:, 0, 0] * 10 + batch["colours"][:, 1, 1]
    # T5's z is a matter of colours, and T4's of which cells are blank, which has no colour.
    assert (mutual_information(group, z) > 0.6) == (variant in ("T4", "T5"))
    assert variant in ("T4", "T5") or mutual_information(group, z) < 0.001


def test_z_and_y_follow_from_what_the_cells_show(drawn):
    variant, batch = drawn
    for k in range(300):
        one = {name: value[k].tolist() for name, value in batch.items()}
        z, allowed = by_hand(variant, one["cells"], one["colours"], one["roles"])
        assert one["z"] == z
        assert one["targets"] in allowed
    roles = batch["roles"].flatten(1).sort(1).values.unique(dim=0).tolist()
    known = {"T4": [0, 0, 2, 2], "T6": [0, 1, 1, 2]}
    assert roles == [known.get(variant, [1, 1, 2, 2])]


def test_in_t3_the_digit_is_asked_for_where_z_is_1():
    """Which cell holds a digit is seen in the pixels alone."""
    task = TwoStepImage(variant="T3")
    batch = task.sample(Draws(0, "data"), 60)
    album = task.album(torch.device("cpu"), torch.float32)
    digits, glyphs = (
        flat(album.pixels[album.start[cell] : album.start[cell] + album.count[cell]])
        for cell in (1, 2)
    )
    for k, (row, column) in ((k, p) for k in range(60) for p in ((0, 0), (0, 1), (1, 0), (1, 1))):
        if batch["roles"][k, row, column] == 2:
            cell = batch["inputs"][k, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            seen = flat(cell.norm(dim=0)[None, None])
            is_digit = (digits @ seen.T).max() > (glyphs @ seen.T).max()
            if is_digit == bool(batch["z"][k]):
                assert batch["cells"][k, row, column] == batch["targets"][k]


@pytest.mark.parametrize(
    ("variant", "law", "p", "expected"),
    [
        ("T1", "released", 0.9, 0.95),
        ("T1", "released", 0.5, 0.5),  # a jump: 0.75 on either side
        ("T1", "released", 0.51, 0.755),
        ("T1", "corrected", 0.9, 0.9),
        ("T3", "corrected", 0.25, 0.25),
        ("T5", "corrected", 0.9, 0.9),
        ("T7", "corrected", 0.2, 0.2),
        ("T1", "corrected", 1.0, 1.0),
    ],
)
def test_imbalance_is_that_of_its_law(variant, law, p, expected, many):
    task = TwoStepImage(variant=variant, imbalance={"p": p, "law": law})
    batch = many(task, 20_000)
    assert batch["z"].float().mean().item() == pytest.approx(expected, abs=TOLERANCE)
    assert task.imbalance.agreement(task.layout) == pytest.approx(expected)
    for k in range(100):
        one = {name: value[k].tolist() for name, value in batch.items()}
        z, allowed = by_hand(variant, one["cells"], one["colours"], one["roles"])
        assert one["z"] == z
        assert one["targets"] in allowed
    free = many(TwoStepImage(variant=variant), 20_000)
    if variant != "T3":  # whose indicators move
        for name in ("cells", "colours"):
            second, before = batch[name][:, 1, 1], free[name][:, 1, 1]
            share = second.bincount(minlength=10) - before.bincount(minlength=10)
            assert share.abs().max() / 20_000 < 2 * TOLERANCE


def test_controls_ask_for_something_easier(many):
    always = many(TwoStepImage(control="always-top-right"), 5000)
    assert torch.equal(always["targets"], always["cells"][:, 0, 1])
    plain = many(TwoStepImage(), 5000)
    for name in ("z", "cells", "colours"):  # the images are the same
        assert torch.equal(always[name], plain[name])
    assert torch.equal(many(TwoStepImage(control="predict-z"), 5000)["targets"], plain["z"])
    assert torch.equal(many(TwoStepImage(control="oracle"), 5000)["targets"], plain["targets"])


def by_hand(variant, cells, colours, roles):
    """z and the labels that it leaves open, from one sample's description alone."""
    places = [(row, column) for row in (0, 1) for column in (0, 1)]
    shows = {at: cells[at[0]][at[1]] for at in places}
    colour = {at: colours[at[0]][at[1]] for at in places}
    indicators = [at for at in places if roles[at[0]][at[1]] == 1]
    targets = [at for at in places if roles[at[0]][at[1]] == 2]
    if variant == "T4":
        z = targets[0][1] == targets[1][1]
    else:
        a, b = indicators
        if variant == "T5":
            z = colour[a] == colour[b]
        elif variant == "T7":
            z = (shows[a] <= 2) == (shows[b] <= 2)
        else:
            z = shows[a] == shows[b]
    if variant == "T3":
        return int(z), {shows[at] for at in targets}
    if variant == "T6":
        return int(z), {shows[TOP_RIGHT] if z else colour[TOP_RIGHT]}
    if variant in ("T2", "T4"):
        return int(z), {shows[targets[0 if z else 1]]}
    return int(z), {shows[TOP_RIGHT if z else BOTTOM_LEFT]}


def best_guess(seen, labels):
    """The accuracy of each group's likeliest label, learnt on one half, tested on the other."""
    half = len(seen) // 2
    table = torch.zeros(int(seen.max()) + 1, int(labels.max()) + 1)
    table.index_put_((seen[:half], labels[:half]), torch.ones(half), accumulate=True)
    return (table.argmax(1)[seen[half:]] == labels[half:]).float().mean().item()


def mutual_information(group, z):
    """In nats, with Miller and Madow's correction of the empirical value, which is too high."""
    table = torch.zeros(int(group.max()) + 1, 2, dtype=torch.float64)
    table.index_put_((group, z), torch.ones(len(z), dtype=torch.float64), accumulate=True)
    joint = table / table.sum()
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    value = (torch.special.entr(apart).sum() - torch.special.entr(joint).sum()).item()
    return value - (len(group.unique()) - 1) / (2 * len(z))


def flat(images):
    rows = images.flatten(1)
    return rows / rows.norm(dim=1, keepdim=True)
