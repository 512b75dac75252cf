"""A study: the experiments, claims and figures of one paper, at scale quick and paper."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from saltus.errors import SaltusError, unknown
from saltus.experiment import Experiment
from saltus.studies.claim import Arms, Claim
from saltus.transitions import Times

if TYPE_CHECKING:
    from saltus.report.kinds import AnyFigure

Scale = Literal["quick", "paper"]


@dataclass(frozen=True)
class Study:
    """One paper. `recipe(scale)` gives its arms by name; `claims(scale)` what to check on them.

    An arm may start from a checkpoint of another, `Transplant(source="arm:NAME@STEP", ...)`: that
    one is trained first.

    `figures(arms)` gives the paper's figures as data, made with `saltus.report.compose`. Asking for
    an arm that was not run raises SaltusError; a generator loses only the figures that come after.
    A report of a study with figures shows these in place of the loss of every arm.

    `times(arms)` gives, for each group of seeds, when it happened to each of them; all groups share
    one clock. Without it the report takes the largest leap of the training loss of every arm.
    """

    name: str
    title: str
    paper: str
    question: str
    recipe: Callable[[Scale], dict[str, Experiment]]
    claims: Callable[[Scale], list[Claim]]
    changed: str  # what the quick scale changes against the paper's setting
    headline: tuple[str, ...] = ()  # series that the report draws as fans, all arms together
    figures: Callable[[Arms], Iterable[AnyFigure]] | None = None
    times: Callable[[Arms], Mapping[str, Times]] | None = None
    times_label: str = "leap of the training loss"  # what the times are of
    times_clock: str = "training step"  # what they are measured in


@cache
def all_studies() -> dict[str, Study]:
    """Every study: a package below `saltus.studies` with a STUDY."""
    import saltus.studies as package

    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            study = importlib.import_module(f"{package.__name__}.{module.name}").STUDY
            found[study.name] = study
    return found


def find_study(name: str) -> Study:
    """The study of that name; SaltusError names the ones there are."""
    studies = all_studies()
    if name not in studies:
        raise SaltusError(f"study: {unknown('study', name, studies)}")
    return studies[name]
