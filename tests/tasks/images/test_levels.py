"""Levels (section 2 and claim C14 of our spec): closed forms, and ideal predictors' losses."""

from math import log

import pytest
import torch
import torch.nn.functional as F

from saltus.tasks.images import VARIANTS, TwoStepImage


def smoothed(chances, smoothing):
    return (1 - smoothing) * chances + smoothing / chances.shape[-1]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("smoothing", "plateau", "one_target", "floor"),
    [(0.1, 1.0246, 1.7807, 0.5003), (0.0, 0.6238, 1.6769, 0.0)],
)
def test_the_levels_of_section_2(variant, smoothing, plateau, one_target, floor):
    levels = TwoStepImage(variant=variant, label_smoothing=smoothing).levels()
    assert levels["plateau"] == pytest.approx(plateau, abs=1e-4)
    assert levels["one-target"] == pytest.approx(one_target, abs=1e-4)
    assert levels["floor"] == pytest.approx(floor, abs=1e-4)
    assert levels["uniform"] == pytest.approx(log(10))


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_plateau_of_any_imbalance(p):
    """(1 - 1/K) H(P) without smoothing."""
    entropy = -sum(q * log(q) for q in (p, 1 - p) if q)
    levels = TwoStepImage(label_smoothing=0, imbalance={"p": p}).levels()
    assert levels["plateau"] == pytest.approx(0.9 * entropy, abs=1e-12)


@pytest.mark.parametrize("p", [None, 0.8])
def test_ideal_predictors_reach_them_through_the_loss(p, many):
    task = TwoStepImage(imbalance=None if p is None else {"p": p})
    batch, levels = many(task), task.levels()
    upper, lower = (
        F.one_hot(batch["cells"][:, row, column], 10).double() for row, column in ((0, 1), (1, 0))
    )
    p = 0.5 if p is None else p
    beliefs = {
        "floor": F.one_hot(batch["targets"], 10).double(),
        "plateau": p * upper + (1 - p) * lower,
        "one-target": p * upper + (1 - p) / 10,
        "uniform": torch.full_like(upper, 0.1),
    }
    accuracies = {"floor": 1, "plateau": 0.1 + 0.9 * p, "one-target": 0.1 + 0.9 * p}
    for name, belief in beliefs.items():
        outputs = smoothed(belief, 0.1).log().unsqueeze(-2)
        assert task.loss(outputs, batch).mean().item() == pytest.approx(levels[name], abs=0.01)
        if name in accuracies and (p != 0.5 or name != "plateau"):
            right = task.metrics(outputs, batch)["accuracy"].item()
            assert right == pytest.approx(accuracies[name], abs=0.01)


def test_nothing_lies_between_where_z_does_not_matter():
    assert TwoStepImage(control="always-top-right").levels().keys() == {"floor", "uniform"}
    levels = TwoStepImage(control="predict-z", label_smoothing=0).levels()
    assert levels == {"floor": 0.0, "uniform": pytest.approx(log(2))}
    assert TwoStepImage(control="oracle").levels() == TwoStepImage().levels()
