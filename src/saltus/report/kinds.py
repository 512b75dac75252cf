"""Every kind of figure, and the one place that draws each of them into the page."""

from __future__ import annotations

from saltus.report.bars.page import draw_bars
from saltus.report.bars.record import Bars
from saltus.report.figure import Figure
from saltus.report.films.page import draw_film
from saltus.report.films.record import Film
from saltus.report.heat_maps.page import draw_heat_maps
from saltus.report.heat_maps.record import HeatMaps
from saltus.report.markup import Markup
from saltus.report.scatters.page import draw_scatters
from saltus.report.scatters.record import Scatters
from saltus.report.svg import draw
from saltus.report.tables.page import draw_table
from saltus.report.tables.record import Table

AnyFigure = Figure | HeatMaps | Scatters | Bars | Film | Table


def draw_any(figure: AnyFigure) -> Markup:
    """The figure as an HTML element."""
    match figure:
        case HeatMaps():
            return draw_heat_maps(figure)
        case Scatters():
            return draw_scatters(figure)
        case Bars():
            return draw_bars(figure)
        case Film():
            return draw_film(figure)
        case Table():
            return draw_table(figure)
        case Figure():
            return draw(figure, height_of(figure))


def height_of(figure: Figure) -> int:
    """In pixels: the fewer panels stand side by side, the higher they are."""
    return {1: 340, 2: 280, 4: 260}.get(len(figure.panels), 220)
