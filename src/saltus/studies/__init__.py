"""What papers say: experiments, claims and figures, one folder per paper."""

from saltus.studies.claim import (
    Claim,
    Finding,
    Kind,
    Quantity,
    Range,
    Verdict,
    amount,
    every,
    exact,
    holds,
    median,
)
from saltus.studies.study import Scale, Study, all_studies, find_study

__all__ = [
    "Claim",
    "Finding",
    "Kind",
    "Quantity",
    "Range",
    "Scale",
    "Study",
    "Verdict",
    "all_studies",
    "amount",
    "every",
    "exact",
    "find_study",
    "holds",
    "median",
]
