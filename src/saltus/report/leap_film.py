"""The leap, frame by frame: what a microscope kept of single seeds, made into films.

Attention maps come from the model run again on every frame; embeddings are read from the frames
themselves. Image models show where on single images they look (`patch_film.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.instruments.attention_map import AttentionMap
from saltus.instruments.captured import PATTERNS
from saltus.instruments.embedding_geometry import tokens_of
from saltus.instruments.principal_components import principal
from saltus.models.base import Interface
from saltus.models.sites import Tape
from saltus.report import style
from saltus.report.attention import PREFIX, needed_keys, spread
from saltus.report.clock import clock_of
from saltus.report.compose import curve
from saltus.report.figure import Panel
from saltus.report.films.record import Cloud, Film, Maps, Take, film, names
from saltus.report.gather import groups_of
from saltus.report.names import unit_of
from saltus.report.patch_film import NOTE, OUTLINED, POOL, Develop, patch_maps
from saltus.report.scatters.record import Scatters, scatter, scatters
from saltus.report.text import count
from saltus.runs import Run
from saltus.training.film import film as frames_read

TITLE = "The leap, frame by frame"
LOSS = "loss/train"
SEEDS, MOST, FEWEST = 3, 32, 12  # seeds of a film, and its frames
BUDGET = 2_000_000  # values of all maps of a page; with larger ones it has fewer seeds
WORK = 1e12  # multiplications of all frames of a seed: more become fewer frames
AROUND = 0.25  # of the film's length: the loss is shown before and after it


def leap_film(run: Run, develop: Develop = frames_read, budget: int = BUDGET) -> Film | None:
    """A film of the first seeds of which the run has frames; None where it has none, or where the
    model has neither attention nor embeddings to show.

    `develop` reads instruments on the frames of a member, as `training.film` does. Raises
    SaltusError where the experiment cannot be rebuilt or a frame is not what was written.
    """
    known = _seed_names(run)
    kept = {member: steps for member in known if (steps := run.frames(member))}
    if not kept:
        return None
    experiment = Experiment.from_yaml(run.experiment_yaml)
    takes: list[Take] = []
    for member, steps in list(kept.items())[:SEEDS]:
        chosen = [steps[place] for place in spread(len(steps), frames_wanted(experiment))]
        made = take_of(run, experiment, member, known[member], chosen, develop)
        if not made.tracks:
            return None
        takes.append(made)
        size = sum(track.values.size for track in made.tracks if isinstance(track, Maps))
        if (len(takes) + 1) * size > budget:
            break
    told = f"The microscope kept frames of {len(kept)} of {count(len(known), 'seed')}"
    less = "; shown: the first that fit into a page" if len(takes) < len(kept) else ""
    most = max(map(len, kept.values()))
    thinned = f" At most {len(takes[0].steps)} of up to {most} frames, evenly spread."
    few = thinned if most > len(takes[0].steps) else ""
    kept_of = f"{told}{less}.{few}"
    if experiment.task.interface.takes != "images":
        return film(TITLE, takes, _NOTE, kept_of)
    tracks = [track for track in takes[0].tracks if isinstance(track, Maps)]
    outlined = [OUTLINED] if any(track.outlined is not None for track in tracks) else []
    who = f"Frames of {names(takes)}: single models, without a band."
    said = [who, NOTE, *outlined, "Loss: of the same seed alone.", kept_of]
    return Film(TITLE, tuple(takes), " ".join(said))


_NOTE = (
    "Attention: mean over one evaluation batch, the same for all frames. Embeddings: centred rows "
    "along the two principal directions of the last frame. Loss: of the same seed alone."
)


def frames_wanted(experiment: Experiment) -> int:
    """As many as a page takes; fewer where each costs much work."""
    interface = experiment.task.interface
    weights = sum(each.numel() for each in experiment.model.build(interface).parameters())
    if interface.takes == "images":
        one = weights * (tokens_attended(experiment) or 1) * POOL
    else:
        one = weights * interface.positions * experiment.evaluation_batch
    return int(np.clip(WORK / one, FEWEST, MOST))


def tokens_attended(experiment: Experiment) -> int | None:
    """How many tokens the model's attention runs over; None where it names no patterns."""
    interface, tape = experiment.task.interface, Tape(PATTERNS)
    with torch.no_grad():
        experiment.model.build(interface)(nothing(interface), tape)
    return next((pattern.shape[-1] for pattern in tape.values.values()), None)


def nothing(interface: Interface) -> Tensor:
    """One input of zeros."""
    if interface.image is not None:
        return torch.zeros(1, *interface.image)
    if interface.features:
        return torch.zeros(1, interface.positions, interface.features)
    return torch.zeros(1, interface.positions, dtype=torch.long)


