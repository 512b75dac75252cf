"""Running an experiment: create the run, share its shards among processes, watch them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from saltus import kernels
from saltus.errors import SaltusError, unknown
from saltus.experiment import Experiment
from saltus.instruments.base import Instrument
from saltus.interventions.base import Intervention
from saltus.models.sites import Tape, matches
from saltus.runs import Run, RunWriter, ShardWriter, create_run, open_run
from saltus.threads import one_thread
from saltus.training.ensemble import Ensemble
from saltus.training.follow import Follower
from saltus.training.gradient_flow import GradientFlow
from saltus.training.isolation import is_separable
from saltus.training.lookout import Lookout
from saltus.training.loop import train
from saltus.training.plan import plan, single, workers
from saltus.training.readings import measure
from saltus.training.workers import Progress, Workers


def start(
    experiment: Experiment, root: str | Path = "runs", progress: Progress | None = None
) -> Run:
    """Train an experiment into a new run directory below `root`; returns the finished run."""
    return resume(create(experiment, root), progress)


def create(experiment: Experiment, root: str | Path = "runs") -> Path:
    """Check an experiment and make its run directory below `root`; nothing is trained yet."""
    with one_thread():  # other arms may be training meanwhile
        chosen = plan(experiment, check(experiment))
    members = [
        {"member": index, "seed": member.seed, "overrides": member.overrides}
        for index, member in enumerate(experiment.members())
    ]
    text, origin = experiment.to_yaml(), {"kernels": kernels.describe()}
    return create_run(Path(root), experiment.name, text, members, chosen.shards, origin)


def resume(path: str | Path, progress: Progress | None = None, pool: Workers | None = None) -> Run:
    """Continue a run to its end from its newest sound checkpoints; a finished run is left alone.

    With a `pool` its processes do the work, beside other runs; without one this process does, or
    as many as the experiment asks for.
    """
    path = Path(path)
    run = open_run(path)
    experiment = Experiment.from_yaml(run.experiment_yaml, str(path / "experiment.yaml"))
    with RunWriter(path):
        waiting = [shard.index for shard in run.shards if not shard.done]
        processes = min(workers(experiment), len(waiting))
        if waiting and pool is not None:
            pool.train(str(path), waiting, progress)
        elif processes > 1:
            with Workers(processes, train_in_worker) as own:
                own.train(str(path), waiting, progress)
        else:
            with one_thread():
                for index in waiting:
                    train_shard(str(path), index, progress)
    return open_run(path)


def check(experiment: Experiment) -> bool:
    """Build one member, name its sites, edit and read it once, so that mistakes show before
    anything is written. Returns whether more members can be stacked on it (`isolation`)."""
    device = torch.device(experiment.engine.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SaltusError(f"engine.device: {device} is not available here; allowed: cpu")
    ensemble, everything = single(experiment), Tape(["*"])
    start = {name: value[0].detach() for name, value in ensemble.parameters.items()}
    for intervention in experiment.interventions:
        for seed in experiment.seeds:  # a donor may hold only some of them
            intervention.initialise(start, seed)
    with torch.no_grad():
        batch = ensemble.training_batch(0)
        ensemble.lifted(ensemble.parameters, batch["inputs"], everything)
    if isinstance(experiment.optimizer, GradientFlow):
        Follower(ensemble).progress(0)  # its first reading needs precision, clock and velocity
    wanted = {
        place_of(experiment.interventions, index): part.sites()
        for index, part in enumerate(experiment.interventions)
    } | {
        place_of(experiment.instruments, index): part.needs(experiment.task).sites
        for index, part in enumerate(experiment.instruments)
    }
    for place, patterns in wanted.items():
        for pattern in patterns:
            if not any(matches(site, (pattern,)) for site in everything.values):
                raise SaltusError(f"{place}: {unknown('site', pattern, everything.values)}")
    check_edits(experiment, ensemble)
    return check_readings(experiment, ensemble)


def check_edits(experiment: Experiment, ensemble: Ensemble) -> None:
    """One forward pass with every intervention in force."""
    model, batch = experiment.model, ensemble.training_batch(0)
    acting = [index for index, part in enumerate(experiment.interventions) if part.sites()]
    if acting and not model.stackable:
        raise SaltusError(
            f"{place_of(experiment.interventions, acting[0])}: the sites of model {model.kind} "
            "cannot be overwritten, for its layers do not take a stack of members"
        )
    for index in acting:  # one by one: an edit does not know whose it is
        only = (experiment.interventions[index],)
        alone = single(experiment.model_copy(update={"interventions": only, "vary": {}}))
        with torch.no_grad(), told_at(place_of(experiment.interventions, index)):
            alone.losses(ensemble.parameters, batch, alone.tape(0))


def check_readings(experiment: Experiment, ensemble: Ensemble) -> bool:
    """One step's gradient and one reading of every instrument; whether they can be stacked."""
    try:
        return is_separable(ensemble)
    except SaltusError as error:
        for index, part in enumerate(experiment.instruments):
            with told_at(place_of(experiment.instruments, index)):
                measure(ensemble, [part], 0)
        raise error  # each by itself is right


@contextmanager
def told_at(place: str) -> Iterator[None]:
    """Puts the place of a part before what is wrong with it."""
    try:
        yield
    except SaltusError as error:
        raise SaltusError(f"{place}: {str(error).removeprefix('instruments: ')}") from None


def place_of(parts: Sequence[Intervention] | Sequence[Instrument], index: int) -> str:
    """'instruments.0 (evaluation)'."""
    family = "interventions" if isinstance(parts[index], Intervention) else "instruments"
    return f"{family}.{index} ({parts[index].kind})"


def train_shard(path: str, index: int, progress: Progress | None) -> None:
    """Train one shard of a run in this process."""
    run = open_run(Path(path))
    experiment = Experiment.from_yaml(run.experiment_yaml, path)
    everyone = experiment.members()
    begun = kernels.as_begun(run.provenance.get("kernels"))
    with begun, ShardWriter(Path(path), index) as writer:
        report = None
        if progress is not None:
            shard = run.shards[index]
            report = Lookout(
                index,
                len(writer.members),
                experiment.steps,
                progress,
                lambda: shard.columns.get("loss/train"),
            )
        train([everyone[k] for k in writer.members], writer, report)


def train_in_worker(path: str, index: int, progress: Progress) -> None:
    """The same in a process that does nothing else."""
    keep_freed_memory()
    torch.set_num_threads(1)  # more would only make workers wait for one another
    train_shard(path, index, progress)


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, where the C library can be told (glibc).

    A step frees and takes the same megabytes over and over; handing them back to the kernel in
    between costs up to a tenth of it in page faults.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        trim_threshold, map_threshold, limit = -1, -3, 1 << 30
        mallopt(map_threshold, limit)
        mallopt(trim_threshold, limit)
