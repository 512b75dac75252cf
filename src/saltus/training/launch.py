"""Running an experiment: create the run, share its shards among processes, watch them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import queue
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from saltus.errors import SaltusError, unknown
from saltus.experiment import Experiment
from saltus.models.sites import Tape, matches
from saltus.runs import Run, RunWriter, ShardWriter, create_run, open_run
from saltus.training.loop import train
from saltus.training.plan import plan, single, workers

# (shard index, step reached, mean loss)
Progress = Callable[[int, int, float], None]


def start(
    experiment: Experiment, root: str | Path = "runs", progress: Progress | None = None
) -> Run:
    """Train an experiment into a new run directory below `root`; returns the finished run."""
    return resume(create(experiment, root), progress)


def create(experiment: Experiment, root: str | Path = "runs") -> Path:
    """Check an experiment and make its run directory below `root`; nothing is trained yet."""
    check(experiment)
    chosen = plan(experiment)
    members = [
        {"member": index, "seed": member.seed, "overrides": member.overrides}
        for index, member in enumerate(experiment.members())
    ]
    return create_run(Path(root), experiment.name, experiment.to_yaml(), members, chosen.shards)


def resume(path: str | Path, progress: Progress | None = None) -> Run:
    """Continue a run to its end from its newest sound checkpoints; a finished run is left alone."""
    path = Path(path)
    run = open_run(path)
    experiment = Experiment.from_yaml(run.experiment_yaml, str(path / "experiment.yaml"))
    with RunWriter(path):
        waiting = [shard.index for shard in run.shards if not shard.done]
        processes = min(workers(experiment), len(waiting))
        if processes <= 1:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                for index in waiting:
                    _train_shard(str(path), index, progress)
            finally:
                torch.set_num_threads(threads)
        else:
            _share(path, waiting, processes, progress)
    return open_run(path)


def check(experiment: Experiment) -> None:
    """Build one member and name its sites, so that mistakes show before anything is written."""
    device = torch.device(experiment.engine.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SaltusError(f"engine.device: {device} is not available here; allowed: cpu")
    ensemble, everything = single(experiment), Tape(["*"])
    start = {name: value[0].detach() for name, value in ensemble.parameters.items()}
    for intervention in experiment.interventions:
        intervention.initialise(start)
    with torch.no_grad():
        batch = ensemble.draw("data", 0, 1)
        ensemble.lifted(ensemble.parameters, batch["inputs"], everything)
    wanted = {
        f"interventions.{index} ({part.kind})": part.sites()
        for index, part in enumerate(experiment.interventions)
    } | {
        f"instruments.{index} ({part.kind})": part.needs(experiment.task).sites
        for index, part in enumerate(experiment.instruments)
    }
    for place, patterns in wanted.items():
        for pattern in patterns:
            if not any(matches(site, (pattern,)) for site in everything.values):
                raise SaltusError(f"{place}: {unknown('site', pattern, everything.values)}")


def _share(path: Path, waiting: list[int], count: int, progress: Progress | None) -> None:
    """Spawn workers that take shards one after the other; the first failure stops them all."""
    context = multiprocessing.get_context("spawn")
    shards, reports = context.Queue(), context.Queue()
    for index in waiting:
        shards.put(index)
    for _ in range(count):
        shards.put(None)
    processes = [
        context.Process(target=_work, args=(str(path), shards, reports, os.getpid()), daemon=True)
        for _ in range(count)
    ]
    for process in processes:
        process.start()
    try:
        running = count
        while running:
            try:
                kind, *rest = reports.get(timeout=0.5)
            except queue.Empty:
                if dead := [p for p in processes if p.exitcode not in (None, 0)]:
                    raise SaltusError(
                        f"a worker of {path} died (exit {dead[0].exitcode}); "
                        f"nothing is lost: saltus resume {path}"
                    ) from None
                continue
            if kind == "failed":
                raise SaltusError(rest[0])
            if kind == "finished":
                running -= 1
            elif progress is not None:
                progress(*rest)
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join()


def _work(path: str, shards: Any, reports: Any, parent: int) -> None:
    _die_with(parent)
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(1)

    def progress(shard: int, step: int, loss: float) -> None:
        reports.put(("progress", shard, step, loss))

    try:
        while (index := shards.get()) is not None:
            _train_shard(path, index, progress)
        reports.put(("finished",))
    except SaltusError as error:
        reports.put(("failed", str(error)))
    except Exception as error:
        reports.put(("failed", f"{type(error).__name__}: {error}"))


def _train_shard(path: str, index: int, progress: Progress | None) -> None:
    """Train one shard of a run in this process."""
    run = open_run(Path(path))
    experiment = Experiment.from_yaml(run.experiment_yaml, path)
    everyone = experiment.members()
    quiet = max(1, experiment.steps // 200)

    def report(step: int, loss: float) -> None:
        if progress is not None and (step % quiet == 0 or step == experiment.steps):
            progress(index, step, loss)

    with ShardWriter(Path(path), index) as writer:
        train([everyone[k] for k in writer.members], writer, report)


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, where the C library can be told (glibc).

    A step frees and takes the same megabytes over and over; handing them back to the kernel in
    between costs up to a tenth of it in page faults.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        trim_threshold, map_threshold, limit = -1, -3, 1 << 30
        mallopt(map_threshold, limit)
        mallopt(trim_threshold, limit)
