"""`saltus list`: what there is to experiment with, and the fields of each."""

from __future__ import annotations

import importlib
import inspect
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer
import yaml

from saltus.cli.inputs import Json
from saltus.cli.output import console, print_json, say, table
from saltus.errors import SaltusError, unknown

if TYPE_CHECKING:
    from saltus.parts import Part
    from saltus.studies import Study

FAMILIES = {
    "tasks": ("saltus.tasks", "Task"),
    "models": ("saltus.models", "Model"),
    "interventions": ("saltus.interventions", "Intervention"),
    "instruments": ("saltus.instruments", "Instrument"),
    "optimizers": ("saltus.training.optimizers", "Optimizer"),
}
KINDS = (*FAMILIES, "studies")
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "pattern": "like"}
WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", NoneType: "null"}


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(metavar=f"[{'|'.join(KINDS)}]", help="Everything if not given."),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One of them, with its fields.")
    ] = None,
    json: Json = False,
) -> None:
    """List what there is to experiment with.

    Tasks, models, interventions, instruments, optimizers and studies. With a name: its fields,
    with their types, defaults and limits, as an experiment's YAML and --set take them.

    \b
    Examples:
      saltus list instruments
      saltus list tasks moving-window-sum
    """
    if kind is not None and kind not in KINDS:
        raise SaltusError(f"list: {unknown('kind', kind, KINDS)}")
    if kind is None or name is None:
        found = {each: _names(each) for each in (KINDS if kind is None else (kind,))}
        if json:
            print_json(found)
        else:
            _show_names(found)
    elif kind == "studies":
        from saltus.studies import find_study

        study = study_document(find_study(name))
        print_json(study) if json else _show_study(study)
    else:
        parts = _parts(kind)
        if name not in parts:
            raise SaltusError(f"list: {unknown(kind.removesuffix('s'), name, parts)}")
        part = part_document(parts[name])
        print_json(part) if json else _show_part(part)


def part_document(part: type[Part]) -> dict[str, Any]:
    """A part's kind, docstring and fields."""
    fields = [
        {
            "name": name,
            "type": type_text(field.annotation),
            "default": None
            if field.is_required()
            else _plain(field.get_default(call_default_factory=True)),
            "required": field.is_required(),
            "allowed": constraint_text(field.metadata),
            "description": field.description or "",
        }
        for name, field in part.model_fields.items()
        if name != "kind"
    ]
    return {"kind": _kind(part), "doc": inspect.getdoc(part) or "", "fields": fields}


def study_document(study: Study) -> dict[str, Any]:
    """A study's question, arms and claims, at both scales."""
    scales: tuple[Any, ...] = ("quick", "paper")
    return {
        **{key: getattr(study, key) for key in ("name", "title", "paper", "question", "changed")},
        "arms": {
            scale: {
                arm: {"members": len(each.members()), "steps": each.steps, "batch": each.batch}
                for arm, each in study.recipe(scale).items()
            }
            for scale in scales
        },
        "claims": [
            {"number": claim.number, "statement": claim.statement, "paper": claim.paper}
            for claim in study.claims("quick")
        ],
    }


def type_text(annotation: Any) -> str:
    """A type in words: 'integer', 'number or null', 'list of integer', 'pre | post'."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(inside[0])
    if origin is Literal:
        return " | ".join(str(value) for value in inside)
    if origin in (Union, UnionType):
        return " or ".join(type_text(each) for each in inside)
    if origin in (tuple, list):
        kinds = list(dict.fromkeys(type_text(each) for each in inside if each is not Ellipsis))
        return f"list of {' and '.join(kinds)}"
    if origin is dict:
        return f"mapping of {type_text(inside[0])} to {type_text(inside[1])}"
    if hasattr(annotation, "model_fields"):
        return f"{{{', '.join(annotation.model_fields)}}}"
    return WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def constraint_text(metadata: list[Any]) -> str:
    """'≥ 1', '≥ 0, < 1'."""
    pairs = [(sign, getattr(each, name, None)) for each in metadata for name, sign in SIGNS.items()]
    return ", ".join(f"{sign} {limit}" for sign, limit in pairs if limit is not None)


def _parts(kind: str) -> dict[str, type[Part]]:
    module, family = FAMILIES[kind]
    base = getattr(importlib.import_module(module), family)
    return dict(sorted(base.registry.items()))


def _names(kind: str) -> list[dict[str, str]]:
    if kind == "studies":
        from saltus.studies import all_studies

        return [{"name": s.name, "doc": s.question} for _, s in sorted(all_studies().items())]
    return [{"name": name, "doc": _first_line(part)} for name, part in _parts(kind).items()]


def _first_line(part: type[Part]) -> str:
    """The first sentence or line of a docstring, whichever ends first."""
    first = (inspect.getdoc(part) or "").split("\n\n")[0]
    return " ".join(first.split())


def _kind(part: type[Part]) -> str:
    return str(part.model_fields["kind"].default)


def _plain(value: Any) -> Any:
    return (
        value.model_dump(mode="json", exclude_none=True) if hasattr(value, "model_dump") else value
    )


def _show_names(found: dict[str, list[dict[str, str]]]) -> None:
    made = table("kind", "name", "what it is")
    for kind, entries in found.items():
        for index, entry in enumerate(entries):
            made.add_row("" if index else kind, entry["name"], entry["doc"])
    console().print(made)
    say("saltus list KIND NAME shows the fields of one")


def _show_part(part: dict[str, Any]) -> None:
    say(part["kind"])
    console().print(flowing(part["doc"]))
    made = table("field", "type", "default", "allowed", "")
    for field in part["fields"]:
        default = "(required)" if field["required"] else flow(field["default"])
        made.add_row(field["name"], field["type"], default, field["allowed"], field["description"])
    console().print(made)


def _show_study(study: dict[str, Any]) -> None:
    say(f"{study['name']}: {study['title']} ({study['paper']})")
    console().print(study["question"])
    console().print(f"Quick scale changes: {study['changed']}")
    made = table("arm", "scale", "members", "steps", "batch", right=("members", "steps", "batch"))
    for scale, arms in study["arms"].items():
        for arm, each in arms.items():
            made.add_row(arm, scale, str(each["members"]), str(each["steps"]), str(each["batch"]))
    console().print(made)
    claims = table("#", "claim", "the paper")
    for claim in study["claims"]:
        claims.add_row(str(claim["number"]), claim["statement"], claim["paper"])
    console().print(claims)
    again = f"saltus reproduce {study['name']}"
    arm = next(iter(study["arms"]["quick"]), None)  # a study may have claims on no run at all
    say(again if arm is None else f"{again}; saltus run {study['name']}:{arm}")


def flowing(doc: str) -> str:
    """A docstring with every paragraph and every item of a list on one line, to be wrapped anew."""
    lines: list[str] = []
    for line in doc.splitlines():
        starts = not line.strip() or line.lstrip().startswith("- ") or not (lines and lines[-1])
        if starts:
            lines.append(line.rstrip())
        else:
            lines[-1] += f" {line.strip()}"
    return "\n".join(lines)


def flow(value: Any) -> str:
    """A default as YAML in one line: '{every: 10}', 'null'."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")