def take_of(
    run: Run, experiment: Experiment, member: int, name: str, steps: list[int], develop: Develop
) -> Take:
    """One seed: its attention maps, its embeddings, and its loss around them."""
    tokens, takes = tokens_attended(experiment), experiment.task.interface.takes
    tracks: list[Maps | Cloud] = []
    if tokens is not None and takes == "images":
        tracks += patch_maps(run, experiment, member, name, steps, tokens, develop)
    elif tokens is not None:
        tracks += mean_maps(run, member, name, steps, develop)
    if takes != "images":
        tracks += embeddings(run, experiment, member, name, steps)
    return Take(name, tuple(tracks), loss_around(run, member, name, steps), clock_of(run))


def mean_maps(run: Run, member: int, name: str, steps: list[int], develop: Develop) -> list[Maps]:
    """Each layer's attention, averaged over the evaluation batch."""
    found = develop(run, member, [AttentionMap()], steps)
    return [
        Maps(name, layer, np.asarray(at, dtype=np.int64), np.asarray(values, dtype=np.float64),
             needed_keys(run, layer, values.shape[-2:]))
        for key, (at, values) in found.items() if (layer := key.removeprefix(PREFIX)) != key
    ]  # fmt: skip


def embeddings(
    run: Run, experiment: Experiment, member: int, name: str, steps: list[int]
) -> list[Cloud]:
    """Tokens by their value, where they stand for values; positions by column, on a grid."""
    task, found = experiment.task, []
    values, grid = task.token_values(), task.grid
    if values is None and grid is None:
        return []
    tables = [run.frame(member, step) for step in steps]
    if values is not None and "token.weight" in tables[0]:
        chosen = tokens_of(task)
        own = values.double()[chosen]
        signed = bool((own < 0).any())
        said = own.numpy()
        rows = [torch.from_numpy(table["token.weight"]).double()[chosen] for table in tables]
        references = [own.sign(), own.abs(), own] if signed else [own]
        panels = [
            scatter("", points, names=[f"token of {v:g}" for v in said], values=said,
                    x_label="first component", y_label="second component")
            for points in along_the_last(rows, references)
        ]  # fmt: skip
        frames = scatters("Token embeddings", panels, name, unit="value", diverging=signed)
        found.append(Cloud(np.array(steps), frames))
    if grid is not None and "position.weight" in tables[0]:
        found.append(Cloud(np.array(steps), positions(tables, grid, name)))
    return found


def positions(
    tables: Sequence[Mapping[str, ndarray]], grid: tuple[int, int], name: str
) -> Scatters:
    """The cells of a grid, a colour for each column, or a shade where there are many columns."""
    high, wide = grid
    cells = np.arange(high * wide)
    rows = [torch.from_numpy(t["position.weight"]).double()[: high * wide] for t in tables]
    few = wide <= len(style.LIGHT)
    panels = [
        scatter("", points, names=[f"row {cell // wide}, column {cell % wide}" for cell in cells],
                kinds=[f"column {cell % wide}" for cell in cells] if few else (),
                values=None if few else (cells % wide).astype(np.float64),
                x_label="first component", y_label="second component")
        for points in along_the_last(rows, ())
    ]  # fmt: skip
    return scatters("Position embeddings", panels, name, unit="" if few else "column")


def along_the_last(
    rows: Sequence[Float64[Tensor, "row width"]], references: Sequence[Float64[Tensor, " row"]]
) -> list[Float[ndarray, "row 2"]]:
    """Centred rows of every frame along the principal directions of the last, so that the film
    does not turn."""
    directions = principal(rows[-1], references).directions
    return [((each - each.mean(0)) @ directions.T).numpy() for each in rows]


def loss_around(run: Run, member: int, name: str, steps: list[int]) -> Panel | None:
    """The training loss of a member from a little before the first frame to a little after the
    last."""
    if LOSS not in run.names():
        return None
    series, margin = run.series(LOSS), AROUND * (steps[-1] - steps[0])
    shown = (series.steps >= steps[0] - margin) & (series.steps <= steps[-1] + margin)
    if not shown.any():
        return None
    clock = clock_of(run)
    x = clock.at(series.steps[shown])
    line = curve(name, x, series.values[member : member + 1, shown], 0, x_log=clock.log)
    return Panel("Training loss", LOSS, unit_of(LOSS), (line,), x_label=clock.label,
                 x_log=clock.log)  # fmt: skip


def try_leap_film(run: Run, budget: int = BUDGET) -> tuple[Film | None, str]:
    """The film, and why there is none ('': the run has no frames)."""
    try:
        return leap_film(run, budget=budget), ""
    except SaltusError as error:
        return None, str(error)


def _seed_names(run: Run) -> dict[int, str]:
    """Member → 'seed 3', with its setting where the run has several."""
    (groups,) = groups_of({run.name: run}).values()
    several = len(groups) > 1
    return {
        place: f"{group.label}, seed {run.seeds[place]}" if several else f"seed {run.seeds[place]}"
        for group in groups
        for place in group.places
    }
