"""`saltus power`: how many seeds does it take to see an effect?"""

from __future__ import annotations

from math import inf, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from saltus.cli.inputs import Json, Root, find_run
from saltus.cli.output import console, count, interval_text, print_json, say, table
from saltus.errors import SaltusError, unknown
from saltus.transitions.statistics.intervals import Interval

if TYPE_CHECKING:
    from saltus.runs import Run
    from saltus.transitions import Times
    from saltus.transitions.statistics.power import Effect

OPTIONS = {  # that belong to each question; the first one is the size of the effect
    "time": ("ratio", "spread", "median", "budget", "like", "up"),
    "share": ("to", "from"),
    "mean": ("difference", "deviation", "like"),
}
TESTS = {
    "time": "log-rank by relabelling the seeds (chi-square beyond 100 per arm)",
    "share": "Fisher's exact test",
    "mean": "Student's t",
}
SIZES = {"time": "ratio", "share": "after", "mean": "difference"}
AROUND = (0.5, 0.75, 1.5, 2.0)  # further numbers of seeds in the table, relative to the answer


def power(
    question: Annotated[
        str, typer.Argument(metavar="time|share|mean", help="What the arms differ in.")
    ],
    ratio: Annotated[
        float | None,
        typer.Option(metavar="R", help="time: the second arm's median over the first's."),
    ] = None,
    spread: Annotated[
        float | None,
        typer.Option(metavar="CV", help="time: standard deviation over mean, over seeds."),
    ] = None,
    median: Annotated[
        float | None, typer.Option(metavar="T", help="time: of the first arm [1, or as in --like].")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(metavar="T", help="time: where runs end, in the unit of --median [never]."),
    ] = None,
    up: Annotated[bool, typer.Option("--up", help="time: the series of --like leaps up.")] = False,
    before: Annotated[
        float | None, typer.Option("--from", metavar="P", help="share: of the first arm, 0 to 1.")
    ] = None,
    after: Annotated[
        float | None, typer.Option("--to", metavar="P", help="share: of the second arm.")
    ] = None,
    difference: Annotated[
        float | None, typer.Option(metavar="D", help="mean: of the second arm minus the first's.")
    ] = None,
    deviation: Annotated[
        float | None, typer.Option(metavar="S", help="mean: standard deviation over seeds.")
    ] = None,
    like: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="RUN SERIES", help="Measure spread or deviation in a finished run."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(metavar="N", help="Instead: what do N seeds per arm see?"),
    ] = None,
    wanted: Annotated[
        float, typer.Option("--power", metavar="P", help="How often an effect should be seen.")
    ] = 0.8,
    alpha: Annotated[
        float, typer.Option(metavar="P", help="How often nothing may be taken for an effect.")
    ] = 0.05,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """How many seeds does it take to see an effect of this size?

    Two arms with as many seeds each, and a two-sided test. Three questions:

    \b
      time   does the leap come earlier or later?   log-rank test, simulated
      share  do more or fewer seeds leap?           Fisher's exact test, exact
      mean   is a metric higher or lower?           Student's t test, exact

    The answer is the number of seeds per arm. With --seeds N it is the power that N seeds have,
    and the smallest effect that they see; the size of the effect may then be left out.

    \b
    Examples:
      saltus power time --ratio 0.8 --spread 0.3
      saltus power time --ratio 0.8 --like runs/mine loss/train --budget 5000
      saltus power share --from 0.5 --to 0.9
      saltus power mean --difference 0.02 --deviation 0.05
      saltus power mean --like runs/mine evaluation/accuracy --seeds 8
    """
    from saltus.transitions.statistics.power import check, detectable, seeds_needed

    if question not in OPTIONS:
        raise SaltusError(f"power: {unknown('question', question, OPTIONS)}")
    given = {
        "ratio": ratio, "spread": spread, "median": median, "budget": budget, "up": up or None,
        "from": before, "to": after, "difference": difference, "deviation": deviation,
        "like": like,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in OPTIONS[question]:
            allowed = ", ".join(f"--{each}" for each in OPTIONS[question])
            raise SaltusError(f"power {question}: --{name} is not allowed here; allowed: {allowed}")
    check(seeds=2 if seeds is None else seeds, power=wanted, alpha=alpha)
    size = OPTIONS[question][0]
    if size not in given and seeds is None:
        raise SaltusError(f"power {question}: --{size} is required, or --seeds N")
    effect, measured = {"time": _time, "share": _share, "mean": _mean}[question](given, root)
    needed = seeds_needed(effect, wanted, alpha) if seeds is None else seeds
    smallest = None if seeds is None else detectable(effect, seeds, wanted, alpha)
    shown = _numbers(needed) if needed is not None and size in given else []
    found = {
        "question": question,
        "effect": {name: value for name, value in vars(effect).items() if name != "simulations"},
        "measured": measured,
        "test": TESTS[question],
        "alpha": alpha,
        "wanted": wanted,
        "seeds": needed,
        "power": None if not shown else _ends(effect.power(shown[0], alpha)),
        "detectable": smallest.size if smallest is not None else None,
        "curve": [{"seeds": each, **_ends(effect.power(each, alpha))} for each in sorted(shown)],
    }
    if size not in given:
        found["effect"][SIZES[question]] = None
    if json:
        print_json(found)
    else:
        _show(found, turned=seeds is not None)


def _time(given: dict[str, Any], root: Path) -> tuple[Effect, str]:
    """The effect that is asked for, and what was measured for it."""
    from saltus.transitions import TimeEffect, fit_spread

    spread, median, budget, measured = given.get("spread"), 1.0, inf, ""
    if "like" in given:
        run, name = find_run(given["like"][0], root), given["like"][1]
        settings, budget = _leaps(run, name, "up" in given)
        fitted = fit_spread(settings)
        median = fitted.medians[0]
        measured = (
            f"spread {fitted.spread:.3g}, median {median:.4g}, budget {budget:g} in {run.path} "
            f"{name}: {fitted.leaps} of {count(fitted.seeds, 'member')} leapt"
        )
        spread = fitted.spread if spread is None else spread
    if spread is None:
        raise SaltusError("power time: --spread is required, or --like RUN SERIES")
    median, budget = given.get("median", median), given.get("budget", budget)
    return TimeEffect(given.get("ratio", 0.5), spread, median, budget), measured


def _share(given: dict[str, Any], root: Path) -> tuple[Effect, str]:
    from saltus.transitions import ShareEffect

    if "from" not in given:
        raise SaltusError("power share: --from is required")
    before = given["from"]
    return ShareEffect(before, given.get("to", 0.0 if before == 1 else 1.0)), ""


def _mean(given: dict[str, Any], root: Path) -> tuple[Effect, str]:
    from saltus.transitions import MeanEffect

    deviation, measured = given.get("deviation"), ""
    if deviation is None and "like" in given:
        run, name = find_run(given["like"][0], root), given["like"][1]
        deviation, members = _deviation(run, name)
        measured = f"deviation {deviation:.3g} in {run.path} {name}: {count(members, 'member')}"
    if deviation is None:
        raise SaltusError("power mean: --deviation is required, or --like RUN SERIES")
    return MeanEffect(given.get("difference", 1.0), deviation), measured


def _leaps(run: Run, name: str, up: bool) -> tuple[list[Times], float]:
    """Times to the largest leap, for each setting of a run, and the last step seen of any."""
    from saltus.transitions import times_of

    found = run.transitions(name, "up" if up else "down")
    times = [times_of([found[member] for member in each]) for each in _settings(run)]
    return times, max(each[0].budget for each in found)


def _deviation(run: Run, name: str) -> tuple[float, int]:
    """Over seeds, of a series' last value, pooled over the settings; and how many seeds."""
    series = run.series(name)
    if not len(series.steps):
        raise SaltusError(f"{run.path}: series {name} has no step yet")
    groups = [series.values[each, -1] for each in _settings(run)]
    groups = [each[np.isfinite(each)] for each in groups]
    seeds, settings = sum(map(len, groups)), sum(len(each) > 0 for each in groups)
    if seeds <= settings:
        raise SaltusError(f"--like: {run.path} has one seed per setting; a deviation needs two")
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in groups if len(each))
    if squares == 0:
        raise SaltusError(f"--like: all seeds of {run.path} end {name} at the same value")
    return sqrt(squares / (seeds - settings)), seeds


