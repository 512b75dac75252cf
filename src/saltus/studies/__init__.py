"""What papers say: experiments, claims and figures, one folder per paper."""

from saltus.studies.claim import Claim, Finding, Quantity, Range, Verdict, amount, holds
from saltus.studies.study import Scale, Study, all_studies, find_study

__all__ = [
    "Claim",
    "Finding",
    "Quantity",
    "Range",
    "Scale",
    "Study",
    "Verdict",
    "all_studies",
    "amount",
    "find_study",
    "holds",
]
