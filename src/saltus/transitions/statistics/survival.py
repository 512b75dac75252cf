"""Survival statistics of leaps over seeds: every one of them, by the question it answers.

| question | answer |
| --- | --- |
| how many seeds have not leapt by step t? | `kaplan_meier` |
| when have half of them leapt? | `median_time` |
| how likely is a leap within the budget? | `leap_probability` |
| how long does a run take on average, up to a horizon? | `restricted_mean` |
| how long did the runs take that made it? | `mean_of_successes`, and no other |
| do two arms or more differ? | `log_rank` |
| by how much? | `median_difference`, `restricted_mean_difference` |

All start from `Times`, which `times_of` makes of the transitions of each seed.
"""

from saltus.transitions.statistics.comparison import LogRank, log_rank, median_difference
from saltus.transitions.statistics.product_limit import (
    Survival,
    kaplan_meier,
    leap_probability,
    median_time,
)
from saltus.transitions.statistics.restricted import (
    mean_of_successes,
    restricted_mean,
    restricted_mean_difference,
)
from saltus.transitions.statistics.times import Times, times_of

__all__ = [
    "LogRank",
    "Survival",
    "Times",
    "kaplan_meier",
    "leap_probability",
    "log_rank",
    "mean_of_successes",
    "median_difference",
    "median_time",
    "restricted_mean",
    "restricted_mean_difference",
    "times_of",
]
