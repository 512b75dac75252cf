"""Bars: a number with its interval for every name of a list."""

from saltus.report.bars.record import BarPanel, Bars, BarSeries, bar_panel, bars

__all__ = ["BarPanel", "BarSeries", "Bars", "bar_panel", "bars"]
