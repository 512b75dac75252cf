"""Heat maps: tables of numbers as colours, one scale for those that stand side by side."""

from saltus.report.heat_maps.record import HeatMap, HeatMaps, heat_map, heat_maps

__all__ = ["HeatMap", "HeatMaps", "heat_map", "heat_maps"]
