"""What a Task is: where batches, the loss, the metrics and the oracle facts come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

from jaxtyping import Bool, Float
from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor

from saltus.models.base import Interface
from saltus.parts import Part
from saltus.random import Draws

Batch = Mapping[str, Tensor]
Apply = Callable[[Tensor], Tensor]


class Task(Part):
    """A supply of fresh batches and what is known about them.

    Every tensor may carry leading member axes (an ensemble of K members draws [K, batch, ...]):
    methods use negative axes only, so the same code serves one model and a stack of models.
    """

    @property
    def interface(self) -> Interface:
        """What a model must take in and give out."""
        raise NotImplementedError(type(self).__name__)

    def sample(self, draws: Draws, batch: int) -> Batch:
        """Fresh samples: at least `inputs` [..., batch, position] and `targets`."""
        raise NotImplementedError(type(self).__name__)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the numbers of `classes` in a batch mean, for tasks that class their samples."""
        return ()

    def check_examples(self, examples: int) -> None:
        """Raise ValueError where a training set or batch of this size cannot be drawn."""

    def loss(
        self, outputs: Float[Tensor, "*batch position output"], batch: Batch
    ) -> Float[Tensor, "*batch"]:
        """The training loss of each sample (natural units: nats or squared error)."""
        raise NotImplementedError(type(self).__name__)

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Named scalars per member, e.g. `accuracy`; empty axes are the leading ones."""
        return {}

    def generate(self, apply: Apply, batch: Batch, causal: bool = False) -> Tensor | None:
        """What the model writes on its own, for tasks that have an output part to write.

        `causal` says that outputs do not depend on later inputs, which may save passes.
        """
        return None

    def output_rows(self) -> slice | None:
        """The query positions whose outputs are the answer, for tasks that have such."""
        return None

    def attended(self, layer: int = 0) -> Bool[Tensor, "query key"] | None:
        """The oracle's attention set: True where a query needs a key. None where unknown."""
        return None

    def levels(self) -> dict[str, float]:
        """Closed forms of loss levels, e.g. {"plateau": 2.628, "floor": 1.2997}."""
        return {}


AnyTask = Annotated[SerializeAsAny[Task], BeforeValidator(Task.parse)]
