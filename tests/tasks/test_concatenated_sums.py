"""Concatenated moving-window sums: the answers, the segments and the levels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.random import Draws
from saltus.tasks.concatenated_sums import ConcatenatedSums, Segment
from saltus.tasks.moving_window_sum import MovingWindowSum

SEGMENTS = st.integers(1, 4).flatmap(
    lambda window: st.integers(window, 10).flatmap(
        lambda first: st.integers(first, 10).map(
            lambda last: Segment(window=window, first=first, last=last)
        )
    )
)


@given(segments=st.lists(SEGMENTS, min_size=1, max_size=4), seed=st.integers(0, 99))
def test_answers_are_those_of_a_plain_loop(segments, seed):
    task = ConcatenatedSums(length=10, alphabet=8, modulus=9, segments=tuple(segments))
    for row in task.sequences(Draws(seed, "data"), batch=3).tolist():
        expected = []
        for segment in segments:
            for end in range(segment.first, segment.last + 1):
                total = sum(row[place - 1] for place in range(end - segment.window + 1, end + 1))
                expected.append(total % 9)
        assert row[10] == task.separator == 9
        assert row[11:] == expected


def test_the_papers_default():
    """18 ids; 13 answers: x_1..x_4, 2-sums that end at x_6..x_10, 3-sums at x_13..x_16."""
    task = ConcatenatedSums()
    assert task.vocabulary == 18 and task.answer_length == 13
    row = task.sequences(Draws(0, "data"), 1)[0].tolist()
    x = [None, *row[:16]]
    expected = x[1:5]
    expected += [(x[i - 1] + x[i]) % 17 for i in range(6, 11)]
    expected += [(x[i - 2] + x[i - 1] + x[i]) % 17 for i in range(13, 17)]
    assert row[17:] == expected
    assert task.attended() is None


def test_each_segment_is_a_group_of_states():
    assert ConcatenatedSums().state_groups() == (
        (16, 17, 18, 19),
        (20, 21, 22, 23, 24),
        (25, 26, 27, 28),
    )


def test_copies_and_all_2_sums_are_a_moving_window_sum():
    plain = MovingWindowSum(length=6)
    segments = (Segment(window=1, first=1, last=1), Segment(window=2, first=2, last=6))
    task = ConcatenatedSums(length=6, segments=segments)
    draws = [Draws([3, 4], "data") for _ in range(2)]
    assert task.sequences(draws[0], 5).equal(plain.sequences(draws[1], 5))
    assert task.levels() == pytest.approx(plain.levels())


def test_levels_are_the_entropies_of_samples(place_entropies):
    """With inputs 1 .. modulus - 1 the sums are uniform but for some 1e-3 nats."""
    task = ConcatenatedSums(length=16, alphabet=10, modulus=11)
    entropies = place_entropies(task)
    levels = task.levels()
    prompt, copies, sums = sum(entropies[:16]), sum(entropies[16:20]), sum(entropies[20:])
    assert levels["floor"] == pytest.approx(prompt / 29, abs=1e-3)
    assert levels["plateau"] == pytest.approx((prompt + sums) / 29, abs=2e-3)
    assert levels["start"] == pytest.approx((prompt + sums + copies) / 29, abs=2e-3)


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ({"window": 3, "first": 2, "last": 5}, "first 2 must be at least window 3"),
        ({"window": 1, "first": 5, "last": 4}, "last 4 must be at least first 5"),
        (
            {"window": 1, "first": 5, "last": 17},
            r"task\.segments\.1\.last: 17 must be at most length 16",
        ),
    ],
    ids=["window", "order", "length"],
)
def test_a_segment_that_does_not_fit_is_refused(segment, message):
    fitting = {"window": 1, "first": 1, "last": 1}
    task = {"kind": "concat-moving-window-sum", "segments": [fitting, segment]}
    with pytest.raises(SaltusError, match=message) as caught:
        Experiment.of({"task": task, "model": "decoder", "steps": 1, "batch": 1})
    assert "segments.1" in str(caught.value) and "\n" not in str(caught.value)
