"""One softmax layer and a linear MLP under a fixed readout: the model of 2410.09605."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from saltus.models.attention import temperature_of
from saltus.models.base import Interface, Model, Start
from saltus.models.inner_products import READOUT, conserved, readout_norm
from saltus.models.layers import Embedding, Linear, linear
from saltus.models.normalisers import AnyNormaliser, Normaliser, Softmax
from saltus.models.sites import SILENT, Tape
from saltus.models.whole_vectors import pad_samples, whole_samples

NAME = "blocks.0.attention"


class OneLayerAttention(Model):
    """f_l = sum_j a_j w_j^T W_V X softmax(X^T W_K^T W_Q x_l / sqrt(m)) for every position l.

    Section 3 of our spec of 2410.09605: one-hot tokens, no mask, no positions, no residual, no
    bias, no activation; m = `width`, m1 = `neurons`. The readout a is a fair sign per neuron,
    drawn per seed and never trained. The paper's F(X) is the sum of the outputs over positions.

    `initialisation`: `theory` has W ~ N(0, 1 / m1) and W_Q, W_K, W_V ~ N(0, kappa^2 / (L m)) with
    L the task's positions (Condition 1 without its logarithms); `normal` has W ~ N(0, sigma1^2)
    and the others N(0, sigma0^2); `uniform-fan-in` is U(-1, 1) / sqrt(fan-in), the usual start of
    a linear layer, and `normal-fan-in` N(0, 2 / fan-in), where fan-in is the vocabulary for
    W_Q, W_K, W_V and the width for W.

    `attention` puts another normaliser in the softmax's place, an extension of ours. All but
    `qk-norm`: behind a LayerNorm W_K^T W_Q, which this model is read by, is no logit any more.
    """

    stackable: ClassVar[bool] = True
    fixed: ClassVar[tuple[str, ...]] = (READOUT,)
    memberwise: ClassVar[tuple[str, ...]] = ("initial_scale", "kappa", "sigma0", "sigma1")
    kind: Literal["one-layer-attention"] = "one-layer-attention"
    width: int = Field(default=64, ge=1, description="m, of queries, keys and values")
    neurons: int = Field(default=16, ge=1, description="m1, of the linear MLP")
    attention: AnyNormaliser = Softmax()
    initialisation: Literal["theory", "normal", "uniform-fan-in", "normal-fan-in"] = "theory"
    kappa: float | None = Field(default=None, gt=0, description="of theory; 0.3 if not given")
    sigma0: float | None = Field(default=None, gt=0, description="of normal: W_Q, W_K, W_V")
    sigma1: float | None = Field(default=None, gt=0, description="of normal: W")

    @field_validator("attention")
    @classmethod
    def _logits_are_inner_products(cls, attention: Normaliser) -> Normaliser:
        if attention.normed:
            raise ValueError(
                f"{attention.kind} puts a LayerNorm before W_K^T W_Q, which this model is read by; "
                "allowed: learned-temperature, linear, norm-softmax, saturated, softmax"
            )
        return attention

    @model_validator(mode="after")
    def _numbers_belong_to_the_law(self) -> OneLayerAttention:
        law = self.initialisation
        if self.kappa is not None and law != "theory":
            raise ValueError(f"kappa goes with initialisation theory, not with {law}")
        if law == "normal" and (self.sigma0 is None or self.sigma1 is None):
            raise ValueError("initialisation normal needs sigma0 and sigma1")
        if law != "normal" and (self.sigma0 is not None or self.sigma1 is not None):
            raise ValueError(f"sigma0 and sigma1 go with initialisation normal, not with {law}")
        return self

    def build(self, interface: Interface) -> nn.Module:
        return OneLayer(self, interface)

    def start_in(self, module: nn.Module, name: str) -> Start:
        assert isinstance(module, OneLayer)
        if name == READOUT:
            return Start(1.0, law="sign")
        if name.endswith("log_temperature"):
            return Start(0.0, mean=0.5 * log(self.width))
        is_mlp = ".mlp." in name
        fan_in = self.width if is_mlp else module.interface.vocabulary
        if self.initialisation == "uniform-fan-in":
            return Start(fan_in**-0.5, law="uniform")
        if self.initialisation == "normal-fan-in":
            return Start((2 / fan_in) ** 0.5)
        if self.sigma0 is not None and self.sigma1 is not None:
            return Start(self.sigma1 if is_mlp else self.sigma0)
        if is_mlp:
            return Start(self.neurons**-0.5)
        kappa = 0.3 if self.kappa is None else self.kappa
        return Start(kappa * (module.interface.positions * self.width) ** -0.5)

    def rate(self, parameters: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """A = |W^T a|^2: the spec's sharper clock is A(0) t (section 11.3)."""
        return readout_norm(parameters)

    def conserved(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return conserved(parameters)


class OneLayer(nn.Module):
    """Tokens [..., sample, position] to outputs [..., sample, position, output].

    W_Q, W_K and W_V are stored token-major, [vocabulary, width]: the paper's column of a token is
    a row here. `blocks.0.mlp.weight` [neurons, width] is W, `readout.weight` [outputs, neurons]
    is a. Sites: `blocks.0.attention.query`, `.key`, `.value` [..., head = 1, position, width],
    `.temperature`, `.logits`, `.scores`, `.pattern` [..., 1, query, key] as in `Attention`,
    `.heads` [..., 1, position, width] and `final` [..., position, neurons], what the readout reads.
    Values, heads and `final` are formed only where one of them is wanted: all that the outputs
    need of a token is one number per output, G = W_V^T W^T a.
    """

    def __init__(self, config: OneLayerAttention, interface: Interface) -> None:
        super().__init__()
        self.interface = interface
        self.normaliser = config.attention
        self.blocks = nn.ModuleList([Block(config, interface.vocabulary)])
        self.readout = Linear(config.neurons, interface.outputs, bias=False)

    def forward(self, tokens: Tensor, tape: Tape = SILENT) -> Tensor:
        samples, length = tokens.shape[-2:]
        attention, mlp = self.blocks[0].attention, self.blocks[0].mlp
        assert isinstance(attention, Projections) and isinstance(mlp, Linear)
        dtype = mlp.weight.dtype
        tokens = pad_samples(tokens, -2, whole_samples(samples, length * length, dtype))

        def site(name: str, value: Tensor, axis: int) -> Tensor:
            if tape.idle:
                return value
            seen = tape(name, value.narrow(axis, 0, samples))
            return pad_samples(seen, axis, value.shape[axis])

        query = site(f"{NAME}.query", rows(attention.query.weight, tokens).unsqueeze(-3), -4)
        key = site(f"{NAME}.key", rows(attention.key.weight, tokens).unsqueeze(-3), -4)
        temperature = temperature_of(query, attention.log_temperature, tape, f"{NAME}.temperature")
        logits = site(f"{NAME}.logits", query @ key.transpose(-1, -2), -4)
        if tape.wants(f"{NAME}.logits"):
            logits = logits.clone()  # the site keeps its own
        scores = self.normaliser.scores(logits, temperature, None)
        scores = site(f"{NAME}.scores", scores, -4)
        pattern = site(f"{NAME}.pattern", self.normaliser.weights(scores, None), -4)
        if any(tape.wants(name) for name in (f"{NAME}.value", f"{NAME}.heads", "final")):
            value = site(f"{NAME}.value", rows(attention.value.weight, tokens).unsqueeze(-3), -4)
            heads = site(f"{NAME}.heads", pattern @ value, -4)
            outputs = linear(site("final", mlp(heads.squeeze(-3)), -3), self.readout.weight)
        else:
            direction = linear(mlp.weight.mT, self.readout.weight).mT
            outputs = mix(pattern.squeeze(-3), attention.value.weight, direction, tokens)
        return outputs.narrow(-3, 0, samples)


class Block(nn.Module):
    """What a transformer block has: attention, and an MLP that is one matrix here."""

    def __init__(self, config: OneLayerAttention, vocabulary: int) -> None:
        super().__init__()
        self.attention = Projections(vocabulary, config.width, config.attention.learned)
        self.mlp = Linear(config.width, config.neurons, bias=False)


class Projections(nn.Module):
    """W_Q, W_K and W_V of one-hot tokens: tables of rows; and log tau, where it is learned."""

    def __init__(self, vocabulary: int, width: int, learned: bool = False) -> None:
        super().__init__()
        self.query = Embedding(vocabulary, width)
        self.key = Embedding(vocabulary, width)
        self.value = Embedding(vocabulary, width)
        self.log_temperature = nn.Parameter(torch.empty(1)) if learned else None


def rows(
    table: Float[Tensor, "*member vocabulary width"], tokens: Int[Tensor, "*batch position"]
) -> Float[Tensor, "*batch position width"]:
    """The rows of some tokens; their gradient is one index_add, twice as fast as embedding's."""
    vocabulary, width = table.shape[-2:]
    if table.ndim == 3:  # one table of all members: member k's rows start at k * vocabulary
        start = torch.arange(len(table), device=tokens.device) * vocabulary
        tokens = tokens + start.view(-1, *[1] * (tokens.ndim - 1))
    found = table.reshape(-1, width).index_select(0, tokens.flatten())
    return found.view(*tokens.shape, width)


def mix(
    pattern: Float[Tensor, "*batch query key"],
    value: Float[Tensor, "*member vocabulary width"],
    direction: Float[Tensor, "*member output width"],
    tokens: Int[Tensor, "*batch key"],
) -> Float[Tensor, "*batch query output"]:
    """f_l = sum_h p_lh G(x_h), with G(mu) = direction . W_V mu computed once per token."""
    readout = linear(value, direction)
    lead, outputs = readout.shape[:-2], readout.shape[-1]
    index = tokens.reshape(*lead, -1, 1).expand(*lead, -1, outputs)
    per_key = readout.gather(-2, index).view(*tokens.shape, outputs)
    if outputs > 1:
        return pattern @ per_key
    return (pattern * per_key.mT).sum(-1, keepdim=True)
