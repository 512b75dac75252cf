"""What we read."""

from saltus.instruments.base import AnyInstrument, Cadence, Instrument, Needs, Reading
from saltus.parts import discover

discover(__name__, list(__path__))

__all__ = ["AnyInstrument", "Cadence", "Instrument", "Needs", "Reading"]
