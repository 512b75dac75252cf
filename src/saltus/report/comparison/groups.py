"""What can be compared: runs, settings of a sweep, arms of a study; all as groups of seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saltus.errors import SaltusError, unknown
from saltus.report.gather import Group, short_names
from saltus.report.text import count, listed
from saltus.runs import Run

MOST = 21  # seven colours in three dashes


@dataclass(frozen=True)
class Side:
    """Members of a run that differ in nothing but their seed."""

    run: Run
    setting: Mapping[str, Any]  # what the sweep set for them; {} where it is none
    places: tuple[int, ...]


def sides_of(run: Run, wanted: Mapping[str, Any] | None = None) -> list[Side]:
    """The settings of a run in their order: all of them, or those with the wanted values.

    Fields may be given by their last names where no other varied field ends so. Raises SaltusError
    for a field that the run's members do not differ in, and for a value that none of them has.
    """
    found: dict[str, tuple[dict[str, Any], list[int]]] = {}
    for place, member in enumerate(run.members):
        overrides = member.get("overrides") or {}
        key = json.dumps(overrides, sort_keys=True, default=str)
        found.setdefault(key, (overrides, []))[1].append(place)
    every = [Side(run, setting, tuple(places)) for setting, places in found.values()]
    for given, value in (wanted or {}).items():
        field = _field(run, given, [key for side in every for key in side.setting])
        values = [side.setting[field] for side in every if field in side.setting]
        every = [side for side in every if side.setting.get(field) == value]
        if not every:
            there = ", ".join(dict.fromkeys(value_text(each) for each in values))
            raise SaltusError(
                f"{run.name}: no setting has {field} = {value_text(value)}; there are: {there}"
            )
    return every


def groups_of_sides(sides: Sequence[Side]) -> list[Group]:
    """Groups with labels that tell them apart and a colour each; the first is the reference.

    Raises SaltusError for fewer than two, for more than can be told apart, and for a group that is
    there twice.
    """
    _check(sides)
    names = run_labels([side.run for side in sides])
    alone = len({side.run.path.resolve() for side in sides}) == 1
    labels = []
    for side, name in zip(sides, names, strict=True):
        setting = setting_text(side.setting)
        labels.append(setting if alone else " · ".join(filter(None, (name, setting))))
    return [
        Group(label, color, side.run, side.places)
        for color, (label, side) in enumerate(zip(labels, sides, strict=True))
    ]


def run_labels(runs: Sequence[Run]) -> list[str]:
    """The runs' names; runs of one name with the directory in which their paths part."""
    paths = [run.path.resolve() for run in runs]
    labels = []
    for run, path in zip(runs, paths, strict=True):
        same = {other for other in paths if other.name == path.name}
        depth = 1
        while len({other.parts[-depth:] for other in same}) < len(same):
            depth += 1
        labels.append(f"{run.name} ({path.parts[-depth]})" if depth > 1 else run.name)
    if len(set(labels)) < len(set(paths)):  # the parting directories have one name, too
        return [str(path) for path in paths]
    return labels


def setting_text(setting: Mapping[str, Any]) -> str:
    """'learning_rate = 0.001, factor = 10': by last names where they are different."""
    short = short_names(setting)
    return ", ".join(f"{short[key]} = {value_text(value)}" for key, value in setting.items())


def value_text(value: Any) -> str:
    """A value as YAML would write it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def notes_of(groups: Sequence[Group]) -> list[str]:
    """What a reader must know of groups: runs that are not at their end, seeds that diverged."""
    notes = []
    for run in {group.run.path: group.run for group in groups}.values():
        status = run.status
        if status["state"] != "done":
            end = f" of {status['steps']}" if status["steps"] else ""
            notes.append(
                f"{run.name} is not finished ({status['state']}, step {status['step']}{end}): "
                "it is compared as far as it is"
            )
    for group in groups:
        diverged = group.run.status["diverged"]
        lost = [place for place in group.places if place in diverged]
        if lost:
            seeds = [f"{group.run.seeds[place]} at step {diverged[place]}" for place in lost]
            notes.append(
                f"{group.label}: {len(lost)} of {count(len(group.places), 'seed')} diverged "
                f"(seed {listed(seeds)}); censored there, and without a final value"
            )
    return notes


def _field(run: Run, given: str, keys: Sequence[str]) -> str:
    fields = list(dict.fromkeys(keys))
    if not fields:
        raise SaltusError(
            f"{run.name}: its members differ in nothing but their seed; name it alone"
        )
    near = [field for field in fields if field == given or field.endswith(f".{given}")]
    if len(near) != 1:
        raise SaltusError(f"{run.name}: {unknown('varied field', given, fields)}")
    return near[0]


def _check(sides: Sequence[Side]) -> None:
    if len(sides) < 2:
        only = f"only {sides[0].run.name}" if sides else "nothing"
        raise SaltusError(
            f"compare: {only} is given, and it is one setting; give two runs or more, or a sweep"
        )
    if len(sides) > MOST:
        raise SaltusError(
            f"compare: {len(sides)} groups are not allowed: {MOST} at most; choose some as "
            "RUN:FIELD=VALUE"
        )
    seen = set()
    for side in sides:
        key = (side.run.path.resolve(), side.places)
        if key in seen:
            what = " · ".join(filter(None, (side.run.name, setting_text(side.setting))))
            raise SaltusError(f"compare: {what} is given twice")
        seen.add(key)
