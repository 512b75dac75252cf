"""The seven tasks of the paper's code as layouts (section 3.2 of our spec).

Which of T3 to T7 are in the paper is not established.
"""

from __future__ import annotations

from typing import Literal

from saltus.tasks.images.colours import BLUE_OR_RED, TEN
from saltus.tasks.images.layouts import Answer, Cell, Layout
from saltus.tasks.images.rules import Rule

Variant = Literal["T1", "T2", "T3", "T4", "T5", "T6", "T7"]

_ONE_OR_TWO = Cell(role="indicator", classes=(1, 2), colours=BLUE_OR_RED)
_ITEM = Cell(role="target", images="items")

# The main task: two digits, each 1 or 2, say which of two items is to be classified.
T1 = Layout(cells=(_ONE_OR_TWO, _ITEM, _ITEM, _ONE_OR_TWO), walked=1)

# No fixed position: where z = 1 the upper row's target is asked for, else the lower row's.
T2 = T1.model_copy(update={"positions": "swapped-in-rows"})

# Two images of cars or birds among a digit and an item that is none, anywhere. The label is the
# digit's class where z = 1: the released code's rule, whose docstring says the opposite.
_CAR_OR_BIRD = Cell(role="indicator", images="objects", classes=(1, 2))
T3 = Layout(
    cells=(
        _CAR_OR_BIRD,
        Cell(role="target", images="digits", colours=BLUE_OR_RED),
        Cell(role="target", images="others", colours=BLUE_OR_RED),
        _CAR_OR_BIRD,
    ),
    positions="anywhere",
)

# Position as the indicator: two items, one above the other or not. The released code hands its
# probes another z, of colours that decide nothing; here z is what decides.
_BLANK = Cell(role="blank")
T4 = Layout(
    cells=(_BLANK, _ITEM, _ITEM, _BLANK),
    rule=Rule(same="column"),
    positions="swapped-in-rows",
    walked=1,
)

# Colour as the indicator, and digits everywhere, whose classes and other colours distract.
_ANY_DIGIT = Cell(role="indicator", colours=BLUE_OR_RED)
_COLOURED_DIGIT = Cell(role="target", colours=BLUE_OR_RED)
T5 = Layout(
    cells=(_ANY_DIGIT, _COLOURED_DIGIT, _COLOURED_DIGIT, _ANY_DIGIT),
    rule=Rule(same="colour"),
    walked=1,
)

# Task switch: the class of the upper right item, or the index of its colour among ten. What stands
# in the lower left cell is not asked for: an item, which is a choice of the project.
_ONE_OR_TWO_COLOURED = Cell(role="indicator", classes=(1, 2), colours=TEN)
T6 = Layout(
    cells=(
        _ONE_OR_TWO_COLOURED,
        Cell(role="target", images="items", colours=TEN),
        Cell(role="distractor", images="items", colours=TEN),
        _ONE_OR_TWO_COLOURED,
    ),
    one=Answer(cell=1),
    zero=Answer(cell=1, names="colour"),
    walked=1,
)

# Groups of digits: z = 1 where both are of {1, 2} or both of {3, 4}.
_ONE_TO_FOUR = Cell(role="indicator", classes=(1, 2, 3, 4), colours=BLUE_OR_RED)
T7 = Layout(
    cells=(_ONE_TO_FOUR, _ITEM, _ITEM, _ONE_TO_FOUR),
    rule=Rule(groups=((1, 2), (3, 4))),
    walked=1,
)

VARIANTS: dict[Variant, Layout] = {
    "T1": T1, "T2": T2, "T3": T3, "T4": T4, "T5": T5, "T6": T6, "T7": T7,
}  # fmt: skip
