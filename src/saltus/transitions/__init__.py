"""What happened: plateaus and the leaps that end them, and statistics over seeds."""

from saltus.transitions.drop import Drop, drops, first_crossing
from saltus.transitions.offline import find
from saltus.transitions.online import Event, Watch
from saltus.transitions.statistics.bootstrap import bootstrap_interval
from saltus.transitions.statistics.eureka import (
    Criterion,
    EurekaMoments,
    eureka_comparison,
    eureka_moments,
    eureka_summary,
)
from saltus.transitions.statistics.intervals import (
    Interval,
    mean_interval,
    median_interval,
    share_interval,
)
from saltus.transitions.statistics.power import MeanEffect, detectable, seeds_needed
from saltus.transitions.statistics.power_share import ShareEffect
from saltus.transitions.statistics.power_time import Spread, TimeEffect, fit_spread
from saltus.transitions.statistics.survival import (
    LogRank,
    Survival,
    Times,
    kaplan_meier,
    leap_probability,
    log_rank,
    mean_of_successes,
    median_difference,
    median_time,
    restricted_mean,
    restricted_mean_difference,
    times_of,
)
from saltus.transitions.transition import Plateau, Transition, largest

__all__ = [
    "Criterion",
    "Drop",
    "EurekaMoments",
    "Event",
    "Interval",
    "LogRank",
    "MeanEffect",
    "Plateau",
    "ShareEffect",
    "Spread",
    "Survival",
    "TimeEffect",
    "Times",
    "Transition",
    "Watch",
    "bootstrap_interval",
    "detectable",
    "drops",
    "eureka_comparison",
    "eureka_moments",
    "eureka_summary",
    "find",
    "first_crossing",
    "fit_spread",
    "kaplan_meier",
    "largest",
    "leap_probability",
    "log_rank",
    "mean_interval",
    "mean_of_successes",
    "median_difference",
    "median_interval",
    "median_time",
    "restricted_mean",
    "restricted_mean_difference",
    "seeds_needed",
    "share_interval",
    "times_of",
]
