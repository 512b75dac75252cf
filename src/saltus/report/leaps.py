"""When it leaps: survival curves by arm, and what is known of the plateaus and the leaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from saltus.errors import SaltusError
from saltus.report.detected import Leaps, comparable, detected
from saltus.report.figure import STEP, Figure
from saltus.report.gather import groups_of
from saltus.report.markup import Markup, tag
from saltus.report.style import css_class, dash
from saltus.report.survival import survival_figure
from saltus.report.svg import draw, swatch
from saltus.report.text import count, number
from saltus.runs import Run
from saltus.studies import Study
from saltus.transitions import (
    Interval,
    Times,
    leap_probability,
    log_rank,
    median_difference,
    median_interval,
    median_time,
)

LABEL = "leap of the training loss"
HEIGHT = 320  # pixels
BESIDE = 4  # groups: with more the table stands below the figure


@dataclass(frozen=True)
class Leaping:
    """Groups of seeds that share one clock, and when each of their seeds leapt."""

    label: str  # what the times are of
    x_label: str
    times: Mapping[str, Times]
    colors: Mapping[str, int]
    found: Mapping[str, Leaps] = field(default_factory=dict)  # {}: times of the study's own

    @property
    def any(self) -> bool:
        return any(each.leaps for each in self.times.values())

    def figure(self) -> Figure:
        """The survival curves of the groups."""
        return survival_figure(self.times, self.label, x_label=self.x_label, colors=self.colors)


def leapings(arms: Mapping[str, Run], study: Study | None = None) -> list[Leaping]:
    """One for each clock that the arms run by; [] where nothing was recorded.

    The times are those that the study names, or the largest leap of the training loss. Raises
    SaltusError where a series that the study needs is missing.
    """
    groups = [group for groups in groups_of(arms).values() for group in groups]
    colors = {group.label: group.color for group in groups}
    if study is not None and study.times is not None:
        times = study.times(arms)
        free = (place for place in range(len(colors) + len(times)) if place not in colors.values())
        colors = {label: colors[label] if label in colors else next(free) for label in times}
        return [Leaping(study.times_label, study.times_clock, times, colors)] if times else []
    by_clock: dict[str, dict[str, Leaps]] = {}
    for group in groups:
        leaps = detected(group.run, group.places)
        if leaps is not None:
            by_clock.setdefault(leaps.clock.label, {})[group.label] = leaps
    return [
        Leaping(LABEL, clock, {label: each.times for label, each in found.items()}, colors, found)
        for clock, every in by_clock.items()
        if (found := comparable(every))
    ]


def leap_blocks(found: list[Leaping]) -> list[Markup]:
    """Figure and table of each; one line where no seed has leapt."""
    return [_block(each) for each in found]


def leap_figures(found: list[Leaping]) -> list[Figure]:
    """The figures among them."""
    return [each.figure() for each in found if each.any]


def try_leapings(arms: Mapping[str, Run], study: Study | None = None) -> tuple[list[Leaping], str]:
    """`leapings`, and why there are none ('': there is no reason to give)."""
    try:
        return leapings(arms, study), ""
    except SaltusError as error:
        return [], str(error)


def leap_table(leaping: Leaping) -> Markup:
    """A column per group: every number with its interval, and the seeds it stands for."""
    columns = {label: _cells(leaping, label) for label in leaping.times}
    head = [
        tag("th", swatch(dash(leaping.colors[label])), label, scope="col",
            class_=css_class(leaping.colors[label]))
        for label in columns
    ]  # fmt: skip
    rows = [
        tag(
            "tr", tag("th", name, scope="row"), [tag("td", each[name]) for each in columns.values()]
        )
        for name in next(iter(columns.values()))
    ]
    table = tag("table", tag("thead", tag("tr", tag("td"), head)), tag("tbody", rows))
    box = tag("div", table, class_="scroll")
    return tag("div", box, tag("p", _legend(leaping), class_="caption"), class_="leap-table")


def _block(leaping: Leaping) -> Markup:
    if not leaping.any:
        seeds = count(sum(each.count for each in leaping.times.values()), "seed")
        text = f"No {leaping.label} in any of {seeds}, within the budget."
        return tag("p", text, class_="reason")
    beside = " beside" if len(leaping.times) <= BESIDE else ""
    drawn = draw(leaping.figure(), HEIGHT)
    return tag("div", drawn, leap_table(leaping), class_=f"leaping{beside}")


def _cells(leaping: Leaping, label: str) -> dict[str, Markup]:
    """The cells of one group by the names of their rows."""
    times = leaping.times[label]
    middle = median_time(times)
    cells = {
        "Seeds": _cell(str(times.count)),
        "Got there": _share(times),
        f"Median {_unit(leaping)}": _cell(number(middle.estimate), _ends(middle)),
    }
    first = next(iter(leaping.times))
    if len(leaping.times) > 1:
        cells |= _against(times, leaping.times[first], first, label == first)
    if leaping.found:
        cells |= _shape(leaping.found[label])
    return cells


def _share(times: Times) -> Markup:
    share = leap_probability(times)
    ends = f"[{100 * share.low:.0f}, {100 * share.high:.0f}] %"
    return _cell(f"{times.leaps} of {times.count}", ends)


def _against(times: Times, others: Times, first: str, same: bool) -> dict[str, Markup]:
    """How much later than the first group, and whether that is more than chance."""
    names = (f"Later than {first} by", "Log-rank p")
    if same or not times.count or not others.count:
        return dict.fromkeys(names, _cell("–"))
    apart, test = median_difference(times, others), log_rank(times, others)
    how = "asymptotic" if test.exact is None else "permutation"
    return dict(zip(names, (_cell(number(apart.estimate), _ends(apart)),
                            _cell(f"{test.best:.2g}", how)), strict=True))  # fmt: skip


def _shape(leaps: Leaps) -> dict[str, Markup]:
    """Plateau, height and width of each seed's largest leap: medians over the seeds that leapt."""
    leapt = [each for each in leaps.largest if not each.censored]
    levels = [each.plateau.level for each in leapt if each.plateau is not None]
    heights = [each.height for each in leapt]
    widths = [each.width for each in leapt if each.width is not None]
    found = {"Plateau": levels, "Height": heights, "Width, 10–90 %": widths}
    return {name: _median(values, len(leaps.found)) for name, values in found.items()}


