"""Building an entry: train, write every step for `transformers`, seal, and then give it its name.

    ROOT/NAME/
      run/             the run: metrics, checkpoints with the optimiser's state, provenance
      step-000000/     config.json, model.safetensors, tokenizer.json, tokenizer_config.json
      ...
      manifest.json    the sha256 of every file

All of it comes into being in a hidden sibling, ROOT/.NAME.tmp, which a rename makes the entry.
Whatever kills the builder, the next one goes on from the run's newest checkpoint.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.runs import Run, open_run
from saltus.runs.files import reason, sha256, sync_directory, temporary_of
from saltus.runs.layout import LOCK, is_run
from saltus.runs.locks import Lock
from saltus.studies.reproduce import How, Watcher
from saltus.training.launch import create, resume
from saltus.zoo.entries import Entry
from saltus.zoo.export import write_step
from saltus.zoo.manifest import RUN, read_manifest, write_manifest


@dataclass(frozen=True)
class Built:
    """An entry on the disk."""

    entry: str
    folder: Path
    how: How  # new; resumed from what a killed builder left; or reused: it was there
    parameters: int
    steps: tuple[int, ...]  # of the checkpoints, rising
    bytes: int  # of all files
    model_bytes: int  # of one step's model.safetensors
    seconds: float  # wall-clock, of this call alone

    @property
    def run(self) -> Run:
        """Its metrics and checkpoints, as of any other run."""
        return open_run(self.folder / RUN)

    @property
    def folders(self) -> list[Path]:
        """One folder of Hugging Face's format for each step, in rising order."""
        return [self.folder / step_name(step) for step in self.steps]


def build(
    entry: Entry,
    root: Path | str = "zoo",
    steps: int | None = None,
    corpus: str | None = None,
    watcher: Watcher | None = None,
) -> Built:
    """Build an entry into ROOT/NAME; one that is there already is taken as it is.

    `steps` and `corpus` replace the entry's own. Raises SaltusError where ROOT/NAME holds anything
    but this very entry, where somebody builds it right now, and for a text that is not there.
    """
    root, began = Path(root), time.monotonic()
    experiment, folder = entry.experiment(steps, corpus), root / entry.name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _place(folder) as place:
            if os.path.lexists(folder):
                return _found(entry, folder, experiment, began)
            run, how = _trained(place, experiment, watcher or Watcher(), entry.name)
            _write_steps(place, run, experiment)
            write_manifest(place, _about(entry, run, experiment))
            (place / LOCK).unlink()
            sync_directory(place)
            place.rename(folder)
            sync_directory(root)
    except OSError as error:
        raise SaltusError(f"cannot write {folder}: {reason(error)}") from error
    return _built(entry, folder, how, began)


def step_name(step: int) -> str:
    """'step-000100': the names sort as the steps do, and `saltus analyse` finds the step."""
    return f"step-{step:06d}"


@contextmanager
def _place(folder: Path) -> Iterator[Path]:
    """Where an entry is made, nobody else's while this is open; empty ones are not left behind."""
    place = temporary_of(folder)
    place.mkdir(exist_ok=True)
    lock = Lock(place / LOCK, f"{folder}")
    try:
        yield place
    finally:
        if place.exists() and {path.name for path in place.iterdir()} <= {LOCK}:
            shutil.rmtree(place, ignore_errors=True)
        lock.close()


def _trained(place: Path, experiment: Experiment, watcher: Watcher, label: str) -> tuple[Run, How]:
    """The finished run, continued where a builder of the same experiment was killed."""
    path, how = place / RUN, "resumed"
    if not (is_run(path) and open_run(path).experiment_yaml == experiment.to_yaml()):
        how = "new"
        for left in place.iterdir():
            if left.name != LOCK:
                shutil.rmtree(left)
        create(experiment, place).rename(path)
    progress = watcher.begin(label, open_run(path), how)
    try:
        run = resume(path, progress)
    except SaltusError:
        watcher.end(label, None)
        raise
    watcher.end(label, run)
    return run, how


def _write_steps(place: Path, run: Run, experiment: Experiment) -> None:
    for left in place.glob("step-*"):
        shutil.rmtree(left)
    for step in run.checkpoints():
        parameters = {name: value[0] for name, value in run.checkpoint(step).items()}
        write_step(place / step_name(step), experiment, parameters, step)


def _about(entry: Entry, run: Run, experiment: Experiment) -> dict[str, object]:
    return {
        "entry": entry.name,
        "about": entry.about,
        "experiment": sha256(experiment.to_yaml().encode()),
        "steps": run.checkpoints(),
        "parameters": sum(value[0].size for value in run.checkpoint(0).values()),
    }


def _found(entry: Entry, folder: Path, experiment: Experiment, began: float) -> Built:
    said = read_manifest(folder)
    if said["experiment"] != sha256(experiment.to_yaml().encode()):
        raise SaltusError(
            f"{folder} is there already, built from another text or with other settings: "
            "remove it, or give another --root"
        )
    return _built(entry, folder, "reused", began)


def _built(entry: Entry, folder: Path, how: How, began: float) -> Built:
    said = read_manifest(folder)
    steps, sizes = tuple(said["steps"]), {name: e["size"] for name, e in said["files"].items()}
    model = sizes[f"{step_name(steps[0])}/model.safetensors"]
    whole, seconds = sum(sizes.values()), time.monotonic() - began
    return Built(entry.name, folder, how, said["parameters"], steps, whole, model, seconds)
