"""Parse, measure, print: the engine against loops, the solver against scipy."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from saltus.bench import engine, flow, kernels, matrix, trajectories, vision

PARTS = ("engine", "kernels", "matrix", "vision", "flow", "trajectories")


def main() -> None:
    """`python -m saltus.bench`; `make bench` runs all of it."""
    parser = argparse.ArgumentParser(
        prog="python -m saltus.bench",
        description="The engine against the loop over seeds, and the solver against scipy.",
    )
    names = [regime.name for regime in engine.REGIMES]
    parser.add_argument("--only", choices=PARTS, help="one of them [all]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="per contender and round")
    parser.add_argument("--no-compile", action="store_true", help="the engine eager only")
    parser.add_argument(
        "--regime", choices=names, action="append", help="of engine and kernels [all]"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    document: dict[str, Any] = {}
    chosen = (options.only,) if options.only else PARTS
    if "engine" in chosen:
        document |= engines(options)
    if "kernels" in chosen:
        told = _silent if options.json else kernels.show
        own = chosen_regimes(options)
        document["kernels"] = kernels.measure_all(own, options.rounds, options.seconds, told)
    if "matrix" in chosen:
        told = _silent if options.json else matrix.show
        document["matrix"] = matrix.measure_all(options.rounds, options.seconds, told)
    if "vision" in chosen:
        told = _silent if options.json else vision.show
        document["vision"] = vision.measure_all(options.rounds, options.seconds, told)
    if "flow" in chosen:
        told = _silent if options.json else flow.show
        document["flow"] = flow.measure(min(options.rounds, flow.ROUNDS), told)
    if "trajectories" in chosen:
        told = _silent if options.json else trajectories.show
        with tempfile.TemporaryDirectory() as folder:
            document["trajectories"] = trajectories.measure_all(Path(folder), 10, 100, told)
    if options.json:
        print(json.dumps(document))


def engines(options: argparse.Namespace) -> dict[str, Any]:
    """The engine and its instruments, printed as they are measured unless as JSON."""
    chosen = chosen_regimes(options)
    told = _silent if options.json else engine.show
    compiled = not options.no_compile
    results = engine.compare_all(chosen, options.rounds, options.seconds, compiled, told)
    costs = engine.instrument_costs(chosen)
    if not options.json:
        engine.show_costs(costs)
    return {"regimes": [asdict(r) for r in chosen], "engine": results, "instruments": costs}


def chosen_regimes(options: argparse.Namespace) -> list[engine.Regime]:
    """Those named, or all of them."""
    return [one for one in engine.REGIMES if not options.regime or one.name in options.regime]


def _silent(result: dict[str, Any]) -> None:
    """For who wants one document at the end."""


if __name__ == "__main__":
    main()
