"""The learning rate of 2310.12956, section 6 of our spec: one value per epoch, one epoch late."""

from __future__ import annotations

from math import cos, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.training.schedules import Schedule
from tiny_experiments import tiny

EPOCH, EPOCHS = 117, 300


@pytest.mark.parametrize("peak", [5e-4, 1e-5, 1e-4])
def test_it_is_the_papers_rate_at_every_step(peak):
    least = 1e-6
    schedule = Schedule(shape="epoch-cosine", warmup=5 * EPOCH, final=least / peak, epoch=EPOCH)

    def s(t: int) -> float:
        if t < 5:
            return 1e-6 + t * (peak - 1e-6) / 5
        return least + 0.5 * (peak - least) * (1 + cos(pi * t / EPOCHS))

    for epoch in range(EPOCHS):
        expected = 1e-6 if epoch == 0 else s(epoch - 1)
        for step in (0, 1, EPOCH - 1):
            rate = peak * schedule.at(epoch * EPOCH + step, EPOCHS * EPOCH)
            assert rate == pytest.approx(expected, rel=1e-12)


def test_the_first_epochs_of_the_paper_by_number():
    schedule = Schedule(shape="epoch-cosine", warmup=5, final=1e-6 / 5e-4)
    rates = [5e-4 * schedule.at(epoch, 300) for epoch in range(8)]
    # Both of the first run at 1e-6, and after the warm-up the cosine has fallen for five epochs.
    expected = [1e-6, 1e-6, 1.008e-4, 2.006e-4, 3.004e-4, 4.002e-4, 4.99658069e-4, 4.99507669e-4]
    assert rates == pytest.approx(expected, rel=1e-8)


@given(st.integers(1, 40), st.integers(0, 60), st.floats(0, 1), st.integers(1, 200))
def test_it_stays_between_its_ends_and_moves_between_epochs_only(epoch, warmup, final, steps):
    schedule = Schedule(shape="epoch-cosine", warmup=warmup, final=final, epoch=epoch)
    values = [schedule.at(step, steps) for step in range(steps)]
    assert all(final - 1e-12 <= value <= 1 + 1e-12 for value in values)
    assert all(values[step] == values[step // epoch * epoch] for step in range(steps))
    rising = warmup // epoch
    assert values[: rising * epoch] == sorted(values[: rising * epoch])
    falling = values[(rising + 2) * epoch :]
    assert falling == sorted(falling, reverse=True)


def test_an_epoch_belongs_to_this_shape():
    with pytest.raises(SaltusError) as caught:
        given = {"kind": "adam", "learning_rate": 1e-3, "schedule": {"shape": "cosine", "epoch": 9}}
        tiny(optimizer=given)
    assert str(caught.value) == (
        "experiment: optimizer.schedule: epoch goes with epoch-cosine; cosine changes at every step"
    )
