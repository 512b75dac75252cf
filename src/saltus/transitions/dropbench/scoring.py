"""The scoring rule of `saltus dropbench`: what counts as found, as false, and as not scored.

Finished series. A drop that a detector names *matches* a true leap if it lies within
max(3 points, the leap's 10-90 % width, 2 % of the budget) of the leap's 50 % step; each drop
matches one leap at most and each leap one drop, as many as possible. Drops without a leap are
false. Leaps lower than `FAINTEST` standard deviations of one point's noise are not scored: neither
to find them nor to miss them counts.

Live series. An alarm *belongs* to a leap if it is said between max(3 points, width) before the
leap's onset and max(20 points, width, 5 % of the budget) after its 90 % step. False alarms are
counted per million points that were read of null curves; those with learning-rate steps stand
apart, because not every live detector can be told of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from saltus.transitions.dropbench.curves import Labelled, Leap
from saltus.transitions.statistics.intervals import Interval, median_interval, share_interval

FAINTEST = 2.0  # height over the standard deviation of one point
# Recall is given by these ranges of the same ratio, above the lower and below the upper end.
RATIOS = {
    "2 to 4": (2.0, 4.0),
    "4 to 10": (4.0, 10.0),
    "10 to 30": (10.0, 30.0),
    "30 or more": (30.0, inf),
}
Window = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """How well a detector did on finished series. Every number has its interval and count."""

    curves: int
    precision: Interval  # share of the drops named that are leaps
    recall: Interval  # share of the leaps that are found
    alarmed: Interval  # share of null curves with a drop
    false_per_null_curve: Interval
    error: Interval  # median |named - true| step, in widths of the leap (a spacing at least)
    lag: Interval  # median of named - true step, in points
    recall_by_ratio: dict[str, Interval]
    recall_by_kind: dict[str, Interval]
    false_by_kind: dict[str, Interval]  # share of the curves of a kind with a false drop


@dataclass(frozen=True)
class LiveScore:
    """How well a detector did while the series grew."""

    curves: int
    false_per_million: Interval  # alarms per million points of null curves without rate steps
    precision: Interval
    detected: Interval  # share of the leaps to which an alarm belongs
    before_late: Interval  # share of the leaps for which it was said by their 90 % step
    delay_steps: Interval  # medians from the true onset to the alarm, over leaps detected
    delay_points: Interval
    delay_widths: Interval
    alarmed_by_rate_steps: Interval  # share of the null curves with rate steps
    detected_by_ratio: dict[str, Interval]
    detected_by_kind: dict[str, Interval]
    false_by_kind: dict[str, Interval]


def score(curves: Sequence[Labelled], named: Sequence[Sequence[float]]) -> Score:
    """Score the drop steps that a detector named, one sequence per curve.

    Curves that nobody has labelled (`leaps` None) are passed over.
    """
    tally = _Tally()
    false_on_null = alarmed = nulls = 0
    for each, drops in zip(curves, named, strict=True):
        if each.leaps is None:
            continue
        pairs, false = tally.add(each, drops, lambda leap, each=each: _near(each, leap))
        if not each.leaps:
            nulls, alarmed, false_on_null = nulls + 1, alarmed + (false > 0), false_on_null + false
        for drop, leap in pairs:
            tally.errors.append(abs(drop - leap.step) / max(leap.width, each.spacing))
            tally.lags.append((drop - leap.step) / each.spacing)
    return Score(
        curves=len(curves),
        precision=share_interval(tally.hits, tally.hits + tally.false),
        recall=share_interval(tally.hits, tally.leaps),
        alarmed=share_interval(alarmed, nulls),
        false_per_null_curve=rate_interval(false_on_null, nulls),
        error=_median(tally.errors),
        lag=_median(tally.lags),
        recall_by_ratio=_by_ratio(tally),
        recall_by_kind=_shares(tally.hits_by_kind, tally.leaps_by_kind),
        false_by_kind=_shares(tally.wrong, tally.curves),
    )


def score_live(curves: Sequence[Labelled], said: Sequence[Sequence[float]]) -> LiveScore:
    """Score alarms by the steps at which they were said; curves are passed over as in `score`."""
    tally = _Tally()
    delays, by_late, false_on_null, readings, rate_steps, alarmed = [], 0, 0, 0, 0, 0
    for each, alarms in zip(curves, said, strict=True):
        if each.leaps is None:
            continue
        pairs, false = tally.add(each, alarms, lambda leap, each=each: _soon(each, leap))
        if not each.leaps and each.changes:
            rate_steps, alarmed = rate_steps + 1, alarmed + (false > 0)
        elif not each.leaps:
            false_on_null, readings = false_on_null + false, readings + len(each.steps)
        for alarm, leap in pairs:
            delay, by_late = alarm - leap.onset, by_late + (alarm <= leap.late)
            delays.append((delay, delay / each.spacing, delay / max(leap.width, each.spacing)))
    steps, points, widths = zip(*delays, strict=True) if delays else ((), (), ())
    return LiveScore(
        curves=len(curves),
        false_per_million=rate_interval(false_on_null, readings / 1e6),
        precision=share_interval(tally.hits, tally.hits + tally.false),
        detected=share_interval(tally.hits, tally.leaps),
        before_late=share_interval(by_late, tally.leaps),
        delay_steps=_median(steps),
        delay_points=_median(points),
        delay_widths=_median(widths),
        alarmed_by_rate_steps=share_interval(alarmed, rate_steps),
        detected_by_ratio=_by_ratio(tally),
        detected_by_kind=_shares(tally.hits_by_kind, tally.leaps_by_kind),
        false_by_kind=_shares(tally.wrong, tally.curves),
    )


def match(points: Iterable[float], windows: Sequence[Window]) -> list[tuple[float, int]]:
    """As many pairs (point, index of a window that holds it) as possible, one to one.

    Points from left to right, each to the open window that closes first: for intervals on a line
    this greedy rule is a maximum matching (Glover 1967).
    """
    free = sorted(range(len(windows)), key=lambda index: windows[index][1])
    pairs = []
    for point in sorted(points):
        holds = (i for i in free if windows[i][0] <= point <= windows[i][1])
        if (index := next(holds, None)) is not None:
            free.remove(index)
            pairs.append((point, index))
    return pairs


def rate_interval(events: int, exposure: float, confidence: float = 0.95) -> Interval:
    """Events per unit of exposure with the exact Poisson interval (Garwood 1936)."""
    from scipy.stats import chi2

    if exposure <= 0:
        return Interval(float("nan"), 0.0, inf, 0, confidence)
    tail = (1 - confidence) / 2
    low = float(chi2.ppf(tail, 2 * events)) / 2 if events else 0.0
    high = float(chi2.ppf(1 - tail, 2 * events + 2)) / 2
    return Interval(events / exposure, low / exposure, high / exposure, events, confidence)


def is_scored(leap: Leap) -> bool:
    """Whether a leap stands out enough that finding or missing it says something."""
    return not leap.ratio < FAINTEST  # a ratio that is not known counts


def tolerance(curve: Labelled, leap: Leap) -> float:
    """How far from a leap's 50 % step a drop may be named, in steps."""
    return max(3 * curve.spacing, leap.width, 0.02 * curve.budget)


