"""One verdict rule for every claim: inside, outside, across, too few, not run."""

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.runs import Run
from saltus.studies import (
    Claim,
    Kind,
    Range,
    Verdict,
    all_studies,
    amount,
    every,
    exact,
    find_study,
    holds,
    median,
)
from saltus.studies.claim import FEWEST_FOR_MEDIAN, FEWEST_FOR_SHARE, worst
from saltus.transitions import Interval, share_interval

finite = st.floats(-1e6, 1e6)
any_number = st.floats(allow_nan=True, allow_infinity=True)

REPRODUCED, CONTRADICTED = Verdict.REPRODUCED, Verdict.CONTRADICTED
RUN = Run.__new__(Run)  # any run: what is measured on it is made up
INCONCLUSIVE, NOT_RUN = Verdict.INCONCLUSIVE, Verdict.NOT_RUN


@pytest.mark.parametrize(
    ("low", "high", "count", "verdict"),
    [
        (1.2, 1.8, 8, REPRODUCED),
        (1.0, 2.0, 8, REPRODUCED),  # borders count as inside
        (0.5, 0.9, 8, CONTRADICTED),
        (2.1, 2.9, 8, CONTRADICTED),
        (0.9, 1.5, 8, INCONCLUSIVE),
        (1.5, 2.1, 8, INCONCLUSIVE),
        (0.0, 9.0, 8, INCONCLUSIVE),
        (0.5, 1.0, 8, INCONCLUSIVE),  # touches the border
        (1.2, 1.8, 1, INCONCLUSIVE),  # one seed is not a result
        (0.5, 0.9, 1, INCONCLUSIVE),
        (-inf, inf, 8, INCONCLUSIVE),
    ],
)
def test_an_interval_is_judged_by_where_it_lies(low, high, count, verdict):
    assert Range(1.0, 2.0).judge(Interval(low, low, high, count)) is verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.4, 1.5, 1.6], REPRODUCED),
        ([5.0, 5.1, 5.2], CONTRADICTED),
        ([0.9, 1.5, 2.1], INCONCLUSIVE),
        ([1.5], INCONCLUSIVE),
        ([], INCONCLUSIVE),
        ([1.4, 1.5, 1.6, nan], INCONCLUSIVE),  # a lost seed cannot be averaged away
        ([1.4, 1.5, 1.6, inf], INCONCLUSIVE),
        ([5.0, 5.1, 5.2, nan], CONTRADICTED),
        ([nan, nan, nan], INCONCLUSIVE),
    ],
    ids=str,
)
def test_a_number_per_seed_is_judged_by_its_mean_over_seeds(values, verdict):
    found = amount("x", values, Range(1.0, 2.0))
    assert found.verdict is verdict
    assert found.seeds == len(values)
    assert found.interval.count == sum(np.isfinite(values))
    assert amount("x", np.array(values), Range(1.0, 2.0)).verdict is verdict


@pytest.mark.parametrize(
    ("yes", "count", "verdict"),
    [(8, 8, REPRODUCED), (7, 8, REPRODUCED), (4, 4, REPRODUCED), (3, 3, INCONCLUSIVE),
     (6, 8, INCONCLUSIVE), (4, 8, INCONCLUSIVE), (1, 8, CONTRADICTED), (0, 8, CONTRADICTED),
     (1, 1, INCONCLUSIVE), (0, 0, INCONCLUSIVE)],
)  # fmt: skip
def test_a_yes_or_no_per_seed_is_judged_by_the_share_of_yes(yes, count, verdict):
    """Wilson's interval of 7 of 8 starts at 0.529, of 6 of 8 at 0.409."""
    flags = [True] * yes + [False] * (count - yes)
    assert holds("x", flags).verdict is verdict


@pytest.mark.parametrize(
    ("value", "accepted", "verdict"),
    [
        (1.5, Range(1.0, 2.0), REPRODUCED),
        (2.0, Range(1.0, 2.0), REPRODUCED),
        (2.0000001, Range(1.0, 2.0), CONTRADICTED),
        (nan, Range(1.0, 2.0), INCONCLUSIVE),
        (inf, Range(1.0, 2.0), CONTRADICTED),
        (inf, Range(low=1.0), INCONCLUSIVE),  # diverged, though not outside
        (0.0, Range(low=0.0, open=True), CONTRADICTED),
        (np.float32(1.5), Range(1.0, 2.0), REPRODUCED),
    ],
)
def test_an_exact_number_is_inside_or_not(value, accepted, verdict):
    found = exact("x", value, accepted)
    assert (found.verdict, found.kind) == (verdict, Kind.EXACT)
    assert found.interval is None and found.seeds == found.with_value == 0
    assert found.estimate == value or (np.isnan(value) and np.isnan(found.estimate))
    assert np.isnan([found.low, found.high]).all()  # no interval is pretended


