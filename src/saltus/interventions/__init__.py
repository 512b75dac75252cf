"""What we change."""

from saltus.interventions.base import AnyIntervention, Intervention, Knobs
from saltus.parts import discover

discover(__name__, list(__path__))

__all__ = ["AnyIntervention", "Intervention", "Knobs"]
