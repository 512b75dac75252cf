"""Scatters: points on a plane, coloured by kind or by value, panel beside panel on one scale."""

from saltus.report.scatters.record import Scatter, Scatters, scatter, scatters

__all__ = ["Scatter", "Scatters", "scatter", "scatters"]
