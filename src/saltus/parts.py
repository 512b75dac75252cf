"""A Part is a piece of an experiment that is data and behaviour at once.

Tasks, models, interventions, instruments and optimisers are Parts: frozen, validated,
serialisable records (`kind` names the class) whose methods do the work. `MatrixCompletion(rank=2)`
in Python and `{kind: matrix-completion, rank: 2}` in YAML are the same thing.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from saltus.errors import FieldProblem, explain, unknown

# What YAML 1.1 takes for text and people mean as a number.
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


class Record(BaseModel):
    """A frozen record that refuses unknown fields, and numbers that are not finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )


class Part(Record):
    """A record with a `kind`. Direct subclasses are families (Task, Model, ...)."""

    registry: ClassVar[dict[str, type[Part]]]
    family: ClassVar[str]
    kind: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if Part in cls.__bases__:
            cls.registry, cls.family = {}, cls.__name__.lower()
        elif isinstance(default := cls.model_fields["kind"].default, str):
            cls.registry[default] = cls

    @classmethod
    def parse(cls, value: Any) -> Self:
        """A member of this family from an instance, a dict with `kind`, or the bare kind."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, dict):
            raise FieldProblem("", f"{value!r} is no {cls.family}; give a kind or a mapping")
        kind = value.get("kind")
        allowed = {name: part for name, part in cls.registry.items() if issubclass(part, cls)}
        if kind is None:
            raise FieldProblem("kind", f"required. Allowed: {', '.join(sorted(allowed))}")
        found = allowed.get(str(kind))
        if found is None:
            raise FieldProblem("kind", unknown(cls.family, str(kind), allowed))
        try:
            return found.model_validate(value)  # type: ignore[return-value]
        except ValidationError as error:
            raise explain(error, found) from None


def discover(package: str, path: list[str]) -> None:
    """Import every module of a package, so that one new file is one new Part."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


def with_numbers(value: Any) -> Any:
    """Plain data with texts like `1e-4` as numbers: YAML 1.1 reads them as text."""
    if isinstance(value, list):
        return [with_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: with_numbers(item) for key, item in value.items()}
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
