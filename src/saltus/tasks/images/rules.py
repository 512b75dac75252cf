"""The hidden decision z: what two parts of the image must have in common for z to be 1."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from saltus.errors import FieldProblem
from saltus.parts import Record


class Rule(Record):
    """z = 1 where two parts agree, 0 where they do not (section 3.2 of our spec).

    - `class`: the two indicators show the same class, or with `groups` classes of the same group;
    - `colour`: the two indicators have the same colour;
    - `column`: the two possible targets stand in one column; no indicator is needed.
    """

    same: Literal["class", "colour", "column"] = "class"
    groups: tuple[tuple[int, ...], ...] = ()

    @model_validator(mode="after")
    def _groups_are_of_classes(self) -> Rule:
        if not self.groups:
            return self
        if self.same != "class":
            raise FieldProblem("groups", f"not allowed with same: {self.same}")
        classes = [number for group in self.groups for number in group]
        if len(classes) != len(set(classes)) or not all(self.groups):
            raise FieldProblem("groups", "a class in two groups, or an empty group, is not allowed")
        return self

    def key(self, number: int) -> int:
        """What is compared of a class: its group, or itself where there are none."""
        for index, group in enumerate(self.groups):
            if number in group:
                return index
        return number
