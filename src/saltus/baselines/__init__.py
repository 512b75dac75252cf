"""What models are measured against: answers by other means than learning."""

from saltus.baselines.curves import (
    Errors,
    Mean,
    Point,
    against_mask_probability,
    mean_errors,
    measure,
)
from saltus.baselines.nuclear_norm import METHODS, Completion, complete

__all__ = [
    "METHODS",
    "Completion",
    "Errors",
    "Mean",
    "Point",
    "against_mask_probability",
    "complete",
    "mean_errors",
    "measure",
]
