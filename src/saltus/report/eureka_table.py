"""The Eureka-moments of arms, or of a sweep's settings: one survival figure and one table.

    def figures(arms):
        yield from eureka_figures(arms, reference="softmax")

What the numbers are: `transitions/statistics/eureka.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from saltus.errors import SaltusError
from saltus.report.figure import Figure
from saltus.report.gather import groups_of
from saltus.report.survival import survival_figure
from saltus.report.tables.record import Cell, Row, Table, interval_cell
from saltus.report.text import count, listed, number
from saltus.runs import Run
from saltus.transitions.statistics.eureka import (
    ACCURACY,
    Criterion,
    EurekaComparison,
    EurekaContrast,
    EurekaMoments,
    EurekaSummary,
    eureka_comparison,
    eureka_moments,
)

SERIES = "evaluation/accuracy"
EVENT = "Eureka-moment"
COLUMNS = (
    "Eureka-ratio", "Runs", "Budget, steps", "Median e*", "Mean e*, successes alone",
    "Mean e*, censored", "Saturation", "10–90 %",
)  # fmt: skip


def eureka_figures(
    arms: Mapping[str, Run],
    series: str = SERIES,
    criterion: Criterion = ACCURACY,
    reference: str | None = None,
    title: str = "Eureka-moments",
) -> tuple[Figure, Table]:
    """Kaplan-Meier curves of all groups, and the table; `reference` None: the first group.

    A group is an arm, or a setting of an arm whose members vary in some. Raises SaltusError where
    an arm has not recorded the series, and for a reference that is not there.
    """
    found = eureka_comparison(moments_by_group(arms, series, criterion), reference)
    colors = colors_of(arms)
    times = {label: each.times for label, each in found.moments.items()}
    return (
        survival_figure(times, EVENT, colors=colors),
        eureka_table(title, found, said(series, criterion), colors=colors),
    )


def moments_by_group(
    arms: Mapping[str, Run], series: str = SERIES, criterion: Criterion = ACCURACY
) -> dict[str, EurekaMoments]:
    """The Eureka-moments of every group of the arms, in their order.

    Raises SaltusError where an arm has not recorded the series.
    """
    found = {}
    for groups in groups_of(arms).values():
        for group in groups:
            read = group.run.series(series)
            if not len(read.steps):
                raise SaltusError(f"{group.run.name}: {series} has no reading yet")
            found[group.label] = eureka_moments(
                read.steps, read.values[list(group.places)], criterion
            )
    return found


def colors_of(arms: Mapping[str, Run]) -> dict[str, int]:
    """The places in the palette that the groups have in every figure of these arms."""
    return {each.label: each.color for groups in groups_of(arms).values() for each in groups}


def eureka_table(
    title: str,
    found: EurekaComparison,
    *notes: str,
    colors: Mapping[str, int] | None = None,
) -> Table:
    """A row per arm: ratio, runs and budget, the two means, median, lengths, and log-rank p."""
    several = len(found.summaries) > 1
    against = (f"Log-rank p against {found.reference}",) if several else ()
    rows = tuple(
        Row(
            label,
            (*cells(own), *(p_cell(found.contrasts.get(label)) for _ in against)),
            None if colors is None else colors.get(label),
        )
        for label, own in found.summaries.items()
    )
    return Table(title, (*COLUMNS, *against), rows, caption(found, *notes), "arm" * several)


def cells(own: EurekaSummary) -> tuple[Cell, ...]:
    """One arm, column by column."""
    ratio, budget = own.ratio, own.budget
    came = round(ratio.estimate * own.runs)
    share = f"[{100 * ratio.low:.0f}, {100 * ratio.high:.0f}] %"
    return (
        Cell(f"{100 * ratio.estimate:.0f} %", share, ratio),
        Cell(str(own.runs), f"{came} with one", float(own.runs)),
        Cell(f"{budget:,.0f}", "", budget),
        interval_cell(own.median, budget),
        _counted(interval_cell(own.successes), came, "run"),
        interval_cell(own.censored),
        interval_cell(own.saturation),
        interval_cell(own.abruptness),
    )


def p_cell(contrast: EurekaContrast | None) -> Cell:
    """The p of an arm, and Holm's for all of them; a dash for the reference."""
    if contrast is None:
        return Cell("–")
    how = "asymptotic" if contrast.test.exact is None else "permutation"
    adjusted = f"Holm {contrast.adjusted:.2g}, {how}"
    return Cell(f"{contrast.test.best:.2g}", adjusted, contrast.test.best)


def said(series: str, criterion: Criterion) -> str:
    """Which readings are Eureka-moments, in a sentence."""
    way = "at or above" if criterion.rising else "at or below"
    more = count(criterion.confirmations, "reading")
    held = f", and so are the next {more}" if criterion.confirmations else ""
    smooth = f" (moving average, decay {criterion.smoothing:g} per step)"
    return (
        f"e*: the first step at which {series}{smooth if criterion.smoothing else ''} is {way} "
        f"{number(criterion.threshold)}, the middle of {number(criterion.plateau)} and "
        f"{number(criterion.solved)}{held}."
    )


def caption(found: EurekaComparison, *notes: str) -> str:
    """What the columns are, whose definitions they are, and which runs need a word."""
    text = [
        *notes,
        "Eureka-ratio: runs with an e* within the budget over all runs (Wilson).",
        "The two means answer different questions: over successful runs alone, and over all runs "
        "with failed ones counted at the budget (bootstrap over runs).",
        "Medians, also of the saturation length (from the plateau's first reading to e*) and of "
        "the steps from 10 % to 90 % of the gap: from survival curves (Brookmeyer and Crowley); "
        "∞ or '>' where fewer than half came so far within the budget.",
    ]
    if found.contrasts:
        text.append("Arms that share their seeds are tested as independent.")
        if len({each.budget for each in found.summaries.values()}) > 1:
            text.append("Arms of different budgets are tested up to the shorter.")
    text.append(
        "All intervals: 95 %. The definitions are this project's; the paper's are not known."
    )
    for what, name in (
        ("crossed the threshold too late to be confirmed, counted as failed", "pending"),
        ("diverged, counted as failed", "diverged"),
    ):
        few = {arm: getattr(own, name) for arm, own in found.summaries.items()}
        who = [f"{arm}: {count(amount, 'run')}" for arm, amount in few.items() if amount]
        if who:
            text.append(f"{listed(who)} {what}.")
    return " ".join(text)


def _counted(cell: Cell, amount: int, noun: str) -> Cell:
    """With how many runs it is the mean of."""
    if cell.text == "–":
        return cell
    return Cell(cell.text, f"{cell.below}, {count(amount, noun)}", cell.value)