@given(any_number, finite, finite)
def test_an_exact_number_is_reproduced_if_and_only_if_it_is_finite_and_inside(value, a, b):
    low, high = min(a, b), max(a, b)
    verdict = exact("x", value, Range(low, high)).verdict
    assert (verdict is REPRODUCED) == (np.isfinite(value) and low <= value <= high)
    assert (verdict is INCONCLUSIVE) == np.isnan(value)


@pytest.mark.parametrize(
    ("inside", "outside", "lost", "share", "verdict"),
    [
        (20, 0, 0, 1.0, REPRODUCED),
        (4, 0, 0, 1.0, REPRODUCED),
        (3, 0, 0, 1.0, INCONCLUSIVE),  # too few to speak of every seed
        (19, 1, 0, 1.0, CONTRADICTED),  # one counterexample
        (0, 1, 0, 1.0, CONTRADICTED),
        (19, 0, 1, 1.0, INCONCLUSIVE),  # what never happened lies nowhere
        (18, 1, 1, 1.0, CONTRADICTED),
        (0, 0, 5, 1.0, INCONCLUSIVE),
        (0, 0, 0, 1.0, INCONCLUSIVE),
        (19, 1, 0, 0.95, REPRODUCED),
        (18, 2, 0, 0.95, INCONCLUSIVE),  # Wilson: up to 0.972
        (17, 3, 0, 0.95, CONTRADICTED),  # up to 0.948
        (19, 1, 1, 0.95, INCONCLUSIVE),
        (3, 1, 0, 0.95, INCONCLUSIVE),  # up to 0.954
        (2, 2, 0, 0.95, CONTRADICTED),
        (0, 3, 0, 0.95, INCONCLUSIVE),  # too few
        (10, 0, 0, 0.95, REPRODUCED),
    ],
)
def test_every_seed_or_a_share_of_them_must_lie_inside(inside, outside, lost, share, verdict):
    values = [1.5] * inside + [9.0] * outside + [nan] * lost
    found = every("x", values, Range(1.0, 2.0), share)
    assert found.verdict is verdict
    assert (found.seeds, found.within) == (len(values), inside)
    assert found.with_value == inside + outside
    assert str(found.interval) == str(share_interval(inside, inside + outside))


def test_of_every_seed_the_median_and_the_ends_are_shown():
    found = every("x", [3.0, 1.0, nan, 8.0, 2.0], Range(0.0, 9.0))
    assert (found.estimate, found.low, found.high) == (2.5, 1.0, 8.0)
    empty = every("x", [nan], Range(0.0, 9.0))
    assert np.isnan([empty.estimate, empty.low, empty.high]).all()


@pytest.mark.parametrize("share", [0.0, -0.5, 1.1, nan])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=r"share: .* is not allowed: above 0, at most 1"):
        every("x", [1.0], Range(), share)


@given(st.lists(any_number, max_size=30), finite, finite, st.floats(0.05, 1.0))
def test_every_seed_counts_the_same_whatever_the_others_are(values, a, b, share):
    accepted = Range(min(a, b), max(a, b))
    found = every("x", values, accepted, share)
    assert every("x", values[::-1], accepted, share).verdict is found.verdict
    assert every("x", [*values, nan], accepted, share).verdict is not REPRODUCED
    known = [value for value in values if np.isfinite(value)]
    within = sum(accepted.low <= value <= accepted.high for value in known)
    assert (found.seeds, found.with_value, found.within) == (len(values), len(known), within)
    if found.verdict is REPRODUCED:
        assert len(known) == len(values) >= FEWEST_FOR_SHARE and within >= share * len(values)
    if found.verdict is CONTRADICTED:
        assert within < share * len(known)
        # A stricter claim about fewer values fares no better.
        assert every("x", values, accepted).verdict is CONTRADICTED