def _settings(run: Run) -> list[list[int]]:
    """The members of each setting: they differ in their seed alone."""
    found: dict[str, list[int]] = {}
    for each in run.members:
        found.setdefault(str(each["overrides"]), []).append(each["member"])
    return list(found.values())


def _numbers(needed: int) -> list[int]:
    """The answer, and some numbers of seeds around it."""
    around = {min(max(2, round(needed * factor)), 1000) for factor in AROUND}
    return [needed, *(around - {needed})]


def _ends(power: Interval) -> dict[str, float | int | None]:
    ends = {"estimate": power.estimate, "low": power.low, "high": power.high}
    return {**ends, "simulations": power.count or None}


def _show(found: dict[str, Any], turned: bool) -> None:
    question, alpha, wanted = found["question"], found["alpha"], found["wanted"]
    say(f"effect     {_effect_text(question, found['effect'])}")
    if found["measured"]:
        say(f"measured   {found['measured']}")
    say(f"test       {found['test']}; two-sided, alpha {alpha:g}")
    if found["seeds"] is None:
        say(f"seeds      more than 1,000 per arm for power {wanted:g}")
        return
    say(f"seeds      {found['seeds']} per arm")
    if found["power"]:
        say(f"power      {_power_text(found['power'])}")
    if turned:
        say(f"detectable {_detectable_text(found)}")
    if len(found["curve"]) > 1:
        made = table("seeds per arm", "power", right=("seeds per arm",))
        for each in found["curve"]:
            made.add_row(str(each["seeds"]), _power_text(each).split(" (")[0])
        console().print(made)


