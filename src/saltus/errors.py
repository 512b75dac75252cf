"""One clear line for bad input: the field or file, the value, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError


class SaltusError(Exception):
    """Something the user can mend. The message is one line; the front door exits with 2."""


class FieldProblem(ValueError):
    """A problem at a field below the one being validated; `path` says which."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}" if path else text)
        self.path, self.text = path, text


def explain(error: ValidationError, fields: Iterable[str] = ()) -> FieldProblem:
    """The first problem of a pydantic error as (dotted path, one line).

    `fields` are the names allowed at the level of the model that was validated.
    """
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, FieldProblem):
        path = ".".join(part for part in (path, cause.path) if part)
        return FieldProblem(path, cause.text)
    if cause is not None:
        return FieldProblem(path, str(cause))
    kind, value = first["type"], first["input"]
    if kind == "extra_forbidden":
        return FieldProblem(path, unknown("field", str(first["loc"][-1]), fields))
    if kind == "missing":
        return FieldProblem(path, "required, and not given")
    return FieldProblem(path, f"{_short(value)} is not allowed: {_lower(first['msg'])}")


def unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    """'unknown field 'widht'; did you mean 'width'? Allowed: depth, heads, width'."""
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown {what} '{name}'{hint} Allowed: {', '.join(names) or 'none'}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
