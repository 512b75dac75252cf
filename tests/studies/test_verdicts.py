"""One verdict rule for every claim: inside, outside, across, too few, not run."""

from math import inf, nan

import numpy as np
import pytest

from saltus.errors import SaltusError
from saltus.runs import Run
from saltus.studies import (
    Claim,
    Range,
    Verdict,
    all_studies,
    amount,
    find_study,
    holds,
)
from saltus.studies.claim import worst
from saltus.transitions import Interval

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
    [(Range(1.0, 2.0), "1 to 2"), (Range(low=0.5), "≥ 0.5"), (Range(high=3.0), "≤ 3")],
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
