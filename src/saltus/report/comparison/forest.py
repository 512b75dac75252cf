"""A forest plot: the standardised effect on each metric with its interval, around zero.

One record, drawn into the page as strips of HTML, and into files by matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from saltus.errors import SaltusError
from saltus.report import style
from saltus.report.axes import Axis, tick_label
from saltus.report.comparison.effects import MetricEffect
from saltus.report.markup import Markup, tag
from saltus.report.names import title_of
from saltus.report.publication import SETTINGS, SUFFIXES
from saltus.report.save import save
from saltus.report.text import count, number
from saltus.transitions.statistics.intervals import Interval

LEAST, REACH = 1.0, 1.6  # the axis reaches as far at least; so many times the largest effect
ROW, HEAD, WIDTH = 0.22, 1.0, 6.8  # inches


@dataclass(frozen=True)
class ForestRow:
    """One effect: what on, of which group, and how large."""

    metric: str
    group: str
    color: int
    effect: Interval


@dataclass(frozen=True)
class Forest:
    """Effects on one axis, metrics from top to bottom, and what to say below."""

    title: str
    reference: str
    rows: tuple[ForestRow, ...]
    caption: str

    @property
    def reach(self) -> float:
        """The axis goes from -reach to reach; longer intervals leave it, and are seen to."""
        ends = [abs(end) for row in self.rows for end in (row.effect.low, row.effect.high)]
        largest = max((abs(row.effect.estimate) for row in self.rows), default=0.0)
        return max(LEAST, min(max(filter(isfinite, ends), default=LEAST), REACH * largest) * 1.05)

    @property
    def several(self) -> bool:
        """Whether rows need the name of their group."""
        return len({row.group for row in self.rows}) > 1


def forest_of(effects: Sequence[MetricEffect], reference: str) -> Forest | None:
    """The effects that have a standardised size, in the given order; None where none has."""
    rows = tuple(
        ForestRow(each.metric, each.group.label, each.group.color, each.effect.standardised)
        for each in effects
        if isfinite(each.effect.standardised.estimate)
    )
    if not rows:
        return None
    left_out = len(effects) - len(rows)
    kinds = {(each.effect.paired, each.effect.standardised.count) for each in effects}
    seeds = " or ".join(
        count(amount, "pair" if paired else "seed") + (" of equal seeds" if paired else "")
        for paired, amount in sorted(kinds)
    )
    caption = (
        f"Hedges' g against {reference}: the difference of the means in standard deviations of "
        f"one group; right of 0 the values are higher than in {reference}. Lines: 95 % interval "
        f"({seeds}), not adjusted for the number of metrics; an arrow leaves the frame."
    )
    if left_out:
        caption += (
            f" {count(left_out, 'comparison')} without spread or with too few seeds: left out."
        )
    return Forest("Standardised effect on every metric", reference, rows, caption)


def draw_forest(forest: Forest) -> Markup:
    """Strips with a common axis; on a phone each below its name (compare.css)."""
    reach = forest.reach
    axis = Axis(-reach, reach)
    marks = [
        tag("span", tick_label(v), style=f"left:{100 * axis.place(v):.2f}%") for v in axis.ticks(4)
    ]
    scale = tag("div", tag("div", marks, class_="forest-axis"), class_="forest-row scale")
    by_metric: dict[str, list[ForestRow]] = {}
    for row in forest.rows:
        by_metric.setdefault(row.metric, []).append(row)
    rows = [
        tag(
            "div",
            _name(metric),
            tag("div", tag("i", class_="zero"), [_strip(row, axis) for row in own],
                class_="forest-strips", aria_hidden="true"),
            tag("div", [_number(row) for row in own], class_="forest-numbers"),
            class_="forest-row",
        )
        for metric, own in by_metric.items()
    ]  # fmt: skip
    groups = {row.group: row.color for row in forest.rows} if forest.several else {}
    legend = [tag("li", label, class_=style.css_class(color)) for label, color in groups.items()]
    return tag(
        "figure",
        tag("ul", legend, class_="compared") if legend else None,
        tag("div", scale, rows, scale, class_="forest"),
        tag("figcaption", forest.caption),
        aria_label=forest.title,
    )


def bounds_text(interval: Interval, digits: int = 3) -> str:
    """'[0.2, 1.4]'; 'no interval' where too few seeds bound nothing."""
    if (interval.low, interval.high) == (-inf, inf):
        return "no interval"
    return f"[{number(interval.low, digits)}, {number(interval.high, digits)}]"


def write_forest(forest: Forest, path: Path) -> Path:
    """The same as SVG, PDF or PNG by the suffix of `path`."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SaltusError(f"figure: suffix '{suffix}' is not allowed: {', '.join(SUFFIXES)}")
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Drawing

    with rc_context(SETTINGS):
        size = (WIDTH, HEAD + ROW * len(forest.rows))
        drawing = Drawing(figsize=size, layout="constrained")
        _draw(drawing, forest)
        file = io.BytesIO()
        undated: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        drawing.savefig(
            file, format=suffix[1:], dpi=300, bbox_inches="tight", metadata=undated.get(suffix, {})
        )
    return save(path, file.getvalue())


