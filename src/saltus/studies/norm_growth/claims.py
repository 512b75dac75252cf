"""All claims in the order of their numbers."""

from __future__ import annotations

from saltus.studies.claim import Claim
from saltus.studies.norm_growth import exact, fig4, regression, trained_claims
from saltus.studies.study import Scale


def claims(scale: Scale) -> list[Claim]:
    """The spec's 19, and what this project adds about the released code."""
    found = [
        *regression.claims(), *fig4.claims(scale), *exact.claims(), *trained_claims.claims(scale)
    ]  # fmt: skip
    return sorted(found, key=lambda claim: claim.number)
