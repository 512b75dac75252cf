"""An Experiment: task + model + interventions + instruments + optimiser + steps + seeds.

One validated, frozen, serialisable object; a YAML file is the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from saltus.errors import FieldProblem, SaltusError, explain
from saltus.instruments.base import AnyInstrument
from saltus.interventions.base import AnyIntervention
from saltus.models.base import AnyModel
from saltus.parts import Record, with_numbers
from saltus.tasks.base import AnyTask
from saltus.training.gradient_flow import GradientFlow
from saltus.training.optimizers import Adam, AnyOptimizer


class Microscope(Record):
    """Keeps the states in which a member leaps (`saltus.training.microscope`)."""

    frames: int = Field(
        default=32,
        ge=2,
        description="states held before a leap is noticed; after as many more the spacing doubles",
    )
    every: int | None = Field(
        default=None, ge=1, description="steps between frames; a thousandth if not given"
    )

    def spacing(self, steps: int) -> int:
        return self.every or max(1, steps // 1000)

    @classmethod
    def parse(cls, value: Any) -> Any:
        """A mapping as a Microscope; a mistake is told as one of its fields."""
        try:
            return value if value is None else cls.model_validate(value)
        except ValidationError as error:
            raise explain(error, cls) from None


class Checkpoints(Record):
    """Which states are kept. The first and the last always are."""

    at: tuple[int, ...] = Field(default=(), description="steps whose state is kept")
    every: int | None = Field(default=None, ge=1, description="keep every n-th step")
    rescue: int | None = Field(
        default=None,
        ge=1,
        description="steps between resume points; a tenth of the run if not given",
    )
    microscope: Annotated[Microscope | None, BeforeValidator(Microscope.parse)] = Field(
        default=None, description="if given, `{}` for instance: frames across every leap"
    )

    def keeps(self, step: int, steps: int) -> bool:
        if step in (0, steps) or step in self.at:
            return True
        return self.every is not None and step % self.every == 0

    def rescues(self, step: int, steps: int) -> bool:
        return step % (self.rescue or max(1, steps // 10)) == 0


class Engine(Record):
    """How the ensemble is computed: `chunk` members together at most, in `workers` processes.

    On CPU eager neither changes a member by one bit.
    """

    device: str = "cpu"
    precision: Literal["float32", "float64", "bfloat16", "tf32"] = "float32"
    chunk: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    compile: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The type parameters are kept in (bfloat16 and tf32 only compute in less)."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @model_validator(mode="after")
    def _device_fits(self) -> Engine:
        try:
            kind = torch.device(self.device).type
        except RuntimeError:
            raise ValueError(f"device {self.device!r} is not a device; cpu or cuda") from None
        if kind == "cpu" and self.precision in ("bfloat16", "tf32"):
            raise ValueError(
                f"precision {self.precision} needs a GPU; the CPU has float32, float64"
            )
        return self


class Member(NamedTuple):
    """One seed of one setting: what a row of an ensemble trains."""

    seed: int
    experiment: Experiment
    overrides: dict[str, Any]


def _seeds(value: Any) -> Any:
    return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


class Experiment(Record):
    """What to train, on what, how, and what to read meanwhile.

    `vary` maps dotted fields to lists of values: the grid of all combinations times the seeds is
    one ensemble. Members may differ in scalars of the optimiser and of the interventions and in
    what shapes only the model's start; everything else shapes the computation and needs an
    experiment each.

    Every step learns from fresh samples, or, with `examples`, from a fixed training set of that
    size; `batch` equal to it is full-batch training.
    """

    name: str = Field(default="experiment", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    study: str | None = None
    arm: str | None = None
    scale: Literal["quick", "paper", "authors"] | None = None
    task: AnyTask
    model: AnyModel
    optimizer: AnyOptimizer = Adam(learning_rate=1e-3)
    interventions: tuple[AnyIntervention, ...] = ()
    instruments: tuple[AnyInstrument, ...] = ()
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    examples: int | None = Field(default=None, ge=1, description="size of a fixed training set")
    evaluation_batch: int = Field(default=64, ge=1)
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_seeds)] = (0,)
    vary: Annotated[dict[str, tuple[Any, ...]], BeforeValidator(with_numbers)] = Field(
        default_factory=dict
    )
    checkpoints: Checkpoints = Checkpoints()
    engine: Engine = Engine()

    @field_validator("seeds")
    @classmethod
    def _some_distinct_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds:
            raise ValueError("no seeds; give a number of seeds or a list of them")
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"seed {_first_repeat(seeds)} is listed twice")
        return seeds

    @model_validator(mode="after")
    def _parts_fit(self) -> Experiment:
        named = {"interventions": self.interventions, "instruments": self.instruments}
        for place, parts in named.items():
            for index, part in enumerate(parts):
                try:
                    part.check(self.task)
                except ValueError as error:
                    raise ValueError(f"{place}.{index} ({part.kind}): {error}") from None
        try:
            self.model.check(self.task.interface)
        except ValueError as error:
            raise ValueError(f"model ({self.model.kind}): {error}") from None
        rows = getattr(self.model, "positions", None)
        if rows is not None and rows < self.task.interface.positions:
            raise ValueError(
                f"model.positions {rows} is too few: task {self.task.kind} "
                f"has inputs of {self.task.interface.positions} positions"
            )
        self._data_fits()
        for path, values in self.vary.items():
            _check_memberwise(self, path, values)
        return self

    def _data_fits(self) -> None:
        if self.examples is not None and self.batch > self.examples:
            raise ValueError(f"batch {self.batch} is larger than examples {self.examples}")
        drawn = "batch" if self.examples is None else "examples"
        try:
            self.task.check_examples(self.examples or self.batch)
        except ValueError as error:
            raise ValueError(f"{drawn}: {error}") from None
        if isinstance(self.optimizer, GradientFlow):
            try:
                self.optimizer.check(self)
            except ValueError as error:
                raise ValueError(f"optimizer ({self.optimizer.kind}): {error}") from None

    def members(self) -> list[Member]:
        """The grid of `vary` times the seeds, seeds innermost."""
        points = product(*self.vary.values())
        settings = [dict(zip(self.vary, point, strict=True)) for point in points]
        plain = self.model_copy(update={"vary": {}})
        return [
            Member(seed, plain.override(setting) if setting else plain, setting)
            for setting in settings
            for seed in self.seeds
        ]

    def override(self, changes: Mapping[str, Any]) -> Experiment:
        """A copy with dotted fields replaced, validated anew."""
        return Experiment.of(self._changed(changes))

    def data(self) -> dict[str, Any]:
        """Plain dicts, lists and scalars; `Experiment.of` reads them back."""
        return self.model_dump(mode="json")

    def _changed(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        data = self.data()
        for path, value in changes.items():
            _put(data, path, value)
        return data

    def to_yaml(self) -> str:
        """The whole experiment, defaults included."""
        return yaml.safe_dump(self.data(), sort_keys=False, allow_unicode=True)

    @classmethod
    def of(cls, data: Any, source: str = "experiment") -> Experiment:
        """From plain data. Raises SaltusError with one line for the first problem."""
        if not isinstance(data, Mapping):
            raise SaltusError(f"{source}: not a mapping of fields, but {type(data).__name__}")
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise SaltusError(f"{source}: {explain(error, cls)}") from None

    @classmethod
    def from_yaml(cls, text: str, source: str = "experiment") -> Experiment:
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SaltusError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
        return cls.of(data, source)

    @classmethod
    def load(cls, path: str | Path) -> Experiment:
        """From a YAML file."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SaltusError(f"{path}: cannot be read: {error}") from None
        return cls.from_yaml(text, str(path))


