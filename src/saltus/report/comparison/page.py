"""The page of a comparison: who, what differs, when each leaps, what changes, and how sure."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from math import isfinite, isnan
from pathlib import Path

from saltus.report.comparison.compare import Comparison
from saltus.report.comparison.effects import MetricEffect
from saltus.report.comparison.forest import bounds_text, draw_forest
from saltus.report.comparison.groups import run_labels
from saltus.report.comparison.leaps import LeapComparison
from saltus.report.costs import costs
from saltus.report.figure import STEP
from saltus.report.gather import Group
from saltus.report.markup import Markup, tag
from saltus.report.names import title_of
from saltus.report.origin import command as command_line
from saltus.report.origin import experiments, provenance
from saltus.report.page import page
from saltus.report.parts import SMALL, TALL, block
from saltus.report.save import save
from saltus.report.style import css_class
from saltus.report.svg import draw
from saltus.report.text import count, number
from saltus.runs import Run
from saltus.transitions.statistics.intervals import Interval
from saltus.transitions.statistics.times import Times


def write_page(comparison: Comparison, path: Path, command: str) -> Path:
    """One self-contained HTML file; `command` is the line that makes it again."""
    return save(path, comparison_page(comparison, command).encode())


def comparison_page(comparison: Comparison, command: str) -> str:
    """The whole document."""
    style = tag("style", Markup(files("saltus.report").joinpath("compare.css").read_text("utf-8")))
    figures, leaps = comparison.figures(), comparison.leaps
    survival = figures.pop(0) if leaps else None
    forest = comparison.forest()
    runs = runs_of(comparison.groups)
    fans = [
        block(figure.title, draw(figure, TALL if len(figure.panels) == 1 else SMALL))
        for figure in figures
    ]
    parts = [
        block("What differs", differing(comparison)),
        block(
            "When it leaps",
            draw(survival, TALL) if survival else None,
            leap_tables(leaps) if leaps else None,
        ),
        block("What changes: standardised effects", draw_forest(forest) if forest else None),
        block("What changes: numbers", effect_table(comparison)),
        fans,
        block("What it cost", costs(runs)),
        block("Run it again", command_line(command), experiments(runs), provenance(runs)),
    ]
    body = tag("section", style, header(comparison), parts, class_="study")
    return page(f"Saltus: {title(comparison.groups)}", body)


def title(groups: Sequence[Group]) -> str:
    """'B against A'; with many groups, how many there are."""
    first, others = groups[0].label, [group.label for group in groups[1:]]
    shown = others[0] if len(others) == 1 else f"{len(others)} others"
    return f"{shown} against {first}"


def header(comparison: Comparison) -> Markup:
    """Who is compared with whom, over how many seeds, and what to bear in mind."""
    groups = comparison.groups
    items = [
        tag(
            "li",
            group.label,
            tag("small", count(len(group.places), "seed"), ", reference" if not place else ""),
            class_=css_class(group.color),
        )
        for place, group in enumerate(groups)
    ]
    facts = [tag("div", tag("dt", name), tag("dd", text)) for name, text in headlines(comparison)]
    notes = tag("ul", [tag("li", note) for note in comparison.notes], class_="notes")
    return tag(
        "header",
        tag("p", "Comparison", class_="eyebrow"),
        tag("h2", title(groups)),
        tag("ul", items, class_="compared"),
        tag("dl", facts),
        notes if comparison.notes else None,
    )


def headlines(comparison: Comparison) -> list[tuple[str, str]]:
    """What one would say first: by how much the leap moves, and how many metrics differ."""
    facts: list[tuple[str, str]] = []
    leaps = comparison.leaps
    if leaps is not None:
        only, unit = leaps.contrasts[0], "step" if leaps.x_label == STEP else leaps.x_label
        if len(leaps.contrasts) == 1:
            later = only.difference
            seeds = count(later.count, "seed")
            said = f"{number(later.estimate)} {bounds_text(later, 4)}, {seeds}"
            if isnan(later.estimate):
                said = f"both medians lie beyond the budget, {seeds}"
            facts.append((f"Median leap, later by ({unit}s)" if unit == "step" else
                          f"Median leap, later by ({unit})", said))  # fmt: skip
        facts.append(("Log-rank p", p_text(leaps.overall.best)))
    tested = [each for each in comparison.effects if isfinite(each.adjusted)]
    if tested:
        clear = sum(each.adjusted < 0.05 for each in tested)
        facts.append(("Differences with p < 0.05 after Holm", f"{clear} of {len(tested)} tested"))
    return facts


def differing(comparison: Comparison) -> Markup:
    """The experiments field by field, where they are not the same."""
    if not comparison.differing:
        return tag("p", "Nothing: the same experiment with the same seeds.", class_="reason")
    head = [tag("th", "Field", scope="col")]
    head += [tag("th", g.label, scope="col", class_=css_class(g.color)) for g in comparison.groups]
    rows = [
        tag("tr", tag("th", field, scope="row"), [tag("td", value) for value in values])
        for field, values in comparison.differing.items()
    ]
    table = tag("table", tag("thead", tag("tr", head)), tag("tbody", rows), class_="sides")
    note = "Every other field of the experiments is the same."
    return tag("div", tag("div", table, class_="scroll"), tag("p", note, class_="caption"))


def leap_tables(leaps: LeapComparison) -> list[Markup]:
    """Each group's leaps, and each group against the reference."""
    unit = "step" if leaps.x_label == STEP else leaps.x_label
    own = [
        _row(
            each.group,
            [
                ("Seeds", number(each.times.count)),
                ("Leapt within the budget", [_interval(each.share, 3), _part(each.times)]),
                (f"Median {unit} of the leap", _interval(each.median)),
            ],
        )
        for each in leaps.groups
    ]  # fmt: skip
    first, several = leaps.groups[0].group, len(leaps.contrasts) > 1
    against = [
        _row(
            each.group,
            [
                ("Median, later by", _interval(each.difference)),
                ("Ratio of medians", _interval(each.ratio)),
                (f"Mean up to {unit} {number(leaps.horizon)}, later by",
                 _interval(each.restricted)),
                ("Log-rank p, asymptotic", p_text(each.test.p)),
                ("Log-rank p, exact", p_text(each.test.exact)),
                *([("Exact p, Holm", p_text(each.adjusted))] if several else []),
                ("Seeds of both", number(each.difference.count)),
            ],
        )
        for each in leaps.contrasts
    ]  # fmt: skip
    name = title_of(leaps.series)
    word = "fall" if leaps.direction == "down" else "rise"
    caption = (
        f"A leap is the largest {word} of {name[:1].lower()}{name[1:]} out of a plateau. In "
        "brackets: 95 % intervals over seeds (shares: Wilson; medians: Brookmeyer and Crowley). "
        "∞: later than the budget, if ever."
    )
    overall = ""
    if several:
        found = leaps.overall
        overall = (
            f" All {len(leaps.groups)} groups at once: log-rank p {p_text(found.p)}, "
            f"exact {p_text(found.exact)}."
        )
    about = (
        f"Differences are against {first.label}: positive where the group leaps later. Intervals: "
        "bootstrap over the seeds of both groups; – where both medians are infinite. The mean is "
        "that of min(time to the leap, "
        f"{unit} {number(leaps.horizon)}), which counts seeds that never leapt; up to there all "
        "groups were watched. Exact p: the share of relabellings of the seeds that differ as much. "
        f"The tests take the groups as independent.{overall}"
    )
    return [
        _table("Group", own), tag("p", caption, class_="caption"),
        _table(f"Against {first.label}", against), tag("p", about, class_="caption"),
    ]  # fmt: skip


