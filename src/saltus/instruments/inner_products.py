"""Inner products: what `OneLayerAttention` has learnt of its signal tokens, and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.class_balance import force, margin
from saltus.models import inner_products as products
from saltus.tasks.base import Task

SIGNALS = (0, 1, 2)  # the paper's mu_1, mu_2 (targets) and mu_3 (common)
WIDE = 8  # products of odd shapes cannot be stacked bit for bit: token lists come in eights


class InnerProducts(Instrument):
    """The quantities of 2410.09605 on the three signal tokens (section 10 of our spec).

    Tokens carry the paper's numbers 1, 2, 3; `M[2,1]` is mu_2^T W_K^T W_Q mu_1 (row = key, column =
    query). With each the velocity `d...` of gradient flow on the training batch at this moment.

    - `A`, `dA`: |W^T a|^2; `G/1` .. `G/3` and `dG/1` ..: the linear MLP's read-out of a token;
    - `M/12`, `dM/12` for all nine pairs: scores; `B/12`, `dB/12` for the six: W_V^T W_V;
    - `G/random`: max |G| over all other tokens;
    - `c/norm`: |c|, the driving vector of W_V (section 5.1), from the gradient W_V' = omega c^T.
    """

    kind: Literal["inner-products"] = "inner-products"
    cadence: AnyCadence = Cadence(every=100)

    def needs(self, task: Task) -> Needs:
        return Needs(gradients=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        own, gradients = reading.parameters, reading.gradients
        require(own)
        some = in_eights(SIGNALS)
        readout = products.token_readout(own, some)
        read_velocity = products.token_readout_velocity(own, gradients, some)
        scores = products.scores(own, some)
        score_velocity = products.scores_velocity(own, gradients, some)
        gram = products.gram(own, tokens=some)
        gram_velocity = products.gram_velocity(own, gradients, tokens=some)
        vocabulary = own[products.VALUE].shape[-2]
        others = products.token_readout(own, in_eights(range(vocabulary)))[3:vocabulary]
        results = {
            "A": products.readout_norm(own),
            "dA": products.readout_norm_velocity(own, gradients),
            "G/random": others.abs().amax(),
            "c/norm": torch.linalg.vector_norm(drive(own, gradients)),
        }
        for i in SIGNALS:
            results[f"G/{i + 1}"], results[f"dG/{i + 1}"] = readout[i], read_velocity[i]
            for j in SIGNALS:
                pair = f"{i + 1}{j + 1}"
                results[f"M/{pair}"], results[f"dM/{pair}"] = scores[i, j], score_velocity[i, j]
                if i <= j:
                    results[f"B/{pair}"], results[f"dB/{pair}"] = gram[i, j], gram_velocity[i, j]
        return results


class ScoreShift(Instrument):
    """How far the scores of whole groups of tokens have moved: max |M(t) - M(0)|.

    `score-shift/targets`: mean of the changes of M[1,2] and M[2,1]; `score-shift/signal-random`:
    the largest over pairs of a signal and another token (Thm 3.3); `score-shift/random-random`:
    over pairs of others; `score-shift/gram`: the largest change of an entry of B on the signal
    tokens. Costs a vocabulary-squared product, so read it seldom.
    """

    kind: Literal["score-shift"] = "score-shift"
    cadence: AnyCadence = Cadence(every=1000)

    def needs(self, task: Task) -> Needs:
        return Needs(initial=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        own, initial = reading.parameters, reading.initial
        require(own)
        vocabulary = own[products.KEY].shape[-2]
        every = in_eights(range(vocabulary))
        moved = products.scores(own, every) - products.scores(initial, every)
        moved = moved[:vocabulary, :vocabulary]
        signals = in_eights(SIGNALS)
        gram = products.gram(own, tokens=signals) - products.gram(initial, tokens=signals)
        mixed = torch.maximum(moved[:3, 3:].abs().amax(), moved[3:, :3].abs().amax())
        return {
            "score-shift/targets": (moved[0, 1] + moved[1, 0]) / 2,
            "score-shift/signal-random": mixed,
            "score-shift/random-random": moved[3:, 3:].abs().amax(),
            "score-shift/gram": gram[:3, :3].abs().amax(),
        }


class TwoPhases(Instrument):
    """The operational boundary of the two phases (section 8 of our spec), as events.

    `T05`: -dG(mu_3) first reaches max(dG(mu_1), dG(mu_2)). `classified`: all training samples are
    right. `T1`: margins >= 0.1, G(mu_1), G(mu_2) >= 0.3 and G(mu_3) <= -0.3. `disorder`: after T1,
    the first violation of S4 <= min(S2, S3) <= max(S2, S3) <= S1 <= S2 + S3 + S4 (Def. F.1).
    """

    kind: Literal["two-phases"] = "two-phases"
    cadence: AnyCadence = Cadence(every=100)

    def needs(self, task: Task) -> Needs:
        return Needs(outputs=True, gradients=True, training=True)

    def check(self, task: Task) -> None:
        if len(task.class_names) != 4:
            raise ValueError(f"task {task.kind} has not the four classes of word co-occurrence")

    def events(self, reading: Reading) -> dict[str, Tensor]:
        own, losses = reading.parameters, reading.losses
        require(own)
        assert losses is not None  # `needs` asked for it
        some = in_eights(SIGNALS)
        first, second, common = products.token_readout(own, some)[:3].unbind()
        speed = products.token_readout_velocity(own, reading.gradients, some)
        least = margin(losses).amin()
        learnt = torch.stack([least - 0.1, first - 0.3, second - 0.3, -common - 0.3]).amin()
        return {
            "T05": -speed[2] - torch.maximum(speed[0], speed[1]),
            "classified": least,
            "T1": learnt,
            "disorder": torch.minimum(learnt, disorder(losses, reading.batch["classes"])),
        }


def disorder(losses: Tensor, classes: Tensor) -> Tensor:
    """How far the forces S1 .. S4 are from the order of Def. F.1: > 0 where it is violated."""
    forces = force(losses)
    s1, s2, s3, s4 = ((forces * (classes == c)).sum() for c in range(4))
    low, high = torch.minimum(s2, s3), torch.maximum(s2, s3)
    return torch.stack([s4 - low, high - s1, s1 - (s2 + s3 + s4)]).amax()


def drive(parameters: products.Named, gradients: products.Named) -> Tensor:
    """c [vocabulary], from W_V' = omega c^T (section 5.1), where the velocity is -gradient."""
    direction = products.readout_direction(parameters)
    pulled = -(gradients[products.VALUE] * direction).sum(-1)
    return pulled / direction.square().sum(-1)


def in_eights(tokens: Sequence[int]) -> list[int]:
    """A list of tokens, filled up with its first to a whole number of eights."""
    return [*tokens, *[tokens[0]] * (-len(tokens) % WIDE)]


def require(parameters: products.Named) -> None:
    """SaltusError unless these are the parameters of `OneLayerAttention`."""
    if products.VALUE not in parameters or products.NEURONS not in parameters:
        raise SaltusError("instruments: inner products need the model one-layer-attention")
