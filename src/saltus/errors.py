"""One clear line for bad input: the field or file, the value, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

MAPPINGS = (dict, Mapping)


class SaltusError(Exception):
    """Something the user can mend. The message is one line; the front door exits with 2."""

    def __init__(self, message: str) -> None:
        # A name or a value that the user gave may hold line breaks.
        super().__init__("\\n".join(message.splitlines()))


class FieldProblem(ValueError):
    """A problem at a field below the one being validated; `path` says which."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}" if path else text)
        self.path, self.text = path, text


def explain(error: ValidationError, model: type[BaseModel]) -> FieldProblem:
    """The first problem of a pydantic error on `model` as (dotted path, one line)."""
    problems = error.errors()
    first = problems[0]
    path, owner = _place(model, first["loc"])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, FieldProblem):
        path = ".".join(part for part in (path, cause.path) if part)
        return FieldProblem(path, cause.text)
    if cause is not None:
        return FieldProblem(path, str(cause))
    if first["type"] == "extra_forbidden":
        return FieldProblem(path, unknown("field", str(first["loc"][-1]), owner.model_fields))
    if first["type"] == "missing":
        return FieldProblem(path, "required, and not given")
    # A field that allows several kinds has one problem for each.
    same = [_lower(p["msg"]) for p in problems if _place(model, p["loc"])[0] == path]
    reasons = [same[0], *(text.removeprefix("input should be ") for text in same[1:])]
    allowed = " or ".join(reasons).replace("tuple", "list").replace("dictionary", "mapping")
    return FieldProblem(path, f"{_short(first['input'])} is not allowed: {allowed}")


def unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    """'unknown field 'widht'; did you mean 'width'? Allowed: depth, heads, width'."""
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown {what} '{name}'{hint} Allowed: {', '.join(names) or 'none'}"


def _place(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, type[BaseModel]]:
    """The dotted path of a location, and the record in which its last field lies.

    Pydantic puts the names of a union's branches into the location; they are left out.
    """
    owner, path = model, []
    kinds: list[Any] = [model]  # what may stand at this place
    for part in loc:
        records = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if isinstance(part, int):
            kinds = [inner for kind in kinds for inner in _items(kind)]
        elif len(kinds) > 1 and part in (names := [kind.__name__ for kind in records]):
            kinds = [records[names.index(part)]]
            continue
        elif len(kinds) == 1 and records:
            owner = records[0]
            field = owner.model_fields.get(part)
            kinds = _branches(field.annotation) if field else []
        elif values := [get_args(kind)[1] for kind in kinds if get_origin(kind) in MAPPINGS]:
            kinds = [inner for value in values for inner in _branches(value)]
        else:
            continue
        path.append(str(part))
    return ".".join(path), owner


def _branches(kind: Any) -> list[Any]:
    """What a field may hold: the branches of a union, without its constraints; None left out."""
    if get_origin(kind) is Annotated:
        return _branches(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [inner for branch in get_args(kind) for inner in _branches(branch)]
    return [] if kind is type(None) else [kind]


def _items(kind: Any) -> list[Any]:
    """What the items of a sequence may be."""
    items = get_args(kind) if get_origin(kind) in (list, tuple, Sequence) else ()
    return [inner for item in items if item is not Ellipsis for inner in _branches(item)]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