def effect_table(comparison: Comparison) -> Markup:
    """Every metric in every group, the difference, and whether it could be chance."""
    reference, several = comparison.groups[0], len(comparison.groups) > 2
    rows, last = [], ""
    for each in comparison.effects:
        name = title_of(each.metric)
        code = tag("code", each.metric) if name != each.metric else None
        head = [tag("span", name), code] if each.metric != last else tag("small", "the same")
        rows.append(
            tag(
                "tr",
                tag("th", head, scope="row", class_="metric"),
                tag("td", at_text(each), data_name="Read at"),
                tag("td", _seeds(each.effect.reference), data_name=reference.label),
                tag(
                    "td",
                    tag("span", each.group.label, class_=f"of {css_class(each.group.color)}")
                    if several
                    else None,
                    " " if several else None,
                    _seeds(each.effect.other),
                    data_name="Compared" if several else each.group.label,
                ),
                tag(
                    "td",
                    _seeds(each.effect.difference, "pair" if each.effect.paired else "seed"),
                    data_name="Difference",
                ),
                tag("td", _interval(each.effect.standardised), data_name="Hedges' g"),
                tag("td", p_text(each.effect.p), data_name="p", class_="p"),
                tag("td", p_text(each.adjusted), data_name="p, Holm", class_="p"),
            )
        )
        last = each.metric
    other = "Compared" if several else comparison.groups[1].label
    names = ("Metric", "Read at", reference.label, other, "Difference", "Hedges' g", "p", "p, Holm")
    head = tag("thead", tag("tr", [tag("th", name, scope="col") for name in names]))
    table = tag("table", head, tag("tbody", rows), class_="measures")
    return tag(
        "div", tag("div", table, class_="scroll"), tag("p", _method(comparison), class_="caption")
    )