def _effect_text(question: str, effect: dict[str, Any]) -> str:
    """'time to the leap, ratio 0.8, spread 0.3, median 2000, budget 4000'."""
    if question == "share":
        to = "" if effect["after"] is None else f" to {effect['after']:g}"
        return f"share of seeds that leap, from {effect['before']:g}{to}"
    if question == "mean":
        apart = effect["difference"]
        size = "" if apart is None else f" {apart:g} apart"
        return f"means{size}, deviation over seeds {effect['deviation']:.3g}"
    ratio = "" if effect["ratio"] is None else f"ratio {effect['ratio']:g}, "
    end = f"budget {effect['budget']:g}" if effect["budget"] < inf else "no budget"
    if effect["median"] == 1 and effect["budget"] == inf:
        return f"time to the leap, {ratio}spread {effect['spread']:.3g}, {end}"
    where = f"median {effect['median']:.4g}, {end}"
    return f"time to the leap, {ratio}spread {effect['spread']:.3g}, {where}"


def _power_text(power: dict[str, Any]) -> str:
    if power["simulations"] is None:
        return f"{power['estimate']:.3f} (exact)"
    ends = Interval(*(power[key] for key in ("estimate", "low", "high", "simulations")))
    return f"{interval_text(ends)} (over {power['simulations']:,} simulated pairs of arms)"


def _detectable_text(found: dict[str, Any]) -> str:
    size, often = found["detectable"], f"with power {found['wanted']:g}"
    if size is None:
        return f"no effect, however large, {often}"
    if found["question"] == "time":
        return f"a ratio of {size:.3g} or {'more' if size > 1 else 'less'}, {often}"
    if found["question"] == "share":
        beyond = "more" if size > found["effect"]["before"] else "less"
        return f"a share of {size:.3g} or {beyond}, {often}"
    return f"a difference of {abs(size):.3g} or more, {often}"