def _draw(drawing: Any, forest: Forest) -> None:
    from textwrap import fill

    axes, reach = drawing.subplots(), forest.reach
    axes.axvline(0.0, color=style.SOFT, linewidth=0.7, zorder=1)
    known: set[str] = set()
    for place, row in enumerate(forest.rows):
        if forest.several and place and forest.rows[place - 1].metric != row.metric:
            axes.axhline(place - 0.5, color=style.SOFT, alpha=0.25, linewidth=0.4, zorder=0)
        color, found = style.color(row.color), row.effect
        low, high = max(found.low, -reach), min(found.high, reach)
        axes.plot([low, high], [place, place], color=color, linewidth=1.3, solid_capstyle="butt")
        for end, beyond, marker in (
            (low, found.low < -reach, "<"),
            (high, found.high > reach, ">"),
        ):
            if beyond:
                axes.plot([end], [place], color=color, marker=marker, markersize=4, clip_on=False)
        label = None if row.group in known else row.group
        known.add(row.group)
        axes.plot([found.estimate], [place], "o", color=color, markersize=4.5, label=label)
        axes.annotate(
            f"{number(found.estimate, 3)} {bounds_text(found)}", (1.0, place), (6, 0),
            xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=6.5,
            color=style.SOFT, va="center", parse_math=False,
        )  # fmt: skip
    names = [
        "" if place and forest.rows[place - 1].metric == row.metric else title_of(row.metric)
        for place, row in enumerate(forest.rows)
    ]
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-reach, reach)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"Hedges' g against {forest.reference}", parse_math=False)
    axes.set_title(forest.title, loc="left", parse_math=False, pad=16 if forest.several else 6)
    if forest.several:
        legend = axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=6.5, borderaxespad=0.2
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    drawing.supxlabel(
        fill(forest.caption, 118),
        x=0.01,
        ha="left",
        fontsize=6.5,
        color=style.SOFT,
        parse_math=False,
    )


def _name(metric: str) -> Markup:
    title = title_of(metric)
    code = tag("code", metric) if title != metric else None
    return tag("div", tag("span", title), code, class_="forest-name")


def _number(row: ForestRow) -> Markup:
    bounds = tag("span", bounds_text(row.effect), class_="bounds")
    return tag("div", tag("b", number(row.effect.estimate, 3)), " ", bounds, title=row.group)


def _strip(row: ForestRow, axis: Axis) -> Markup:
    found = row.effect
    left, right = (100 * min(max(axis.place(end), 0.0), 1.0) for end in (found.low, found.high))
    shapes = [
        tag("i", class_="line", style=f"left:{left:.2f}%;width:{right - left:.2f}%"),
        tag("i", class_="beyond low") if found.low < axis.low else None,
        tag("i", class_="beyond high") if found.high > axis.high else None,
        tag("i", class_="point", style=f"left:{100 * axis.place(found.estimate):.2f}%"),
    ]
    return tag("div", shapes, class_=f"forest-strip {style.css_class(row.color)}")
