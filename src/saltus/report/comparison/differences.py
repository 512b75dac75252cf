"""What differs between experiments, field by field, in the names that --set and YAML use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.report.comparison.groups import value_text
from saltus.report.gather import Group

ABSENT = "–"
LEFT_OUT = ("vary",)  # a group has one of its values, and those are shown


def differences(experiments: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Dotted field → its value in each experiment, for the fields that are not the same in all.

    Lists of parts are compared place by place where all have the same kinds of parts, otherwise as
    a list of kinds. A field that an experiment does not have is a dash.
    """
    found: dict[str, list[str]] = {}
    _compare("", [dict(each) for each in experiments], found)
    return found


def experiment_of(group: Group) -> dict[str, Any]:
    """A group's experiment as plain data: its setting put in, its own seeds."""
    data = deepcopy(group.run.experiment)
    setting = group.run.members[group.places[0]].get("overrides") or {}
    if setting:
        try:
            plain = Experiment.of({**data, "vary": {}})
            data = plain.override(setting).data()
        except SaltusError:  # a part that this installation does not know
            data |= setting
    data["seeds"] = seeds_text([int(group.run.seeds[place]) for place in group.places])
    return {key: value for key, value in data.items() if key not in LEFT_OUT}


def seeds_text(seeds: Sequence[int]) -> str:
    """'0 to 7' for a whole range, otherwise '1, 4, 5'."""
    ordered = sorted(seeds)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered))


def _compare(path: str, values: Sequence[Any], found: dict[str, list[str]]) -> None:
    if all(value == values[0] for value in values):
        return
    if all(isinstance(value, Mapping) for value in values):
        for key in dict.fromkeys(key for value in values for key in value):
            below = [value.get(key, ABSENT) for value in values]
            _compare(f"{path}.{key}" if path else str(key), below, found)
        return
    if all(isinstance(value, Sequence) and not isinstance(value, str) for value in values):
        kinds = [[_kind(part) for part in value] for value in values]
        if all(None not in each for each in kinds) and all(each == kinds[0] for each in kinds):
            for place, below in enumerate(zip(*values, strict=True)):
                _compare(f"{path}.{place}", below, found)
            return
    texts = [_text(value) for value in values]
    alike = len(set(texts)) == 1  # what differs is not in the short text
    found[path] = [json.dumps(value, default=str) for value in values] if alike else texts


def _kind(part: Any) -> str | None:
    return str(part["kind"]) if isinstance(part, Mapping) and "kind" in part else None


def _text(value: Any) -> str:
    """A value in one line; of parts, their kinds."""
    if isinstance(value, Mapping) and "kind" in value:
        return str(value["kind"])
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_text(each) for each in value) or "none"
    return value_text(value)
