"""Fixtures of the engine's tests."""

from training.bowls import bowl

__all__ = ["bowl"]
