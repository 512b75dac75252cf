"""What happened: plateaus and the leaps that end them, and statistics over seeds."""

from saltus.transitions.drop import Drop, drops, first_crossing
from saltus.transitions.intervals import Interval, mean_interval, median_interval, share_interval

__all__ = [
    "Drop",
    "Interval",
    "drops",
    "first_crossing",
    "mean_interval",
    "median_interval",
    "share_interval",
]