@given(st.lists(finite, min_size=1, max_size=30), finite, finite)
def test_what_every_seed_does_most_seeds_do(values, a, b):
    accepted = Range(min(a, b), max(a, b))
    if every("x", values, accepted).verdict is REPRODUCED:
        assert holds("x", [value in accepted for value in values]).verdict is REPRODUCED


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.4, 1.5, 1.5, 1.5, 1.6, 1.7], REPRODUCED),
        ([1.4, 1.5, 1.5, 1.5, 1.6, 1.7, 1e9], REPRODUCED),  # a mean would be lost
        ([1.5] * 5, INCONCLUSIVE),  # the whole range of five seeds is no 95 % interval
        ([9.0] * 5, INCONCLUSIVE),
        ([9.0] * 6, CONTRADICTED),
        ([1.5] * 6 + [nan], INCONCLUSIVE),
        ([0.5, 0.5, 0.5, 1.5, 1.5, 1.5], INCONCLUSIVE),
        ([], INCONCLUSIVE),
    ],
    ids=str,
)
def test_a_median_is_judged_by_its_bootstrap_interval(values, verdict):
    found = median("x", values, Range(1.0, 2.0))
    assert (found.verdict, found.kind) == (verdict, Kind.MEDIAN)
    if values:
        assert found.estimate == np.median(np.array(values)[np.isfinite(values)])
        assert found.low <= found.estimate <= found.high


def test_six_seeds_are_the_fewest_whose_ends_enclose_the_median_often_enough():
    assert 1 - 2 * 0.5 ** (FEWEST_FOR_MEDIAN - 1) < 0.95 <= 1 - 2 * 0.5**FEWEST_FOR_MEDIAN
    assert share_interval(FEWEST_FOR_SHARE - 1, FEWEST_FOR_SHARE - 1).low < 0.5
    assert share_interval(FEWEST_FOR_SHARE, FEWEST_FOR_SHARE).low > 0.5


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, REPRODUCED), (0.0, 0.2, INCONCLUSIVE), (-0.2, 0.0, CONTRADICTED)],
)
def test_an_open_range_leaves_its_borders_out(low, high, verdict):
    assert Range(low=0.0, open=True).judge(Interval(low, low, high, 8)) is verdict


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        ([REPRODUCED, REPRODUCED], REPRODUCED),
        ([REPRODUCED, INCONCLUSIVE], INCONCLUSIVE),
        ([REPRODUCED, INCONCLUSIVE, CONTRADICTED], CONTRADICTED),
        ([REPRODUCED, NOT_RUN], INCONCLUSIVE),
        ([], INCONCLUSIVE),
    ],
)
def test_a_claim_is_as_good_as_its_worst_quantity(verdicts, verdict):
    assert worst(verdicts) is verdict
    assert worst(reversed(verdicts)) is verdict


def claim(measure):
    return Claim(1, "x is large", "nowhere", "1", "1 to 2", ("baseline", "other"), measure)


def test_a_claim_whose_arm_is_missing_was_not_run_and_says_so():
    def measure(arms):
        raise AssertionError("nothing to measure")

    found = claim(measure).judge({"baseline": RUN})
    assert (found.verdict, found.quantities) == (NOT_RUN, ())
    assert found.reason == "arm other was not run"
    assert claim(measure).judge({}).reason == "arm baseline, other was not run"


def test_a_claim_is_judged_from_all_its_quantities():
    quantities = [
        amount("x", [1.4, 1.5], Range(1.0, 2.0)),
        amount("y", [9.0, 9.1], Range(1.0, 2.0)),
    ]
    found = claim(lambda arms: quantities).judge({"baseline": RUN, "other": RUN})
    assert found.quantities == tuple(quantities)
    assert found.verdict is CONTRADICTED


@pytest.mark.parametrize(
    ("accepted", "text"),
    [
        (Range(1.0, 2.0), "1 to 2"),
        (Range(low=0.5), "≥ 0.5"),
        (Range(high=3.0), "≤ 3"),
        (Range(1.0, 2.0, open=True), "between 1 and 2"),
        (Range(low=0.0, open=True), "> 0"),
        (Range(high=1.0, open=True), "< 1"),
    ],
)
def test_a_range_reads_as_its_borders(accepted, text):
    assert str(accepted) == text


def test_a_study_is_found_by_name_and_an_unknown_one_is_refused_in_one_line():
    assert find_study("loss-plateau") is all_studies()["loss-plateau"]
    with pytest.raises(SaltusError) as caught:
        find_study("loss-platau")
    assert str(caught.value).startswith(
        "study: unknown study 'loss-platau'; did you mean 'loss-plateau'? Allowed: "
    )
    assert len(str(caught.value).splitlines()) == 1
