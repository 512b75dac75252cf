"""What a Task is: where batches, the loss, the metrics and the oracle facts come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

from jaxtyping import Bool, Float, Int
from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor

from saltus.models.base import Interface
from saltus.parts import Part
from saltus.random import Draws

Batch = Mapping[str, Tensor]
Apply = Callable[[Tensor], Tensor]


class Planted(NamedTuple):
    """A batch into which a value was written."""

    batch: Batch
    where: Bool[Tensor, "*batch position"]  # the outputs that would give it back
    value: float


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
    def validation(self) -> Task:
        """Where samples for evaluation come from: by default the same source as for training."""
        return self

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

    def answer_parts(self, batch: Batch) -> dict[str, Bool[Tensor, "*batch answer"]]:
        """Parts of the answers that are told apart, by name: True where an answer token belongs."""
        return {}

    def output_rows(self) -> slice | None:
        """The query positions whose outputs are the answer, for tasks that have such."""
        return None

    def attended(self, layer: int = 0) -> Bool[Tensor, "query key"] | None:
        """The oracle's attention set: True where a query needs a key. None where unknown."""
        return None

    @property
    def grid(self) -> tuple[int, int] | None:
        """(rows, columns) where position k stands for the cell (k // columns, k % columns)."""
        return None

    @property
    def steady(self) -> bool:
        """Whether every step's batch has the same shape; members of other tasks run one by one."""
        return True

    def state_groups(self) -> tuple[tuple[int, ...], ...] | None:
        """Positions whose states are compared with each other, group by group, where the paper of
        the task says which. None: all answers but the first."""
        return None

    def token_values(self) -> Float[Tensor, " vocabulary"] | None:
        """The number that each token stands for, NaN for one that stands for none."""
        return None

    def planted(self, batch: Batch, value: float) -> Planted | None:
        """The batch with `value` written where a model that copies would give it back."""
        return None

    def copy_error(
        self, outputs: Float[Tensor, "*batch position output"], planted: Planted
    ) -> Float[Tensor, "*batch position"]:
        """How far each output is from the planted value: squared error, or 0 / 1 for tokens."""
        raise NotImplementedError(type(self).__name__)

    def corrupted(self, batch: Batch) -> Batch:
        """A twin of the batch, sample by sample, whose right answers differ: what activations are
        patched into. By default each sample's twin is the next one of the batch."""
        behind = {"tokens": 1, "vectors": 2, "images": 3}[self.interface.takes]
        axis = batch["inputs"].ndim - 1 - behind  # of samples, whatever lies before
        return {name: value.roll(1, axis) for name, value in batch.items()}

    def probe_targets(self, batch: Batch) -> dict[str, Float[Tensor, "*batch position feature"]]:
        """What a probe of the hidden states may look for, by name."""
        return {}

    def label_classes(self) -> dict[str, int]:
        """What is known of a whole sample as a class, and how many classes there are: the label
        `y`, the hidden decision `z`, what a cell shows. Empty where nothing is told apart."""
        return {}

    def labels(self, batch: Batch) -> dict[str, Int[Tensor, "*batch"]]:
        """The classes of `label_classes` of each sample, by the same names."""
        return {}

    def roles(self, batch: Batch, tokens: int) -> dict[str, Bool[Tensor, "*batch token"]]:
        """Which of a model's `tokens` carry what, per sample: `indicator` says which part is to be
        answered, `target` are the parts that may be. An image task lays the tokens out as a square
        of patches, after a class token if there is one more. Empty where nothing is told apart."""
        return {}

    def levels(self) -> dict[str, float]:
        """Closed forms of loss levels, e.g. {"plateau": 2.628, "floor": 1.2997}."""
        return {}


AnyTask = Annotated[SerializeAsAny[Task], BeforeValidator(Task.parse)]
