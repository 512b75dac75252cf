"""The ledger: what a paper says, what was measured, and the verdict, claim by claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite

from saltus.report.markup import Markup, tag
from saltus.report.text import count, number
from saltus.studies import Finding, Quantity, Verdict

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
    names = ("#", "Claim", "The paper", "Accepted", "Measured over seeds", "Verdict")
    head = tag("thead", tag("tr", [tag("th", name, scope="col") for name in names]))
    body = tag("tbody", [row(finding) for finding in findings])
    note = (
        "Measured: estimate with its 95 % interval over seeds (a mean with Student's t, a share "
        "of seeds with Wilson's). Shaded on the strip: what is accepted. Reproduced: the whole "
        "interval lies inside; contradicted: it lies outside; inconclusive: it crosses a border, "
        "or there are too few seeds."
    )
    table = tag("table", head, body, class_="ledger")
    return tag("div", table, tag("p", note, class_="caption"), class_="ledger-box")


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
    """One quantity: its name, strip, estimate, interval, seeds."""
    interval = quantity.interval
    bounds = (
        f"[{number(interval.low)}, {number(interval.high)}]"
        if isfinite(interval.low) and isfinite(interval.high)
        else "no interval"
    )
    seeds = (
        count(quantity.seeds, "seed")
        if interval.count == quantity.seeds
        else f"{interval.count} of {count(quantity.seeds, 'seed')} with a value"
    )
    return tag(
        "div",
        tag("div", tag("span", quantity.name), tag("small", seeds), class_="name"),
        strip(quantity),
        tag(
            "div",
            tag("b", number(interval.estimate)),
            " ",
            tag("span", bounds, class_="bounds"),
            class_="estimate",
        ),
        class_=f"quantity {slug(quantity.verdict)}",
        title=f"accepted: {quantity.accepted}; {quantity.verdict.value}",
    )


def strip(quantity: Quantity) -> Markup | None:
    """The interval as a line over the accepted range as a shaded band; None without an interval."""
    interval, accepted = quantity.interval, quantity.accepted
    ends = [interval.low, interval.high, accepted.low, accepted.high]
    finite = [end for end in ends if isfinite(end)]
    if not (isfinite(interval.low) and isfinite(interval.high)):
        return None
    low, high = min(finite), max(finite)
    air = 0.18 * (high - low) or 1.0
    low, high = low - air, high + air

    def percent(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 1)

    left, right = percent(accepted.low), percent(accepted.high)
    start, end = percent(interval.low), percent(interval.high)
    band = "accepted" if isfinite(accepted.low) else "accepted open-low"
    band += "" if isfinite(accepted.high) else " open-high"
    return tag(
        "div",
        tag("i", class_=band, style=f"left:{left}%;width:{right - left:.1f}%"),
        tag("i", class_="interval", style=f"left:{start}%;width:{end - start:.1f}%"),
        tag("i", class_="dot", style=f"left:{percent(interval.estimate)}%"),
        class_="strip",
        aria_hidden="true",
    )