def _near(curve: Labelled, leap: Leap) -> Window:
    far = tolerance(curve, leap)
    return leap.step - far, leap.step + far


def _soon(curve: Labelled, leap: Leap) -> Window:
    early = max(3 * curve.spacing, leap.width)
    return leap.onset - early, leap.late + max(20 * curve.spacing, leap.width, 0.05 * curve.budget)


@dataclass
class _Tally:
    """What is counted alike for finished and for live series."""

    hits: int = 0
    false: int = 0
    leaps: int = 0
    curves: Counter[str] = field(default_factory=Counter)  # by kind, as all below
    wrong: Counter[str] = field(default_factory=Counter)  # curves with something false
    hits_by_kind: Counter[str] = field(default_factory=Counter)
    leaps_by_kind: Counter[str] = field(default_factory=Counter)
    hits_by_ratio: Counter[str] = field(default_factory=Counter)
    leaps_by_ratio: Counter[str] = field(default_factory=Counter)
    errors: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)

    def add(
        self, curve: Labelled, points: Sequence[float], window: Callable[[Leap], Window]
    ) -> tuple[list[tuple[float, Leap]], int]:
        """Count one curve; gives the pairs that match, and how many points are false."""
        leaps = [leap for leap in curve.leaps or () if is_scored(leap)]
        faint = [leap for leap in curve.leaps or () if not is_scored(leap)]
        found = match(points, [window(leap) for leap in leaps])
        rest = Counter(points) - Counter(point for point, _ in found)
        near_faint = match(rest.elements(), [window(leap) for leap in faint])
        false = rest.total() - len(near_faint)
        self.hits, self.false = self.hits + len(found), self.false + false
        self.leaps += len(leaps)
        self.curves[curve.kind] += 1
        self.wrong[curve.kind] += false > 0
        for leap in leaps:
            self.leaps_by_kind[curve.kind] += 1
            self.leaps_by_ratio[_ratio(leap)] += 1
        for _, index in found:
            self.hits_by_kind[curve.kind] += 1
            self.hits_by_ratio[_ratio(leaps[index])] += 1
        return [(point, leaps[index]) for point, index in found], false


def _ratio(leap: Leap) -> str:
    """Which of RATIOS a leap belongs to."""
    held = (name for name, (low, high) in RATIOS.items() if low <= leap.ratio < high)
    return next(held, "unknown" if leap.ratio != inf else "30 or more")


def _shares(hits: Counter[str], of: Counter[str]) -> dict[str, Interval]:
    return {name: share_interval(hits[name], of[name]) for name in of}


def _by_ratio(tally: _Tally) -> dict[str, Interval]:
    found = _shares(tally.hits_by_ratio, tally.leaps_by_ratio)
    return {name: found[name] for name in (*RATIOS, "unknown") if name in found}


def _median(values: Sequence[float]) -> Interval:
    return median_interval(values, resamples=1000)
