"""`python -m saltus.bench.audit`: faults put into trajectories that we trained, and what is found.

Prints recall per kind of fault and false alarms on the series as they were trained, with Wilson
intervals (95 %).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

from saltus.bench.audit_runs import RECIPES, train
from saltus.runs import Run
from saltus.trajectories import Finding, analyse, audit, find_series
from saltus.trajectories.faults import FAULTS, Faulty, File
from saltus.transitions.statistics.intervals import share_interval


@dataclass(frozen=True)
class Trial:
    """One fault in one series: was it found, and what was said of other checkpoints?"""

    fault: str
    recipe: str
    found: bool
    others: tuple[str, ...]


def main() -> None:
    """Train (or take up again) the runs, inject, print."""
    parser = argparse.ArgumentParser(prog="python -m saltus.bench.audit", description=__doc__)
    parser.add_argument("--faults", type=int, default=1000, help="how many, of all kinds [1000]")
    parser.add_argument("--seeds", type=int, default=4, help="trajectories of each recipe [4]")
    parser.add_argument("--first-seed", type=int, default=100, help="of the trainings [100]")
    parser.add_argument("--seed", type=int, default=0, help="draws other faults [0]")
    parser.add_argument("--recipe", choices=list(RECIPES), action="append", help="[all]")
    parser.add_argument("--folder", type=Path, help="keep the runs here, or take them up again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    recipes = options.recipe or list(RECIPES)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "runs"
        series = {
            (recipe, member): files
            for recipe in recipes
            for member, files in enumerate(files_of(train(recipe, seeds, folder)))
        }
        clean = {key: findings(Faulty(files, (), ()), scratch) for key, files in series.items()}
        trials = list(campaign(series, options.faults, options.seed, scratch))
    if options.json:
        document = {
            "clean": [
                {"recipe": recipe, "seed": seed, "findings": [each.line for each in found]}
                for (recipe, seed), found in clean.items()
            ],
            "trials": [vars(each) for each in trials],
        }
        print(json.dumps(document))
    else:
        show(clean, trials)


def files_of(run: Run) -> list[tuple[File, ...]]:
    """Each member's kept checkpoints, as files of a series of its own."""
    steps = run.checkpoints()
    states = [run.checkpoint(step) for step in steps]
    return [
        tuple(
            File(
                f"step-{step:06d}.safetensors",
                safetensors.numpy.save({name: np.ascontiguousarray(value[k])
                                        for name, value in state.items()}),
            )
            for step, state in zip(steps, states, strict=True)
        )
        for k in range(len(run.members))
    ]  # fmt: skip


def campaign(
    series: dict[tuple[str, int], tuple[File, ...]], faults: int, seed: int, scratch: str
) -> Iterator[Trial]:
    """`faults` trials, kinds and series in turn; a stranger is the same recipe's next seed."""
    keys, kinds = list(series), list(FAULTS)
    seeds = 1 + max(member for _, member in keys)
    for number in range(faults):
        kind = kinds[number % len(kinds)]
        recipe, member = keys[(number // len(kinds)) % len(keys)]
        random = np.random.default_rng([seed, number, zlib.crc32(kind.encode())])
        others = series[recipe, (member + 1) % seeds]
        faulty = FAULTS[kind](series[recipe, member], others, random)
        found = findings(faulty, scratch)
        right = [each for each in found if is_of(each, faulty)]
        elsewhere = tuple(each.line for each in found if not {*each.checkpoints} & {*faulty.names})
        yield Trial(kind, recipe, bool(right), elsewhere)


def findings(faulty: Faulty, scratch: str) -> tuple[Finding, ...]:
    """What the audit says of these files, written to a folder and read back."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        paths = [Path(folder) / file.name for file in faulty.files]
        for path, file in zip(paths, faulty.files, strict=True):
            path.write_bytes(file.content)
        return audit(analyse(find_series(paths, in_given_order=faulty.in_given_order)))


def is_of(finding: Finding, faulty: Faulty) -> bool:
    """Whether a finding is the fault: of a right kind, and at one of its checkpoints."""
    return finding.kind in faulty.expected and bool({*finding.checkpoints} & {*faulty.names})


def show(clean: dict[tuple[str, int], tuple[Finding, ...]], trials: Sequence[Trial]) -> None:
    """Two tables: recall per kind, false alarms per recipe."""
    print(f"{'fault':22s} {'found':>10s}  recall [95 %]         elsewhere  missed in")
    for kind in FAULTS:
        own = [each for each in trials if each.fault == kind]
        missed = sorted({each.recipe for each in own if not each.found})
        others = sum(bool(each.others) for each in own)
        _line(kind, [each.found for each in own], f"{others:4d}       {', '.join(missed)}")
    _line("all", [each.found for each in trials], "")
    alarms = [bool(found) for found in clean.values()]
    _line("false alarms, clean", alarms, "")
    _line("… beside a fault", [bool(each.others) for each in trials], "")
    for (recipe, seed), found in clean.items():
        for each in found:
            print(f"  clean {recipe}, seed {seed}: {each.line}")
    for trial in trials:
        for line in trial.others:
            print(f"  {trial.fault} in {trial.recipe}: {line}")


def _line(name: str, outcomes: Sequence[bool], rest: str) -> None:
    if outcomes:
        hits, count = sum(outcomes), len(outcomes)
        share = share_interval(hits, count)
        interval = f"{share.estimate:.3f} [{share.low:.3f}, {share.high:.3f}]"
        print(f"{name:22s} {hits:4d}/{count:5d}  {interval}  {rest}")


if __name__ == "__main__":
    main()
