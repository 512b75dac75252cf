"""The ledger: what a paper says, what was measured, and the verdict, claim by claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from math import isfinite

from saltus.report.markup import Markup, tag
from saltus.report.text import count, listed, number, percent
from saltus.studies import Finding, Kind, Quantity, Verdict

# Shape, word and colour each say the verdict, so that none of them is needed.
ICONS = {
    Verdict.REPRODUCED: "M3 8.5l3.2 3.2L13 4.8",
    Verdict.CONTRADICTED: "M4 4l8 8M12 4l-8 8",
    Verdict.INCONCLUSIVE: "M2.5 9.5c1.8-4 3.6-4 5.5-1.5s3.7 2.5 5.5-1.5",
    Verdict.NOT_RUN: "M4 8h8",
}


def badge(verdict: Verdict, amount: int | None = None) -> Markup:
    """A verdict as a badge, with a number before it where verdicts are counted."""
    icon = tag("svg", tag("path", d=ICONS[verdict]), viewBox="0 0 16 16", aria_hidden="true")
    text = verdict.value if amount is None else f"{amount} {verdict.value}"
    return tag("span", icon, text, class_=f"badge {slug(verdict)}")


def slug(verdict: Verdict) -> str:
    """The class of a verdict in page.css."""
    return verdict.value.replace(" ", "-")


def tally(findings: Iterable[Finding]) -> Markup:
    """How many claims ended with which verdict, as a bar and as badges."""
    counts = Counter(finding.verdict for finding in findings)
    present = [verdict for verdict in Verdict if counts[verdict]]
    bar = [tag("i", class_=slug(v), style=f"flex:{counts[v]}") for v in present]
    badges = [badge(verdict, counts[verdict]) for verdict in present]
    return tag("div", tag("div", bar, class_="bar", aria_hidden="true"), badges, class_="tally")


def ledger(findings: Sequence[Finding]) -> Markup:
    """The table; on a phone every row becomes a card (page.css)."""
    names = ("#", "Claim", "The paper", "Accepted", "Measured", "Verdict")
    head = tag("thead", tag("tr", [tag("th", name, scope="col") for name in names]))
    body = tag("tbody", [row(finding) for finding in findings])
    kinds = {quantity.kind for finding in findings for quantity in finding.quantities}
    table = tag("table", head, body, class_="ledger")
    return tag("div", table, tag("p", legend(kinds), class_="caption"), class_="ledger-box")


def legend(kinds: Collection[Kind]) -> str:
    """How to read the ledger, as far as its kinds of quantities need it."""
    methods = {
        Kind.MEAN: "a mean with Student's t",
        Kind.SHARE: "a share of seeds with Wilson's",
        Kind.MEDIAN: "a median with a bootstrap interval",
    }
    used = [method for kind, method in methods.items() if kind in kinds]
    notes = []
    if used:
        notes.append(
            f"In brackets: the estimate's 95 % interval over seeds ({listed(used)}). Reproduced: "
            "the whole interval lies inside what is accepted; contradicted: it lies outside; "
            "inconclusive: it crosses a border, or there are too few seeds."
        )
    if Kind.EVERY in kinds:
        notes.append(
            "Seeds inside: each seed must lie inside what is accepted, or the share of them in "
            "parentheses. One seed outside contradicts (for a share: as many as put its Wilson "
            "interval below it); fewer than four seeds cannot reproduce. Beside the median: the "
            "smallest and the largest seed."
        )
    if Kind.EXACT in kinds:
        notes.append("No seeds: a deterministic number, which lies inside or not.")
    return " ".join(["Shaded on the strips: what is accepted.", *notes])


def row(finding: Finding) -> Markup:
    """One claim."""
    claim = finding.claim
    if finding.quantities:
        measured = [measurement(quantity) for quantity in finding.quantities]
    else:
        measured = [tag("p", finding.reason or "nothing was measured", class_="reason")]
    statement = [tag("p", claim.statement, class_="statement"), tag("small", claim.source)]
    return tag(
        "tr",
        tag("td", claim.number, class_="number"),
        tag("td", statement, class_="claim"),
        tag("td", claim.paper, data_name="The paper"),
        tag("td", claim.tolerance, data_name="Accepted"),
        tag("td", measured, class_="measured"),
        tag("td", badge(finding.verdict), class_="verdict"),
        class_=slug(finding.verdict),
    )


def measurement(quantity: Quantity) -> Markup:
    """One quantity: its name, strip, estimate, what stands beside it, seeds."""
    median = quantity.kind in (Kind.MEDIAN, Kind.EVERY)
    estimate = tag(
        "div",
        tag("small", "median ") if median else None,
        tag("b", number(quantity.estimate, 6 if quantity.kind is Kind.EXACT else 4)),
        " ",
        tag("span", beside(quantity), class_="bounds"),
        class_="estimate",
    )
    return tag(
        "div",
        tag("div", tag("span", quantity.name), tag("small", seeds_of(quantity)), class_="name"),
        strip(quantity),
        estimate,
        class_=f"quantity {slug(quantity.verdict)}",
        title=f"accepted: {quantity.accepted}; {quantity.verdict.value}",
    )


def beside(quantity: Quantity) -> str:
    """'[0.75, 1.25]' for an interval, '(0.75 to 1.25)' over seeds, '' for an exact number."""
    if quantity.kind is Kind.EXACT:
        return ""
    ends = (quantity.low, quantity.high)
    if not all(map(isfinite, ends)):
        return "no interval"
    low, high = map(number, ends)
    return f"({low} to {high})" if quantity.kind is Kind.EVERY else f"[{low}, {high}]"


def seeds_of(quantity: Quantity) -> str:
    """'8 seeds', '7 of 8 seeds with a value', '19 of 20 seeds inside (≥ 95 %)', 'no seeds'."""
    seeds, lost = quantity.seeds, quantity.seeds - quantity.with_value
    if quantity.kind is Kind.EXACT:
        return "no seeds"
    if quantity.kind is Kind.EVERY:
        wanted = quantity.share or 1.0
        return (
            f"{quantity.within} of {count(seeds, 'seed')} inside"
            + (f" (≥ {percent(wanted)})" if wanted < 1 else "")
            + (f", {lost} without a value" if lost else "")
        )
    return (
        f"{seeds - lost} of {count(seeds, 'seed')} with a value" if lost else count(seeds, "seed")
    )


def strip(quantity: Quantity) -> Markup | None:
    """What was measured over the accepted range as a shaded band; None where nothing was.

    An interval is a line with a dot. Where every seed counts, each is a tick.
    """
    accepted, middle = quantity.accepted, quantity.estimate
    alone = quantity.kind is Kind.EXACT
    start, end = (middle, middle) if alone else (quantity.low, quantity.high)
    if not (isfinite(start) and isfinite(end)):
        return None
    finite = [value for value in (start, end, accepted.low, accepted.high) if isfinite(value)]
    low, high = min(finite), max(finite)
    air = 0.18 * (high - low) or 1.0
    low, high = low - air, high + air

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 1)

    left, right = place(accepted.low), place(accepted.high)
    band = "accepted" if isfinite(accepted.low) else "accepted open-low"
    band += "" if isfinite(accepted.high) else " open-high"
    shapes = [tag("i", class_=band, style=f"left:{left}%;width:{right - left:.1f}%")]
    if not alone:
        width = place(end) - place(start)
        shapes.append(tag("i", class_="interval", style=f"left:{place(start)}%;width:{width:.1f}%"))
    if quantity.kind is Kind.EVERY:
        ticks = {(place(v), v in accepted) for v in quantity.values if isfinite(v)}
        shapes += [
            tag("i", class_="tick" if inside else "tick out", style=f"left:{at}%")
            for at, inside in sorted(ticks)
        ]
    else:
        shapes.append(tag("i", class_="dot", style=f"left:{place(middle)}%"))
    return tag("div", shapes, class_="strip", aria_hidden="true")
