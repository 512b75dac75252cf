"""Addition: the digits, the oracle's keys and the levels."""

from collections import Counter
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.random import Draws
from saltus.tasks.addition import Addition


@given(digits=st.integers(1, 18), seed=st.integers(0, 99))
def test_answers_are_those_of_whole_numbers(digits, seed):
    task = Addition(digits=digits)
    for row in task.sequences(Draws(seed, "data"), batch=5).tolist():
        text = "".join("0123456789+="[token] for token in row)
        sum_of, _, reverse = text.partition("=")
        first, _, second = sum_of.partition("+")
        assert len(first) == len(second) == digits
        assert int(first) >= 1 and int(second) >= 1
        assert reverse[::-1] == str(int(first) + int(second)).zfill(digits + 1)


def test_the_papers_sizes_and_oracle_set():
    """12 ids, 15 tokens; rows counted from '=' on."""
    task = Addition()
    assert task.interface[:3] == (12, 14, 12)
    found = {tuple(pair) for pair in task.attended()[9:].nonzero().tolist()}
    expected = {(0, 3), (0, 8), (4, 0), (4, 5)}
    for k in range(1, 4):
        expected |= {(k, 3 - k), (k, 4 - k), (k, 8 - k), (k, 9 - k)}
    assert found == expected
    assert not task.attended()[:9].any()
    assert task.state_groups() == ((9, 10, 11, 12),)
    assert task.token_values()[:10].tolist() == list(range(10))
    assert task.token_values()[10:].isnan().all()


@pytest.mark.parametrize("digits", [1, 2])
def test_the_oracle_set_and_the_answer_before_determine_every_digit(digits, ambiguous):
    found = ambiguous(Addition(digits=digits), samples=20_000)
    # Nothing is carried into the first place, so there one digit and the answer tell the other.
    assert found == {(1, digits - 1), (1, 2 * digits)}


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_levels_by_counting_all_pairs(digits):
    task, largest = Addition(digits=digits), 10**digits - 1
    floor = 0.0
    leading = Counter(str(a).zfill(digits)[0] for a in range(1, largest + 1))
    for count in leading.values():
        # The first summand where its leading digit is known, then the second.
        floor += count / largest * log(count)
    floor += log(largest)
    levels, positions = task.levels(), 3 * digits + 2
    assert levels["floor"] == pytest.approx(floor / positions)
    places = [Counter() for _ in range(digits + 1)]
    for total in range(2, 2 * largest + 1):
        ways = min(total - 1, largest) - max(1, total - largest) + 1
        for k, place in enumerate(places):
            place[total // 10**k % 10] += ways
    start = floor + sum(
        -n / largest**2 * log(n / largest**2) for place in places for n in place.values() if n
    )
    close = 2e-4 if digits == 1 else 1e-7
    assert levels["start"] == pytest.approx(start / positions, abs=close)


def test_the_papers_levels():
    assert Addition().levels()["floor"] == pytest.approx((2 * log(9999) - log(10)) / 14, abs=1e-5)


def test_too_many_digits_are_refused():
    task = {"kind": "addition", "digits": 19}
    with pytest.raises(SaltusError, match=r"task\.digits: 19 is not allowed.*less than or equal"):
        Experiment.of({"task": task, "model": "decoder", "steps": 1, "batch": 1})
