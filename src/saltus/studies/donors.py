"""Arms that start from a checkpoint of another arm of their study.

A recipe says so with `Transplant(source="arm:baseline@last", ...)`. When the donor is trained, its
checkpoint is written to a file of its own, named after its content, and the dependent arm is the
experiment that transplants from that file: a donor that was trained anew gives another experiment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from saltus.errors import SaltusError, unknown
from saltus.experiment import Experiment
from saltus.interventions.freeze import Freeze
from saltus.interventions.transplant import ArmCheckpoint, Transplant
from saltus.runs import Run
from saltus.runs.export import export
from saltus.runs.files import reason, write_atomic
from saltus.training.launch import check
from saltus.training.plan import single

Arms = Mapping[str, Experiment]


def donors(experiment: Experiment) -> list[str]:
    """The arms that must be trained before this one, each once."""
    return list(dict.fromkeys(donor.arm for _, _, donor in _grafts(experiment)))


def check_arms(arms: Arms) -> None:
    """Raise SaltusError for arms that could never begin, so that it shows before any is trained."""
    for arm, experiment in arms.items():
        for index, graft, donor in _grafts(experiment):
            problem = _problem(arms, arm, graft, donor)
            if problem:
                raise SaltusError(f"{arm}: interventions.{index} (transplant): {problem}")
        check(_without_donors(experiment))
    for arm, experiment in arms.items():
        for index, graft, donor in _grafts(experiment):
            if problem := _misfit(experiment, graft, arms[donor.arm]):
                raise SaltusError(
                    f"{arm}: interventions.{index} (transplant): {graft.source}: {problem}"
                )


def with_donors(experiment: Experiment, runs: Mapping[str, Run], folder: Path) -> Experiment:
    """The experiment on files: checkpoints of finished donors, written below `folder`."""
    changes = {}
    for index, _, donor in _grafts(experiment):
        path = _written(donor, runs[donor.arm], folder)
        changes[f"interventions.{index}.source"] = str(path)
    return experiment.override(changes) if changes else experiment


def _grafts(experiment: Experiment) -> Iterator[tuple[int, Transplant, ArmCheckpoint]]:
    for index, part in enumerate(experiment.interventions):
        if isinstance(part, Transplant) and part.donor_arm is not None:
            yield index, part, part.donor_arm


def _written(donor: ArmCheckpoint, run: Run, folder: Path) -> Path:
    found = export(run, donor.step)
    name = f"{donor.arm}-step{found.metadata['step']}-{found.digest()[:16]}.safetensors"
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, found.encoded())  # also where it is there: that one may be damaged
    except OSError as error:
        raise SaltusError(f"cannot write {path}: {reason(error)}") from error
    return path


def _problem(arms: Arms, arm: str, graft: Transplant, donor: ArmCheckpoint) -> str:
    """Why a donor could not serve, or nothing."""
    if donor.arm not in arms:
        return (
            f"{graft.source}: {unknown('arm', donor.arm, [each for each in arms if each != arm])}"
        )
    if arm in _before(arms, donor.arm):
        return f"{graft.source}: arm {arm} would have to be trained before itself"
    giver = arms[donor.arm]
    if donor.step is not None and not (
        donor.step <= giver.steps and giver.checkpoints.keeps(donor.step, giver.steps)
    ):
        return f"{graft.source}: {donor.arm} keeps no checkpoint of that step (checkpoints.at)"
    if isinstance(graft.member, int):
        members = len(giver.members())
        return "" if graft.member < members else f"member {graft.member}: 0 to {members - 1}"
    if giver.vary:
        return f"member {graft.member}: {donor.arm} varies settings; allowed: a number"
    missing = [seed for seed in arms[arm].seeds if seed not in giver.seeds]
    return f"member {graft.member}: {donor.arm} has no seed {missing[0]}" if missing else ""


def _before(arms: Arms, arm: str) -> set[str]:
    """An arm and all that must be trained before it."""
    found, left = set(), [arm]
    while left:
        each = left.pop()
        if each in arms and each not in found:
            found.add(each)
            left += donors(arms[each])
    return found


def _without_donors(experiment: Experiment) -> Experiment:
    """The experiment with its donors not yet needed: a freeze selects the same parameters."""
    parts = list(experiment.interventions)
    for index, graft, _ in _grafts(experiment):
        parts[index] = Freeze(groups=graft.groups, outside=graft.outside)
    return experiment.model_copy(update={"interventions": tuple(parts)})


def _misfit(experiment: Experiment, graft: Transplant, giver: Experiment) -> str:
    """Why the donor's parameters do not fit, or nothing."""
    own = single(_without_donors(experiment)).layout.shapes
    given = single(_without_donors(giver)).layout.shapes
    chosen = graft.model_copy(update={"freeze": True}).frozen(list(own), 0)
    for name in chosen:
        if name not in given:
            return f"that arm has no parameter {name}"
        if given[name] != own[name]:
            theirs, ours = list(given[name]), list(own[name])
            return f"{name} has shape {theirs} in that arm, this one needs {ours}"
    return ""