def _check_memberwise(experiment: Experiment, path: str, values: tuple[Any, ...]) -> None:
    allowed = {f"model.{name}" for name in experiment.model.memberwise}
    allowed |= {f"optimizer.{name}" for name in experiment.optimizer.memberwise}
    for index, part in enumerate(experiment.interventions):
        allowed |= {f"interventions.{index}.{name}" for name in part.memberwise}
    if path not in allowed:
        names = ", ".join(sorted(allowed))
        raise ValueError(f"vary.{path}: members cannot differ in it. Allowed: {names}")
    if not values:
        raise ValueError(f"vary.{path}: no values")
    plain = experiment.model_copy(update={"vary": {}})
    for value in values:
        try:
            Experiment.model_validate(plain._changed({path: value}))
        except ValidationError as error:
            problem = explain(error, Experiment)
            text = problem.text if problem.path == path else str(problem)
            raise FieldProblem(f"vary.{path}", text) from None


def _put(data: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    place = data
    for key in parents:
        place = _child(place, key, path)
    if isinstance(place, list):
        place[_index(place, last, path)] = value
    elif isinstance(place, dict):
        place[last] = value  # an unknown name is refused, with the allowed ones, on validation
    else:
        raise SaltusError(f"{path}: '{'.'.join(parents)}' has no fields")


def _child(place: Any, key: str, path: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, key, path)]
    if not isinstance(place, dict) or key not in place:
        raise SaltusError(f"{path}: there is no field '{key}'")
    return place[key]


def _index(place: list[Any], key: str, path: str) -> int:
    if not key.isdecimal() or int(key) >= len(place):
        raise SaltusError(f"{path}: '{key}' is not a place in a list of {len(place)}")
    return int(key)


def _first_repeat(seeds: tuple[int, ...]) -> int:
    return next(seed for index, seed in enumerate(seeds) if seed in seeds[:index])