def _median(values: list[float], seeds: int) -> Markup:
    if not values:
        return _cell("–")
    middle = median_interval(values)
    some = f", {middle.count} of {seeds}" if middle.count < seeds else ""
    return _cell(number(middle.estimate), _ends(middle) + some)


def _ends(interval: Interval) -> str:
    if interval.low == inf:
        return "beyond the budget"
    if (interval.low, interval.high) == (-inf, inf):
        return "no interval"
    return f"[{number(interval.low)}, {number(interval.high)}]"


def _cell(text: str, below: str = "") -> Markup:
    return tag("span", tag("b", text), tag("small", below) if below else None)


def _unit(leaping: Leaping) -> str:
    return "step" if leaping.x_label == STEP else leaping.x_label.partition(" =")[0]


def _legend(leaping: Leaping) -> str:
    text = (
        f"Got there: seeds that came to the {leaping.label} within the budget, with Wilson's "
        "interval of their share. Median: from the survival curve, with Brookmeyer and Crowley's "
        "interval; ∞ where fewer than half got there."
    )
    if len(leaping.times) > 1:
        text += " Later by: difference of the medians, bootstrap over seeds."
    if leaping.found:
        text += (
            " Plateau, height and width (from 10 % to 90 % of the way): medians over the seeds "
            "that leapt, bootstrap intervals. Leaps of less than half the height of those of the "
            "arm that leaps highest do not count."
        )
    return f"{text} All intervals: 95 %."
