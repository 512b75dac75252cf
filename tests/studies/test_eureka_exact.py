"""Claims 11 to 17, which need no run: what they compute, and what would contradict them."""

import math

import numpy as np
import pytest
import torch

from saltus.models.normalisers import Softmax
from saltus.random import Draws
from saltus.studies.claim import Range
from saltus.studies.eureka import exact
from saltus.tasks.images import VARIANTS, TwoStepImage


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    for name, value in (("SEEDS", 2), ("SETS", 2), ("IMAGES", 1), ("DRAWN", 10_000)):
        monkeypatch.setattr(exact, name, value)
    exact.at_start.cache_clear()
    yield
    exact.at_start.cache_clear()


@pytest.mark.parametrize("measure", [exact.heat, exact.sampler], ids=lambda each: each.__name__)
def test_what_is_exact_is_reproduced(measure):
    assert {str(quantity.verdict) for quantity in measure({})} == {"reproduced"}


@pytest.mark.parametrize(
    "measure", [exact.identities, exact.jacobian], ids=lambda each: each.__name__
)
def test_what_every_seed_must_show_is_in_range_for_each(measure):
    for quantity in measure({}):
        assert quantity.within == 2, quantity


def test_a_schedule_of_another_shape_contradicts_claim_12(monkeypatch):
    monkeypatch.setattr(
        exact, "multipliers", lambda epochs: np.linspace(3.0, 0.125, epochs * exact.EPOCH)
    )
    assert "contradicted" in {str(quantity.verdict) for quantity in exact.heat({})}


def test_softmax_in_the_place_of_normsoftmax_breaks_the_identities(monkeypatch):
    monkeypatch.setattr(exact, "NormSoftmax", lambda statistic: Softmax())
    found = {quantity.name: quantity.within for quantity in exact.identities({})}
    assert found["std: scores have unit deviation"] == found["std: 4 u leaves the weights"] == 0
    assert found["var: scores have deviation 1 / √v"] == 0
    assert found["var: plain softmax from τ₀ on"] == 2


def test_an_untrained_vit_looks_evenly_and_less_so_with_every_remedy(monkeypatch):
    monkeypatch.setattr(exact, "SEEDS", 1)
    found = {name: exact.at_start(name)[0].mean() for name in exact.ENTROPIES}
    assert found["softmax"] > 0.99 > found["NormSoftmax-std"] > found["NormSoftmax-var"]
    assert found["HT, τ = 1/3"] < 0.99
    entropies, variances = exact.at_start("softmax")
    assert entropies.shape == variances.shape == (1, 7)
    # Small logits x: 1 - H / ln N is var(x) / (2 ln N) to leading order, x = u / 8.
    expected = variances / 64 / (2 * math.log(197))
    np.testing.assert_allclose(1 - entropies, expected, rtol=0.1)


def test_extremes_are_the_blocks_with_the_lowest_and_the_highest_mean():
    values = np.array([[0.3, 0.1, 0.9, 0.2], [0.3, 0.5, 0.7, 0.2]])
    low, high = exact._extremes("x", values, Range(0, 1))
    assert low.name == "x, lowest: block 4" and low.values == (0.2, 0.2)
    assert high.name == "x, highest: block 3" and high.values == (0.9, 0.7)


def test_cells_are_enlarged_each_by_itself():
    image = torch.zeros(1, 3, 16, 16)
    image[..., :8, 8:] = 0.75
    large = exact.enlarged(image)
    assert large.shape == (1, 3, 56, 56)
    torch.testing.assert_close(large[..., :28, 28:], torch.full((1, 3, 28, 28), 0.75))
    assert (large[..., 28:, :] == 0).all() and (large[..., :28] == 0).all()


def test_ideal_predictors_have_the_losses_of_their_levels():
    losses = exact.ideal_losses(0)
    assert losses["solves both"] == pytest.approx(TwoStepImage().levels()["floor"], abs=1e-6)
    # Whether two independent targets are of one class is all that differs from sample to sample.
    assert losses["reads both"] == pytest.approx(1.0246, abs=0.01)
    assert losses["reads both, plain"] == pytest.approx(0.6238, abs=0.015)
    assert losses["reads one"] == pytest.approx(1.7807, abs=0.05)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_samples_are_as_the_table_of_tasks_says(variant):
    task = TwoStepImage(variant=variant)
    batch = dict(task.sample(Draws(0, "test"), 500))
    assert not exact.off_the_table(task, batch).any()
    wrong = exact.off_the_table(task, batch | {"z": 1 - batch["z"]})
    assert wrong.all()
    wrong = exact.off_the_table(task, batch | {"targets": (batch["targets"] + 1) % 10})
    assert wrong.float().mean() > 0.7  # where one more is the other target's class it is not seen
    swapped = batch | {"roles": batch["roles"].roll(1, dims=-1)}
    assert exact.off_the_table(task, swapped).any()


def test_statistics_judge_the_worst_task():
    found = {quantity.name: quantity for quantity in exact.data({})}
    assert len(found) == 6
    for name, quantity in found.items():
        assert name.rsplit(": ", 1)[1] in VARIANTS
        assert str(quantity.verdict) != "contradicted", quantity


def test_colours_that_tell_z_are_found_and_so_is_a_cell_that_tells_y():
    """The task that gives z away by colour is no idle one; a control asks for one cell."""
    assert math.isnan(exact._statistics(TwoStepImage(variant="T5"), 0)["colour"])
    always = exact._statistics(TwoStepImage(control="always-top-right"), 0)
    assert always["cell"] == pytest.approx(1.0) and always["wrong"] > 0.3


def test_mutual_information_is_zero_apart_and_the_entropy_together():
    one = torch.arange(12) % 2
    assert exact.mutual_information(one, one) == pytest.approx(math.log(2))
    assert exact.mutual_information(one, torch.arange(12) // 2 % 3) == pytest.approx(0, abs=1e-12)
    joint = np.array([[3, 1], [2, 6]]) / 12
    expected = sum(
        p * math.log(p / (joint[i].sum() * joint[:, j].sum()))
        for (i, j), p in np.ndenumerate(joint)
    )
    pairs = [(0, 0)] * 3 + [(0, 1)] + [(1, 0)] * 2 + [(1, 1)] * 6
    first, second = torch.tensor(pairs).T
    assert exact.mutual_information(first, second) == pytest.approx(expected)


def test_what_is_read_off_is_tried_on_other_samples():
    shown = torch.arange(4000) % 4
    assert exact.read_off(shown, shown) == 1.0
    noise = torch.randint(0, 10, (4000,))
    many = torch.arange(4000)  # every sample shows something else: nothing carries over
    assert exact.read_off(many, noise) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("scale", ["quick", "paper"])
def test_claims_11_to_17_need_no_run_but_for_the_data_of_the_paper_scale(scale):
    arms = {claim.number: claim.arms for claim in exact.claims(scale)}
    expected = {number: () for number in range(11, 18)}
    assert arms == expected | ({15: ("softmax",)} if scale == "paper" else {})
