"""Reproducing a study: train its arms, or take what was trained before, and judge its claims."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from saltus.errors import SaltusError, unknown
from saltus.experiment import Experiment
from saltus.runs import Run, list_runs, open_run, verify
from saltus.studies.claim import Arms, Claim, Finding, Verdict
from saltus.studies.donors import check_arms, donors, with_donors
from saltus.studies.study import Scale, Study
from saltus.training.launch import create, resume, train_in_worker
from saltus.training.plan import cores
from saltus.training.workers import Progress, Stopped, Workers

How = Literal["new", "resumed", "reused"]


@dataclass(frozen=True)
class ArmOutcome:
    """One arm: its finished run, or why there is none."""

    arm: str
    path: Path
    how: How
    run: Run | None
    seconds: float  # wall-clock, of this call alone
    error: str = ""


@dataclass(frozen=True)
class NotRun:
    """An arm that could not begin: no finished run of a donor, or none that serves."""

    arm: str
    error: str


@dataclass(frozen=True)
class StudyOutcome:
    """One reproduced study: what was found, on which runs, and how long it took."""

    study: Study
    scale: Scale
    findings: tuple[Finding, ...]
    outcomes: tuple[ArmOutcome, ...]
    seconds: float  # wall-clock, of this call alone
    not_run: tuple[NotRun, ...] = ()

    @property
    def arms(self) -> dict[str, Run]:
        """The finished runs by arm."""
        return {each.arm: each.run for each in self.outcomes if each.run is not None}

    @property
    def failures(self) -> list[ArmOutcome | NotRun]:
        return [*(each for each in self.outcomes if each.run is None), *self.not_run]


class Watcher:
    """Is told what happens, from several threads at once; this one keeps it to itself."""

    def begin(self, label: str, run: Run, how: How) -> Progress:
        """A training starts or continues, or a finished one is taken; returns who to tell more."""
        return lambda shard, step, loss, leapt: None

    def end(self, label: str, run: Run | None) -> None:
        """A training has ended; None: it failed."""

    def note(self, text: str) -> None:
        """Something else worth a line."""


def reproduce(
    study: Study,
    scale: Scale,
    root: str | Path = "runs",
    watcher: Watcher | None = None,
    fresh: bool = False,
    seeds: int | None = None,
    engine: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
) -> StudyOutcome:
    """Train the arms of a study into ROOT/SCALE/STUDY and judge its claims on them.

    As many arms are trained side by side as there are processors; an arm that starts from a
    checkpoint of others waits for them.

    A finished run of exactly the same experiment is reused and an interrupted one resumed, unless
    `fresh`. `seeds` replaces the seeds of every arm by 0 .. seeds - 1, `engine` fields of every
    arm's engine, such as its device; `only` names the arms to train. An arm that fails is
    reported, and the claims that need it are `not run`; what cannot even begin raises SaltusError.
    """
    watcher, began = watcher or Watcher(), time.monotonic()
    arms = arms_of(study, scale, seeds, engine, only)
    check_arms(arms)
    folder = Path(root) / scale / study.name
    ended = _train_all(study, arms, folder, watcher, fresh)
    outcomes = tuple(each for each in ended if isinstance(each, ArmOutcome))
    not_run = tuple(each for each in ended if isinstance(each, NotRun))
    finished = {each.arm: each.run for each in outcomes if each.run is not None}
    findings = tuple(_judge(claim, finished) for claim in study.claims(scale))
    return StudyOutcome(study, scale, findings, outcomes, time.monotonic() - began, not_run)


def arms_of(
    study: Study,
    scale: Scale,
    seeds: int | None = None,
    engine: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
) -> dict[str, Experiment]:
    """The experiments of a study, or some of them, with other seeds or another engine if given."""
    arms = study.recipe(scale)
    for name in only:
        if name not in arms:
            raise SaltusError(f"arm: {unknown('arm', name, arms)}")
    changes: dict[str, object] = {f"engine.{name}": value for name, value in (engine or {}).items()}
    if seeds is not None:
        changes["seeds"] = seeds
    chosen = {arm: experiment for arm, experiment in arms.items() if not only or arm in only}
    if not changes:
        return chosen
    return {arm: experiment.override(changes) for arm, experiment in chosen.items()}


def previous(folder: Path, experiment: Experiment, watcher: Watcher) -> tuple[Path, How] | None:
    """The newest run of exactly this experiment that can be used or continued."""
    text = experiment.to_yaml()
    same = [run for run in list_runs(folder) if run.experiment_yaml == text]
    same.sort(key=lambda run: (run.path / "experiment.yaml").stat().st_mtime_ns, reverse=True)
    for run in sorted(same, key=lambda run: run.status["state"] != "done"):
        if run.status["state"] != "done":
            return run.path, "resumed"
        report = verify(run.path)
        if report.ok:
            return run.path, "reused"
        watcher.note(f"{run.path} is damaged ({report.problems[0]}): not used")
    return None


def _train_all(
    study: Study, arms: dict[str, Experiment], folder: Path, watcher: Watcher, fresh: bool
) -> list[ArmOutcome | NotRun]:
    """What became of every arm. On an accelerator, which is shared, one arm after the other."""
    on_cpu = all(torch.device(each.engine.device).type == "cpu" for each in arms.values())
    side_by_side = cores() if on_cpu else 1
    waiting, ended = dict(arms), dict[str, ArmOutcome | NotRun]()
    jobs: dict[Future[ArmOutcome], str] = {}
    with (
        Workers(side_by_side, train_in_worker) as pool,
        ThreadPoolExecutor(side_by_side) as threads,
    ):
        try:
            while waiting or jobs:
                # Runs are made here, one by one: to plan is to run a few steps, and the generators
                # that those draw from are not for several threads.
                for arm in _ready(waiting, ended):
                    label = f"{study.name}/{arm}"
                    begun = _begin(waiting.pop(arm), ended, folder, watcher, fresh)
                    if isinstance(begun, str):
                        ended[arm] = NotRun(arm, begun)
                        watcher.note(f"{label} not run: {begun}")
                    else:
                        jobs[threads.submit(_train, arm, label, *begun, watcher, pool)] = arm
                # In pieces: Ctrl-C is heard, whichever thread the system gave it to.
                done, _ = wait(jobs, timeout=0.5, return_when=FIRST_COMPLETED)
                ended |= {jobs.pop(job): job.result() for job in done}
            return [ended[arm] for arm in arms]
        except BaseException:  # Ctrl-C among others: what runs is stopped, what waits never starts
            for job in jobs:
                job.cancel()
            pool.close()
            raise


def _ready(waiting: dict[str, Experiment], ended: Mapping[str, object]) -> list[str]:
    """The arms whose donors have all ended, one way or the other."""
    return [arm for arm, each in waiting.items() if all(donor in ended for donor in donors(each))]


def _begin(
    experiment: Experiment,
    ended: Mapping[str, ArmOutcome | NotRun],
    folder: Path,
    watcher: Watcher,
    fresh: bool,
) -> tuple[Path, How] | str:
    """The run of an arm, made or found; why there can be none, where that is for its donors."""
    runs = {}
    for donor in donors(experiment):
        outcome = ended[donor]
        if isinstance(outcome, NotRun) or outcome.run is None:
            return f"it starts from {donor}, which has no finished run"
        runs[donor] = outcome.run
    try:
        experiment = with_donors(experiment, runs, folder / "donors")
        found = None if fresh else previous(folder, experiment, watcher)
        return found or (create(experiment, folder), "new")
    except SaltusError as error:
        if not runs:  # nothing was trained for it
            raise
        return str(error)


def _train(
    arm: str, label: str, path: Path, how: How, watcher: Watcher, pool: Workers
) -> ArmOutcome:
    began = time.monotonic()
    progress = watcher.begin(label, open_run(path), how)
    run, error = None, ""
    try:
        run = open_run(path) if how == "reused" else resume(path, progress, pool)
    except Stopped:  # it is not this arm that went wrong
        raise
    except SaltusError as problem:
        error = str(problem)
        watcher.note(f"{label} failed: {error}")
    watcher.end(label, run)
    return ArmOutcome(arm, path, how, run, time.monotonic() - began, error)


def _judge(claim: Claim, arms: Arms) -> Finding:
    try:
        return claim.judge(arms)
    except SaltusError as error:  # a damaged run, or one without the series that the claim reads
        return Finding(claim, (), Verdict.INCONCLUSIVE, str(error))
