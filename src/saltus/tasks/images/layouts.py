"""A layout: what stands where in an image of 2 x 2 cells, what decides, and what is asked."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from saltus.errors import FieldProblem
from saltus.parts import Record
from saltus.tasks.images.colours import RGB, WHITE, Colour
from saltus.tasks.images.rules import Rule

CLASSES = 10  # of every set of images, and of every label
CELLS = ("top-left", "top-right", "bottom-left", "bottom-right")
NOTHING, INDICATOR, TARGET = 0, 1, 2  # the numbers of `roles` in a batch

Role = Literal["indicator", "target", "distractor", "blank"]
# What a cell shows; each source says which images it has for it.
Images = Literal["digits", "items", "others", "objects"]
Positions = Literal["fixed", "swapped-in-rows", "anywhere"]


class Cell(Record):
    """What one cell shows: an image drawn uniformly from a pool, in one of some colours.

    `images` are `digits`, `items` (what the source has classified in its main task), `others`
    (ten classes that are no digits) or `objects`; `classes` says which of them, all ten if not
    given. The cell is multiplied by a colour drawn uniformly from `colours`. A `distractor` is
    never asked for and decides nothing; a `blank` cell is black.
    """

    role: Role
    images: Images = "digits"
    classes: tuple[int, ...] = tuple(range(CLASSES))
    colours: tuple[Colour, ...] = WHITE

    @model_validator(mode="after")
    def _classes_and_colours_exist(self) -> Cell:
        if not self.colours or len(set(self.colours)) < len(self.colours):
            raise FieldProblem("colours", "one or more different colours are needed")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise FieldProblem("classes", "one or more different classes are needed")
        if bad := [number for number in self.classes if not 0 <= number < CLASSES]:
            raise FieldProblem("classes", f"{bad[0]} is not allowed: 0 to {CLASSES - 1}")
        return self


class Answer(Record):
    """The label: the class, or the index of the colour, of the cell that is listed at `cell`."""

    cell: int = Field(ge=0, lt=len(CELLS))
    names: Literal["class", "colour"] = "class"


class Layout(Record):
    """A two-step task: p(y, z | x) = p(z | x) p(y | x, z) (section 14 of our spec).

    `cells` are listed at home: top-left, top-right, bottom-left, bottom-right. `positions` says
    where they go: `fixed` at home, `swapped-in-rows` (the two of a row change places with
    probability 1/2, each row for itself), `anywhere` (all 24 orders alike). `rule` gives z, and
    `one` and `zero` say what the label is where z = 1 and where z = 0. Every colour has normal
    noise of standard deviation `noise` added, once per cell and channel, and is not clipped.
    `walked` is the cell, at home, that the authors' sampler walks through in order.
    """

    cells: tuple[Cell, ...] = Field(min_length=len(CELLS), max_length=len(CELLS))
    rule: Rule = Rule()
    one: Answer = Answer(cell=1)
    zero: Answer = Answer(cell=2)
    positions: Positions = "fixed"
    noise: float = Field(default=0.05, ge=0)
    walked: int | None = Field(default=None, ge=0, lt=len(CELLS))

    @model_validator(mode="after")
    def _answers_can_be_given(self) -> Layout:
        for name, answer in (("one", self.one), ("zero", self.zero)):
            cell = self.cells[answer.cell]
            if cell.role != "target":
                raise FieldProblem(
                    f"{name}.cell", f"cell {answer.cell} has the role {cell.role}: allowed: target"
                )
            if answer.names == "colour" and len(cell.colours) == 1:
                raise FieldProblem(f"{name}.names", "a target of one colour has none to be named")
            if answer.names == "colour" and "white" in cell.colours and len(self.palette) > CLASSES:
                raise FieldProblem(f"{name}.names", f"white is colour {CLASSES}: too many colours")
        if self.one == self.zero:
            raise FieldProblem("zero", "the same answer as `one` leaves nothing to decide")
        if self.walked is not None and self.cells[self.walked].role in ("blank", "indicator"):
            role = self.cells[self.walked].role
            raise FieldProblem("walked", f"cell {self.walked} has the role {role}: allowed: target")
        return self

    @model_validator(mode="after")
    def _rule_can_be_applied(self) -> Layout:
        count = len(self.indicators)
        if self.rule.same == "column":
            if self.positions == "fixed":
                raise FieldProblem("positions", "fixed leaves nothing to the rule same: column")
            if self.one.cell == self.zero.cell:
                raise FieldProblem("rule", "same: column needs two cells that may be asked for")
        elif count != 2:
            raise FieldProblem("cells", f"{count} indicators are not allowed: exactly 2")
        for cell in self.compared if self.rule.groups else ():
            for number in cell.classes:
                if not any(number in group for group in self.rule.groups):
                    raise FieldProblem("rule.groups", f"class {number} is in none of them")
        if not 0 < self.agreement < 1:
            raise FieldProblem("rule", f"z is always {round(self.agreement)}: nothing to decide")
        return self

    @property
    def indicators(self) -> tuple[int, ...]:
        """The cells, at home, that carry z."""
        return tuple(i for i, cell in enumerate(self.cells) if cell.role == "indicator")

    @property
    def compared(self) -> tuple[Cell, ...]:
        """The two cells whose classes or colours are compared; none where places are."""
        return () if self.rule.same == "column" else tuple(self.cells[i] for i in self.indicators)

    @property
    def palette(self) -> tuple[Colour, ...]:
        """The colours of the layout: colour group k is its k-th."""
        used = {colour for cell in self.shown for colour in cell.colours}
        return tuple(colour for colour in RGB if colour in used)

    @property
    def shown(self) -> tuple[Cell, ...]:
        """The cells that are not blank."""
        return tuple(cell for cell in self.cells if cell.role != "blank")

    @property
    def agreement(self) -> float:
        """P(z = 1) of free draws, where the classes of every pool are equally frequent."""
        if self.rule.same == "column":
            if self.positions == "anywhere":
                return 1 / 3
            return 0.0 if self.one.cell // 2 == self.zero.cell // 2 else 1 / 2
        first, second = self.compared
        if self.rule.same == "colour":
            pairs = [(a, b) for a in first.colours for b in second.colours]
            return sum(a == b for a, b in pairs) / len(pairs)
        key = self.rule.key
        keys = [(key(a), key(b)) for a in first.classes for b in second.classes]
        return sum(a == b for a, b in keys) / len(keys)
