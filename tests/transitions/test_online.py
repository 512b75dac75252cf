"""The live detector: what it says of known curves, and that it owes nothing to its neighbours."""

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.transitions.history import BLOCKS, History
from saltus.transitions.online import Watch

AT = np.arange(1000)


def noise(seed, scale=0.02):
    return scale * np.random.default_rng(seed).normal(size=len(AT))


def logistic(centre, width):
    return 1 / (1 + np.exp(np.clip((AT - centre) * 2 * np.log(9) / width, -60, 60)))


def watch(*series, steps=AT, changes=(), **settings):
    """Everything that is said of some series that are watched together."""
    watch, said = Watch(len(series), **settings), []
    for step, values in zip(steps, np.stack(series, axis=1), strict=True):
        said += watch.update(float(step), values, changed=int(step) in changes)
    return said


def kinds(said, member=0):
    return [each.kind for each in said if each.member == member]


@pytest.mark.parametrize("width", [1, 10, 60, 150])
def test_a_leap_is_told_in_three_events(width):
    said = watch(1 + logistic(600, width) + noise(0))
    assert kinds(said)[:3] == ["plateau", "leap begun", "leap ended"]
    plateau, begun, ended = said[:3]
    assert plateau.step <= 60 and plateau.since < plateau.step
    onset, late = 600 - width / 2, 600 + width / 2
    # It is said within the leap, or within a few points of a sharp one.
    assert onset - width <= begun.step <= late + 12
    assert begun.since <= begun.step and begun.since == pytest.approx(onset, abs=12 + 0.6 * width)
    assert late - 0.3 * width <= ended.step <= late + 2.5 * width + 30


def test_two_leaps_and_the_plateau_between_them():
    said = watch(1 + logistic(300, 20) + logistic(700, 20) + noise(1))
    expected = ["plateau", "leap begun", "leap ended"] * 2 + ["plateau"]
    assert kinds(said) == expected


NOTHING = {
    "noise": np.ones(1000),
    "ramp": 2 - AT / 1000,
    "exponential": 1 + np.exp(-AT / 100),
    "power law": (1 + AT / 10) ** -0.5,
    "spikes up": 1 + (AT % 100 == 50) * 3.0,
    "spikes down": 1 - (AT % 100 == 50) * 0.8,
    "a rise": 2 - logistic(500, 30),
}


@pytest.mark.parametrize("scale", [0.005, 0.05])
@pytest.mark.parametrize("kind", NOTHING)
def test_what_is_no_leap(kind, scale):
    said = watch(*(NOTHING[kind] + noise(seed, scale) for seed in range(6)))
    assert "leap begun" not in {each.kind for each in said}


def test_a_spike_longer_than_the_patience_recovers():
    spike = 2 - ((AT >= 500) & (AT < 510)) + noise(2)
    assert "recovered" in kinds(watch(spike))
    assert kinds(watch(spike, patience=30)) == ["plateau"]


def test_a_cut_of_the_learning_rate_that_is_told_is_no_leap():
    cut = 2 - np.where(AT >= 500, 1 - np.exp(-(AT - 500) / 10), 0) + noise(3)
    assert "leap begun" in kinds(watch(cut))
    assert "leap begun" not in kinds(watch(cut, changes={500}))


def test_a_rise_is_a_fall_upside_down():
    series = 1 + logistic(500, 40) + noise(4)
    assert watch(series) == watch(-series, direction="up")
    assert "leap begun" not in kinds(watch(series, direction="up"))


@pytest.mark.parametrize("scale", [1e-6, 1e5])
def test_the_unit_does_not_matter(scale):
    series = 1 + logistic(500, 40) + noise(5)
    assert watch(series) == watch(scale * series)


def test_steps_may_be_far_apart():
    series = 1 + logistic(500, 40) + noise(5)
    plain, wide = watch(series), watch(series, steps=20 * AT)
    assert [each.kind for each in plain] == [each.kind for each in wide]
    assert [20 * each.step for each in plain] == [each.step for each in wide]
    assert [20 * each.since for each in plain] == pytest.approx([each.since for each in wide])


def test_members_are_independent_of_one_another():
    series = [1 + logistic(300 + 60 * k, 10 + 10 * k) + noise(k, 0.01 * (k + 1)) for k in range(6)]
    series[3][100:140] = np.nan  # one diverges for a while, one for good
    series[5][500:] = np.inf
    together = watch(*series)
    for member, alone in enumerate(series):
        mine = [(e.step, e.kind, e.since) for e in together if e.member == member]
        assert mine == [(e.step, e.kind, e.since) for e in watch(alone)]
    assert "leap begun" in kinds(together, 3) and kinds(together, 5)[-1] != "leap ended"


@pytest.mark.parametrize("at", [3, 40, 301, 340, 700])
def test_a_restored_watch_goes_on_bit_for_bit(at):
    series = np.stack([1 + logistic(300, 60) + noise(k) for k in range(3)], axis=1)
    first, whole = Watch(3), []
    for step in range(1000):
        if step == at:
            state, begun = first.state(), len(whole)
        whole += first.update(float(step), series[step])
    second = Watch(3)
    second.restore(state)
    rest = [event for step in range(at, 1000) for event in second.update(float(step), series[step])]
    assert rest == whole[begun:]
    assert all(np.array_equal(value, second.state()[name], equal_nan=True)
               for name, value in first.state().items())  # fmt: skip
    with pytest.raises(SaltusError, match="watch: a state of 3 members does not fit 2"):
        Watch(2).restore(state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Watch(0), "members: 0 is not allowed: 1 or more"),
        (lambda: Watch(2, patience=0), "patience: 0 is not allowed: 1 or more"),
        (lambda: Watch(2).update(0, np.ones(3)), "watch: 3 values do not fit 2 members"),
    ],
    ids=["members", "patience", "values"],
)
def test_what_does_not_fit_gets_one_line(make, message):
    with pytest.raises(SaltusError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize("points", [1, 63, 64, 65, 200, 1000])
def test_a_history_is_the_means_of_equal_blocks(points):
    values = np.random.default_rng(0).normal(size=points)
    history = History(1)
    for value in values:
        history.add(np.array([value]), np.array([True]))
    size, filled = int(history.size[0]), int(history.filled[0])
    assert filled < BLOCKS and size * filled + int(history.count[0]) == points
    blocks = values[: size * filled].reshape(filled, size).mean(axis=1)
    assert history.means[0, :filled] == pytest.approx(blocks, abs=1e-12)


def test_the_line_is_the_one_of_least_squares():
    values = np.random.default_rng(1).normal(size=40) + 0.3 * np.arange(40)
    history = History(1)
    for value in values:
        history.add(np.array([value]), np.array([True]))
    (line,), _ = history.line(np.array([5]), np.array([35.0]), np.array([0]))[0].T, None
    at = np.arange(5, 35) + 0.5
    slope, offset = np.polyfit(at, values[5:35], 1)
    rest = values[5:35] - slope * at - offset
    expected = [at.mean(), values[5:35].mean(), slope, np.sqrt((rest**2).sum() / 28)]
    assert line == pytest.approx(expected, rel=1e-9)
