"""Colours: what a cell is tinted with, and the number that a colour group has."""

from __future__ import annotations

from typing import Literal, get_args

Colour = Literal[
    "brown", "blue", "yellow", "orange", "red", "green", "purple", "gray", "pink", "turquoise",
    "white",
]  # fmt: skip

# The names and their order are those of the task T6, whose label is the index of a colour; blue,
# red and white are the paper's, the other triples (CSS colours) a choice of the project.
RGB: dict[Colour, tuple[float, float, float]] = {
    "brown": (0.647, 0.165, 0.165),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "orange": (1.0, 0.647, 0.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 0.502, 0.0),
    "purple": (0.502, 0.0, 0.502),
    "gray": (0.502, 0.502, 0.502),
    "pink": (1.0, 0.753, 0.796),
    "turquoise": (0.251, 0.878, 0.816),
    "white": (1.0, 1.0, 1.0),
}

TEN: tuple[Colour, ...] = get_args(Colour)[:10]
BLUE_OR_RED: tuple[Colour, ...] = ("blue", "red")
WHITE: tuple[Colour, ...] = ("white",)
