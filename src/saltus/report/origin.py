"""Where the numbers come from: the exact experiment, the command that repeats it, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saltus.report.markup import Markup, tag
from saltus.runs import Run


def command(text: str) -> Markup:
    """A command line with a button that copies it."""
    return tag("div", tag("code", text), _copy_button(), class_="command copyable")


def experiments(arms: Mapping[str, Run]) -> list[Markup]:
    """The YAML of every arm, folded."""
    return [
        tag(
            "details",
            tag("summary", tag("b", arm), " ", tag("span", f"experiment.yaml of run {run.name}")),
            tag(
                "div",
                _copy_button(),
                tag("pre", tag("code", run.experiment_yaml)),
                class_="copyable yaml",
            ),
            tag("p", "Save it, and ", tag("code", "saltus run experiment.yaml"), " runs it again.",
                class_="caption"),
        )
        for arm, run in arms.items()
    ]  # fmt: skip


def provenance(arms: Mapping[str, Run]) -> Markup:
    """Versions, platform, code revision; where arms differ, each arm's own."""
    tables = {arm: flat(run.provenance) for arm, run in arms.items()}
    keys = dict.fromkeys(key for table in tables.values() for key in table)
    rows = []
    for key in keys:
        values = {arm: table.get(key, "–") for arm, table in tables.items()}
        if len(set(values.values())) == 1:
            shown: Any = next(iter(values.values()))
        else:
            shown = [tag("div", tag("small", f"{arm}: "), value) for arm, value in values.items()]
        rows.append(tag("tr", tag("th", key, scope="row"), tag("td", shown)))
    table = tag("table", tag("tbody", rows), class_="provenance")
    return tag("details", tag("summary", tag("b", "Provenance"), " ",
               tag("span", "versions, platform, code revision")), table)  # fmt: skip


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """{"versions": {"torch": "2"}} → {"versions.torch": "2"}; None and lists as text."""
    if not isinstance(value, Mapping):
        return {prefix: "unknown" if value is None else str(value)}
    found: dict[str, str] = {}
    for key, below in value.items():
        found |= flat(below, f"{prefix}.{key}" if prefix else str(key))
    return found


def _copy_button() -> Markup:
    return tag("button", "Copy", type="button", class_="copy")
