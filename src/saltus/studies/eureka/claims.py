"""The nineteen claims of our spec of 2310.12956 (section 11)."""

from __future__ import annotations

from saltus.studies.claim import Claim
from saltus.studies.eureka import exact, trained_claims
from saltus.studies.study import Scale


def claims(scale: Scale) -> list[Claim]:
    """Claims 1 to 10, 18 and 19 are judged on runs, 11 to 17 need none."""
    both = [*trained_claims.claims(scale), *exact.claims(scale)]
    return sorted(both, key=lambda claim: claim.number)
