"""Inner products of the word model, by loops in the paper's orientation and exact differences."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from saltus.errors import SaltusError
from saltus.instruments.inner_products import (
    InnerProducts,
    ScoreShift,
    TwoPhases,
    disorder,
    drive,
    in_eights,
)
from saltus.models.inner_products import KEY, NEURONS, QUERY, READOUT, VALUE
from saltus.tasks.moving_window_sum import MovingWindowSum
from saltus.tasks.word_cooccurrence import WordCooccurrence, margin

SIGNALS = range(3)


def papers(own) -> dict[str, float]:
    """A, G, M and B as the paper writes them: columns are tokens, all in loops."""
    query, key, value = (own[name].T for name in (QUERY, KEY, VALUE))
    neurons, signs = own[NEURONS], own[READOUT][0]
    pairs = [(a * w, b * v) for a, w in zip(signs, neurons, strict=True)
             for b, v in zip(signs, neurons, strict=True)]  # fmt: skip
    found = {"A": sum(float(x @ y) for x, y in pairs)}
    for i in SIGNALS:
        found[f"G/{i + 1}"] = sum(
            float(a * (w @ value[:, i])) for a, w in zip(signs, neurons, strict=True)
        )
        for j in SIGNALS:
            found[f"M/{i + 1}{j + 1}"] = float(key[:, i] @ query[:, j])
            if i <= j:
                found[f"B/{i + 1}{j + 1}"] = float(value[:, i] @ value[:, j])
    return found


def moved(reading, sign: float) -> dict[str, torch.Tensor]:
    """The parameters one unit of time along the velocity; the readout is fixed."""
    return {
        name: value if name == READOUT else value - sign * reading.gradients[name]
        for name, value in reading.parameters.items()
    }


@pytest.mark.parametrize("member", range(3))
def test_values_are_the_papers_and_velocities_their_derivatives(words, member):
    """All are quadratic in what moves, and central differences are exact for those."""
    reading = words().one(member)
    found = InnerProducts().read(reading)
    now, ahead, behind = (papers(moved(reading, sign)) for sign in (0.0, 1.0, -1.0))
    for name, value in now.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-12, abs=1e-14), name
        change = (ahead[name] - behind[name]) / 2
        assert float(found[f"d{name}"]) == pytest.approx(change, rel=1e-9, abs=1e-12), name
    assert found.keys() == {*now, *(f"d{name}" for name in now), "G/random", "c/norm"}


def test_the_loudest_random_token(words):
    reading = words().one()
    direction = reading.parameters[READOUT][0] @ reading.parameters[NEURONS]
    others = [abs(float(direction @ row)) for row in reading.parameters[VALUE][3:]]
    assert len(others) == 13
    assert float(InnerProducts().read(reading)["G/random"]) == pytest.approx(max(others))


def test_the_drive_is_the_papers_sum_over_samples(words):
    """c(mu) = (1/n) sum_i g_i y_i sum_l sum_{h: x_h = mu} p_lh (section 5.1 of our spec)."""
    for member in range(5):
        reading = words().one(member)
        margins = margin(reading.outputs, reading.batch)
        pattern = reading.sites["blocks.0.attention.pattern"][:, 0]
        c = torch.zeros(16, dtype=torch.float64)
        for i, sentence in enumerate(reading.batch["inputs"].tolist()):
            pull = reading.batch["targets"][i] / (1 + torch.exp(margins[i]))
            for h, token in enumerate(sentence):
                c[token] += pull * pattern[i, :, h].sum() / len(margins)
        torch.testing.assert_close(drive(reading.parameters, reading.gradients), c)
        assert float(InnerProducts().read(reading)["c/norm"]) == pytest.approx(float(c.norm()))


def test_score_shifts_by_loops(words):
    reading = words().one(2)
    found = ScoreShift().read(reading)

    def score(own, i, j):
        return float(own[KEY][i] @ own[QUERY][j])

    def moved(i, j):
        return score(reading.parameters, i, j) - score(reading.initial, i, j)

    def gram(own, i, j):
        return float(own[VALUE][i] @ own[VALUE][j])

    signals, others = range(3), range(3, 16)
    mixed = [(i, j) for i in signals for j in others] + [(j, i) for i in signals for j in others]
    expected = {
        "targets": (moved(0, 1) + moved(1, 0)) / 2,
        "signal-random": max(abs(moved(i, j)) for i, j in mixed),
        "random-random": max(abs(moved(i, j)) for i in others for j in others),
        "gram": max(
            abs(gram(reading.parameters, i, j) - gram(reading.initial, i, j))
            for i in signals
            for j in signals
        ),
    }
    assert found.keys() == {f"score-shift/{name}" for name in expected}
    for name, value in expected.items():
        assert float(found[f"score-shift/{name}"]) == pytest.approx(value, rel=1e-9), name


def test_two_phases_are_signed_distances_to_their_conditions(words):
    for member in range(5):
        reading = words().one(member)
        found = {name: float(value) for name, value in TwoPhases().events(reading).items()}
        now, ahead, behind = (papers(moved(reading, sign)) for sign in (0.0, 1.0, -1.0))
        speed = [(ahead[f"G/{i}"] - behind[f"G/{i}"]) / 2 for i in (1, 2, 3)]
        margins = margin(reading.outputs, reading.batch).tolist()
        g = [1 / (1 + math.exp(z)) for z in margins]
        s = [
            sum(x for x, c in zip(g, reading.batch["classes"].tolist(), strict=True) if c == each)
            for each in range(4)
        ]
        learnt = min(
            min(margins) - 0.1, now["G/1"] - 0.3, now["G/2"] - 0.3, -now["G/3"] - 0.3
        )  # fmt: skip
        wrong = max(s[3] - min(s[1:3]), max(s[1:3]) - s[0], s[0] - sum(s[1:]))
        assert found == pytest.approx(
            {
                "T05": -speed[2] - max(speed[:2]),
                "classified": min(margins),
                "T1": learnt,
                "disorder": min(learnt, wrong),
            },
            rel=1e-9,
        )


def forces(*sums: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and classes of two samples per class whose forces have these sums."""
    g = torch.tensor(sums, dtype=torch.float64).repeat_interleave(2) / 2
    return -torch.log1p(-g), torch.arange(4).repeat_interleave(2)


