"""How far outputs are from an answer, and in which parts of it."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from saltus.tasks.base import Batch, Task
from saltus.tasks.sequence import token_losses


def distances(task: Task, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Per member, the distance to the targets of a batch, {part: [*members]}.

    - One number per position: the mean squared error, at `observed` and at `masked` positions
      where the batch says which are observed, else as `loss`.
    - Tokens: `loss`, the mean cross-entropy of the answer in nats, and `accuracy`.
    - Anything else, such as one label per sample: `loss`, the task's own.
    """
    targets = batch["targets"]
    if targets.shape != outputs.shape[:-1]:
        return {"loss": task.loss(outputs, batch).mean(-1)}
    rows = task.output_rows() or slice(None)
    errors = position_errors(outputs, targets)
    if not targets.is_floating_point():
        right = (outputs.argmax(-1) == targets).to(outputs.dtype)
        return {
            "loss": errors[..., rows].mean((-2, -1)),
            "accuracy": right[..., rows].mean((-2, -1)),
        }
    observed = batch.get("observed")
    if observed is None or observed.shape != targets.shape:
        return {"loss": errors[..., rows].mean((-2, -1))}
    return {"observed": mean_at(errors, observed), "masked": mean_at(errors, ~observed)}


def position_errors(outputs: Tensor, targets: Tensor) -> Float[Tensor, "*batch position"]:
    """Squared error of one number per position, cross-entropy in nats of tokens."""
    if targets.is_floating_point():
        return (outputs[..., 0] - targets).square()
    return token_losses(outputs, targets)


def mean_at(
    values: Float[Tensor, "*members batch position"], where: Bool[Tensor, "*members batch position"]
) -> Float[Tensor, "*members"]:
    """The mean over the positions of a batch where `where` is true; NaN if there are none."""
    return values.masked_fill(~where, 0).sum((-2, -1)) / where.sum((-2, -1))
