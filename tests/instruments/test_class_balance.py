"""Class balance and single losses, against plain loops over samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from saltus.instruments import Reading
from saltus.instruments.class_balance import ClassBalance, force, margin
from saltus.instruments.sample_losses import SampleLosses
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.word_cooccurrence import WordCooccurrence
from saltus.tasks.word_cooccurrence import margin as margin_of_outputs

NAMES = ("both", "first", "second", "neither")


def reading_of(margins: list[float], classes: list[int]) -> Reading:
    z = np.array(margins)
    return Reading(
        task=WordCooccurrence(),
        parameters={},
        batch={"classes": torch.tensor(classes)},
        losses=torch.from_numpy(np.logaddexp(0, -z)),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plain_loops_agree(words, dtype):
    reading = words(dtype=dtype).one(2)
    found = ClassBalance().read(reading)
    margins = margin_of_outputs(reading.outputs, reading.batch).tolist()
    classes = reading.batch["classes"].tolist()
    g = [1 / (1 + math.exp(z)) for z in margins]
    losses = [math.log1p(math.exp(-z)) for z in margins]
    expected = {
        "class-loss/all": sum(losses) / len(losses),
        "force/mean": sum(g) / len(g),
        "margin/min": min(margins),
        "margin/right": sum(z > 0 for z in margins) / len(margins),
    }
    for index, name in enumerate(NAMES):
        inside = [i for i, each in enumerate(classes) if each == index]
        assert len(inside) == (12 if index == 0 else 4)
        expected[f"class-loss/{name}"] = sum(losses[i] for i in inside) / len(inside)
        expected[f"force/{name}"] = sum(g[i] for i in inside)
        expected[f"spread/{name}"] = max(g[i] for i in inside) / min(g[i] for i in inside)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(
            value, rel=1e-4 if dtype.itemsize == 4 else 1e-12
        )


def test_forces_and_margins_are_exact_from_hopeless_to_certain():
    """z from -700 to 700: 1 - exp(-loss) would be 0 from z = 37 on."""
    z = np.concatenate([np.linspace(-700, 700, 57), np.linspace(-3, 3, 13), [1e-9, -1e-9, 0]])
    losses = torch.from_numpy(np.logaddexp(0, -z))
    np.testing.assert_allclose(force(losses), 1 / (1 + np.exp(z)), rtol=1e-13)
    np.testing.assert_allclose(margin(losses), z, rtol=1e-13, atol=2e-16)


def test_balanced_classes_have_spread_1_and_absent_ones_nothing():
    found = ClassBalance().read(reading_of([1.5, 1.5, -0.5, -0.5, -0.5], [0, 0, 2, 2, 2]))
    assert float(found["spread/both"]) == float(found["spread/second"]) == 1
    for name in ("first", "neither"):
        assert [float(found[f"{what}/{name}"]) for what in ("class-loss", "force", "spread")] == [
            0
        ] * 3
    assert float(found["margin/right"]) == pytest.approx(0.4)
    assert float(found["force/both"]) == pytest.approx(2 / (1 + math.exp(1.5)), rel=1e-15)


def test_spread_is_the_ratio_of_the_largest_and_the_smallest_force():
    """In the limit of large margins it is exp of their difference."""
    found = ClassBalance().read(reading_of([30.0, 32.0, 31.0], [1, 1, 1]))
    assert float(found["spread/first"]) == pytest.approx(math.exp(2), rel=1e-12)


def test_nothing_is_right_at_margin_0():
    found = ClassBalance().read(reading_of([0.0, 0.0], [0, 3]))
    assert float(found["margin/min"]) == pytest.approx(0, abs=1e-15)
    assert float(found["class-loss/all"]) == pytest.approx(WordCooccurrence().levels()["chance"])
    assert float(found["force/mean"]) == pytest.approx(0.5)


def test_tasks_without_classes_are_refused():
    with pytest.raises(ValueError, match="task moving-window-sum has no classes of samples"):
        ClassBalance().check(MovingWindowSum())


def test_single_losses_are_the_losses_and_determine_the_rest(words):
    reading = words().one(1)
    losses = SampleLosses().read(reading)["sample-losses"]
    assert losses.equal(reading.losses)
    expected = margin_of_outputs(reading.outputs, reading.batch)
    torch.testing.assert_close(margin(losses), expected, rtol=1e-12, atol=1e-14)


def test_both_read_the_training_batch():
    for instrument in (ClassBalance(), SampleLosses()):
        assert instrument.needs(WordCooccurrence()).training
