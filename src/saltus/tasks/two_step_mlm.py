"""Two-step masked language modelling: two cues decide which of two tokens fills the blank."""

from __future__ import annotations

from math import log
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from saltus.models.base import Interface
from saltus.random import Draws
from saltus.tasks.base import Batch, Task
from saltus.tasks.sequence import token_losses

MASK = 0


class TwoStepMlm(Task):
    """A masked sequence of filler with two cues, two payloads and, in its last place, the slot.

    z = 1 if the two cues are the same token (probability `same`); the slot's token is the first
    payload where z = 1 and the second where z = 0. Step 1 is to decide z, step 2 to copy a payload:
    the language-model form of the two-step task of 2310.12956. The paper's own language
    modelling is not established: all of this is our choice (section 3.5 of our spec).

    Ids: 0 the mask, then `payloads` payload tokens, `cues` cue tokens, `fillers` filler tokens, all
    drawn uniformly. The slot is masked always, every filler with probability `masking`; cues and
    payloads never are, or the slot could not be answered. What stands under a masked filler is
    noise that costs ln(fillers) for ever, so it counts in the loss only with `loss_on: all`, where
    the loss is the mean over all masked places of a sample.

    With `places: fixed` cue, payload, payload, cue and slot stand evenly spaced, as indicators and
    targets stand in the cells of the paper's images; with `random` the four stand anywhere before
    the slot, and "first" is the payload that comes earlier.
    """

    kind: Literal["two-step-mlm"] = "two-step-mlm"
    payloads: int = Field(default=10, ge=2, description="K, the payload tokens: classes of y")
    cues: int = Field(default=2, ge=2, description="cue tokens")
    fillers: int = Field(default=16, ge=1, description="filler tokens")
    length: int = Field(default=16, ge=5, description="positions")
    masking: float = Field(default=0.15, ge=0, lt=1, description="chance of a filler to be masked")
    same: float = Field(default=0.5, ge=0, le=1, description="P(z = 1): how often the cues agree")
    places: Literal["fixed", "random"] = "fixed"
    loss_on: Literal["slot", "all"] = Field(default="slot", description="which masked places count")

    @property
    def interface(self) -> Interface:
        vocabulary = 1 + self.payloads + self.cues + self.fillers
        return Interface(vocabulary, self.length, vocabulary)

    def sample(self, draws: Draws, batch: int) -> Batch:
        """`inputs`, `targets` and `masked` [..., batch, position], and `z` [..., batch]."""
        first_cue, first_filler = 1 + self.payloads, 1 + self.payloads + self.cues
        payload = draws.integers(1, first_cue, batch, 2)
        cue = draws.integers(0, self.cues, batch, 1)
        other = (cue + draws.integers(1, self.cues, batch, 1)) % self.cues
        same = draws.uniform(batch, 1) < self.same
        cue = first_cue + torch.cat([cue, torch.where(same, cue, other)], dim=-1)
        filler = draws.integers(first_filler, first_filler + self.fillers, batch, self.length)
        hidden = draws.uniform(batch, self.length) < self.masking
        answer = torch.where(same, payload[..., :1], payload[..., 1:])
        spoken = torch.cat([cue, payload, answer], dim=-1)
        places = self._places(draws, batch, answer)
        targets = filler.scatter(-1, places, spoken)
        shown = torch.tensor([False, False, False, False, True], device=answer.device)
        masked = hidden.scatter(-1, places, shown.expand(places.shape))
        inputs = targets.masked_fill(masked, MASK)
        return {
            "inputs": inputs,
            "targets": targets,
            "masked": masked,
            "z": same.squeeze(-1).long(),
        }

    def loss(self, outputs: Tensor, batch: Batch) -> Float[Tensor, "*batch"]:
        if self.loss_on == "slot":
            return self._slot_losses(outputs, batch)
        masked = batch["masked"]
        losses = token_losses(outputs, batch["targets"]).masked_fill(~masked, 0.0)
        return losses.sum(-1) / masked.sum(-1)

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Of the slot: `loss/slot` in nats, `accuracy`, and `accuracy/either`, how often the answer
        is one of the two payloads, whichever: step 2 without step 1 brings that to 1 alone."""
        written = outputs[..., -1, :].argmax(-1, keepdim=True)
        right = (written == batch["targets"][..., -1:]).squeeze(-1)
        inputs = batch["inputs"]
        either = ((inputs == written) & self._is_payload(inputs)).any(-1)
        return {
            "loss/slot": self._slot_losses(outputs, batch).mean(-1),
            "accuracy": right.to(outputs.dtype).mean(-1),
            "accuracy/either": either.to(outputs.dtype).mean(-1),
        }

    def output_rows(self) -> slice:
        return slice(self.length - 1, self.length)

    def label_classes(self) -> dict[str, int]:
        return {"y": self.payloads, "z": 2}

    def labels(self, batch: Batch) -> dict[str, Int[Tensor, "*batch"]]:
        """`y`, which payload token fills the slot, and `z`, whether the cues agree."""
        return {"y": batch["targets"][..., -1] - 1, "z": batch["z"]}

    def roles(self, batch: Batch, tokens: int) -> dict[str, Bool[Tensor, "*batch token"]]:
        """`indicator`: the two cues; `target`: the two payloads."""
        inputs = batch["inputs"]
        first = 1 + self.payloads
        cue = (inputs >= first) & (inputs < first + self.cues)
        return {"indicator": cue, "target": self._is_payload(inputs)}

    def corrupted(self, batch: Batch) -> Batch:
        """The same sequence with the later cue changed, so that z is the other one."""
        inputs, targets = batch["inputs"], batch["targets"]
        cues = self.roles(batch, self.length)["indicator"]
        first = 1 + self.payloads
        later = cues & (cues.cumsum(-1) == 2)
        earlier = (targets * (cues & ~later)).sum(-1, keepdim=True)
        same = batch["z"].unsqueeze(-1).bool()
        cue = torch.where(same, first + (earlier - first + 1) % self.cues, earlier)
        payload = self._is_payload(inputs)
        chosen = torch.where(same, 2, 1)  # the payload that it was not before
        answer = (targets * (payload & (payload.cumsum(-1) == chosen))).sum(-1, keepdim=True)
        inputs, targets = torch.where(later, cue, inputs), torch.where(later, cue, targets)
        targets = torch.cat([targets[..., :-1], answer], dim=-1)
        return {**batch, "inputs": inputs, "targets": targets, "z": 1 - batch["z"]}

    def levels(self) -> dict[str, float]:
        """Losses of four strategies (section 2 of our spec with K payloads, P = `same`).

        `start`, any payload: ln K. `one-target`, the likelier payload is known and no other.
        `plateau`, both are, and z is not: (1 - 1/K) H(P), as they differ in that share of samples.
        `floor`: 0. With `loss_on: all`, each of N masked fillers adds ln(fillers), N binomial.
        """
        count, likelier = self.payloads, max(self.same, 1 - self.same)
        right = likelier + (1 - likelier) / count
        wrong = (1 - right) / (count - 1)
        slot = {
            "start": log(count),
            "one-target": -_x_ln_x(right) - (count - 1) * _x_ln_x(wrong),
            "plateau": (1 - 1 / count) * -(_x_ln_x(likelier) + _x_ln_x(1 - likelier)),
            "floor": 0.0,
        }
        share = self._slot_share()
        return {name: share * x + (1 - share) * log(self.fillers) for name, x in slot.items()}

    def accuracy_levels(self) -> dict[str, float]:
        """The accuracy of the same strategies: a plateau at 1/K + (1 - 1/K) max(P, 1 - P)."""
        chance = 1 / self.payloads
        plateau = chance + (1 - chance) * max(self.same, 1 - self.same)
        return {"start": chance, "one-target": plateau, "plateau": plateau, "floor": 1.0}

    def _slot_share(self) -> float:
        """The mean of 1 / (1 + N), N masked fillers: the slot's share in the loss."""
        if self.loss_on == "slot" or not self.masking:
            return 1.0
        places = self.length - 4  # of the fillers and the slot
        return (1 - (1 - self.masking) ** places) / (places * self.masking)

    def _places(self, draws: Draws, batch: int, like: Tensor) -> Int[Tensor, "*batch 5"]:
        """Where the cues, the payloads in their order, and the slot stand."""
        last = self.length - 1
        if self.places == "fixed":
            even = [last * part // 4 for part in (0, 3, 1, 2, 4)]
            return torch.tensor(even, device=like.device).expand(*like.shape[:-1], 5)
        anywhere = draws.permutation(last, batch)[..., :4]
        cues, payloads = anywhere[..., :2], anywhere[..., 2:].sort(-1).values
        return torch.cat([cues, payloads, torch.full_like(like, last)], dim=-1)

    def _slot_losses(self, outputs: Tensor, batch: Batch) -> Float[Tensor, "*batch"]:
        return token_losses(outputs[..., -1:, :], batch["targets"][..., -1:]).squeeze(-1)

    def _is_payload(
        self, inputs: Int[Tensor, "*batch position"]
    ) -> Bool[Tensor, "*batch position"]:
        return (inputs >= 1) & (inputs <= self.payloads)


def _x_ln_x(x: float) -> float:
    return x * log(x) if x > 0 else 0.0
