"""All 31 claims of section 12 of our spec, in its order."""

from __future__ import annotations

from saltus.studies.claim import Claim
from saltus.studies.study import Scale
from saltus.studies.word_cooccurrence import balance, numerics, outcome, phases, start


def claims(scale: Scale) -> list[Claim]:
    """The 31 claims, on the small settings at quick scale and on the larger too at paper scale."""
    found = [
        claim
        for part in (numerics, start, phases, balance, outcome)
        for claim in part.claims(scale)
    ]
    return sorted(found, key=lambda claim: claim.number)