@pytest.mark.parametrize(
    ("sums", "value"),
    [
        ((0.7, 0.5, 0.5, 0.1), -0.2),  # 7 : 5 : 5, in order: S1 is 0.2 above the larger of the two
        ((0.7, 0.5, 0.5, 0.6), 0.1),  # S4 above S2 and S3
        ((0.4, 0.5, 0.45, 0.1), 0.1),  # S2 above S1
        ((0.4, 0.45, 0.5, 0.1), 0.1),  # and S3
        ((0.9, 0.3, 0.3, 0.2), 0.1),  # S1 above the sum of the others
        ((0.6, 0.6, 0.6, 0.6), 0.0),
    ],
)
def test_disorder_is_positive_where_the_order_of_forces_is_violated(sums, value):
    assert float(disorder(*forces(*sums))) == pytest.approx(value, abs=1e-14)


def test_lists_of_tokens_are_filled_up_to_eights():
    assert in_eights([4, 5, 6]) == [4, 5, 6, 4, 4, 4, 4, 4]
    assert in_eights(range(8)) == list(range(8))
    assert len(in_eights(range(9))) == 16


@pytest.mark.parametrize("instrument", [InnerProducts(), ScoreShift(), TwoPhases()], ids=repr)
def test_other_models_are_refused_in_one_line(instrument, one):
    reading = dataclasses.replace(one(), task=WordCooccurrence())
    with pytest.raises(SaltusError) as caught:
        instrument.events(reading) or instrument.read(reading)
    assert str(caught.value) == (
        "instruments: inner products need the model one-layer-attention"
    )  # fmt: skip


def test_tasks_without_four_classes_have_no_two_phases():
    with pytest.raises(ValueError, match="task moving-window-sum has not the four classes"):
        TwoPhases().check(MovingWindowSum())


def test_only_two_phases_watches_for_events():
    assert TwoPhases().has_events and not InnerProducts().has_events