def at_text(each: MetricEffect) -> str:
    """'300', or '300 and 250' where the groups were not read at the same place."""
    first, second = each.at
    alike = abs(first - second) <= 1e-6 * max(abs(first), abs(second))
    return number(first, 6) if alike else f"{number(first, 6)} and {number(second, 6)}"


def p_text(p: float | None) -> str:
    """'0.031', '< 0.001', '–' where there is no test."""
    if p is None or not isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else number(p, 2)


def runs_of(groups: Sequence[Group]) -> dict[str, Run]:
    """The runs behind the groups by labels that tell them apart."""
    runs = list({group.run.path.resolve(): group.run for group in groups}.values())
    return dict(zip(run_labels(runs), runs, strict=True))


def _method(comparison: Comparison) -> str:
    where = (
        "Each group is read at its own end."
        if comparison.at_end
        else "Read at: the last step at which all groups were read, so that none is ahead for "
        "having trained longer."
    )
    kinds = {each.effect.paired for each in comparison.effects}
    tests = {True: "pair by pair where both groups have the same seeds (Student's t)",
             False: "as independent samples (Welch's t)"}  # fmt: skip
    how = " and otherwise ".join(tests[kind] for kind in (True, False) if kind in kinds)
    tested = sum(isfinite(each.effect.p) for each in comparison.effects)
    return (
        f"{where} Means over seeds with 95 % intervals and the number of seeds; differences are "
        f"against {comparison.groups[0].label}, compared {how}. Holm: p adjusted for all "
        f"{count(tested, 'test')} of this table. –: no spread over seeds, or too few of them, and "
        "so no test."
    )


def _row(group: Group, cells: Sequence[tuple[str, object]]) -> tuple[Markup, list[str]]:
    names = [name for name, _ in cells]
    head = tag("th", group.label, scope="row", class_=css_class(group.color))
    return tag("tr", head, [tag("td", cell, data_name=name) for name, cell in cells]), names


def _table(corner: str, rows: Sequence[tuple[Markup, list[str]]]) -> Markup:
    names = [corner, *rows[0][1]]
    head = tag("thead", tag("tr", [tag("th", name, scope="col") for name in names]))
    return tag("table", head, tag("tbody", [row for row, _ in rows]), class_="measures")


def _interval(interval: Interval, digits: int = 4) -> list[object]:
    """Unlike that of an effect, the interval of a time may be infinite at one end."""
    estimate = tag("b", number(interval.estimate, digits))
    if isnan(interval.estimate):
        return [estimate]
    return [estimate, " ", tag("span", bounds_text(interval, digits), class_="bounds")]


def _part(times: Times) -> Markup:
    return tag("small", f"{times.leaps} of {times.count}")


def _seeds(interval: Interval, noun: str = "seed") -> list[object]:
    return [*_interval(interval), " ", tag("small", count(interval.count, noun))]
