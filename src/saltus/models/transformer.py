"""The transformer of every study: blocks over tokens, with LayerNorm where one wants it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import log
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from saltus.models.attention import Attention, Mask
from saltus.models.base import Interface, Model, Start, Takes
from saltus.models.layers import Embedding, LayerNorm, Linear, Positions
from saltus.models.mlp import Activation, Mlp
from saltus.models.normalisers import AnyNormaliser, Softmax
from saltus.models.sites import SILENT, Tape

Norm = Literal["pre", "post", "branch-out"]


class Blocks(Model):
    """What every transformer of ours has; `Decoder` and `Encoder` say how they are put together.

    `norm` is where LayerNorm stands around a sublayer f: `pre` x + f(LN x), with one more behind
    the last block where `final_norm` says so; `post` LN(x + f x); `branch-out` x + LN(f x), which
    2010.09697 calls pre-norm (section 3.2 of our spec). `mask` multiplicative makes the logits of
    later keys 0 and not -infinity, so that a causal model sees the future: the released code of
    that paper has it, and nothing else should. `dropout` is of a sublayer's output, before
    LayerNorm and sum.
    """

    stackable: ClassVar[bool] = True
    takes: ClassVar[tuple[Takes, ...]] = ("tokens", "vectors")
    depth: int = Field(default=1, ge=1)
    heads: int = Field(default=1, ge=1)
    width: int = Field(default=256, ge=1)
    hidden: int | None = Field(default=None, ge=1, description="MLP width; 4 x width if not given")
    attention: AnyNormaliser = Softmax()
    norm: Norm = "pre"
    epsilon: float = Field(default=1e-5, ge=0, description="of LayerNorm")
    embedding_norm: bool = Field(default=False, description="LayerNorm on the embedding")
    final_norm: bool = Field(default=True, description="LayerNorm behind pre-norm's last block")
    activation: Activation = "gelu-tanh"
    positions: int | None = Field(default=None, ge=1, description="rows; the task's if not given")
    initial_deviation: float = Field(default=0.02, gt=0)
    stochastic_depth: float = Field(
        default=0.0, ge=0, lt=1, description="of the last block: a branch's chance to be left out"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of a sublayer's outputs")
    causal: bool = True
    mask: Mask = Field(default="negative-infinity", description="of a causal model")
    scaled: bool = Field(default=True, description="scores u / sqrt(head width); else u itself")
    qkv_bias: bool = True
    output_bias: bool = Field(default=True, description="of attention's output projection")
    mlp_bias: bool = True
    norm_bias: bool = True
    readout_bias: bool = False

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Blocks:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self

    @model_validator(mode="after")
    def _only_causal_models_mask(self) -> Blocks:
        if self.mask == "multiplicative" and not self.causal:
            raise ValueError(
                "mask multiplicative is for causal models and causal is false; "
                "allowed: negative-infinity"
            )
        return self

    @property
    def is_causal(self) -> bool:
        return self.causal and self.mask == "negative-infinity"

    @property
    def across_batch(self) -> bool:
        """Whether attention looks along the batch, at equal positions."""
        return False

    @property
    def differs_in_training(self) -> bool:
        return self.stochastic_depth > 0 or self.dropout > 0

    def left_out(self, block: int) -> float:
        """The chance of a block's branches to be left out: linear over depth, from 0."""
        return self.stochastic_depth * block / max(1, self.depth - 1)

    def start(self, name: str) -> Start:
        if name.endswith("log_temperature"):
            return Start(0.0, mean=0.5 * log(self.width // self.heads) if self.scaled else 0.0)
        if name.endswith("bias"):
            return Start(0.0)
        if "norm" in name:
            return Start(0.0, mean=1.0)
        return Start(self.initial_deviation)

    @property
    def silent_token(self) -> int | None:
        """The token whose embedding is the zero vector and never learns."""
        return None

    def silent_row(self, name: str) -> int | None:
        return self.silent_token if name == "token.weight" else None

    def build(self, interface: Interface) -> nn.Module:
        return Transformer(self, interface)

    def conserved(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Per block: `qk` and `vo` [head, d, d], and `relu` [hidden] for that activation.

        The output does not change under query -> A query, key -> A^-T key in a head, whatever is
        made of their products and at whatever temperature; nor under value -> A value, output ->
        output A^-1; nor when a ReLU neuron's input weights are scaled by c and its output weights
        by 1/c. By Noether's theorem the flow keeps Q Q^T - K K^T, V V^T - O^T O and
        |w_in|^2 - |w_out|^2 (biases, where there are any, counted as a column of Q, K, V and w_in).
        `qk-norm`, which has a LayerNorm before the product, has no `qk`.
        """
        found = {}
        for index in range(self.depth):
            own = f"blocks.{index}."
            query, key, value = (
                _with_bias(parameters, f"{own}attention.{part}").unflatten(0, (self.heads, -1))
                for part in ("query", "key", "value")
            )
            output = parameters[f"{own}attention.output.weight"].T.unflatten(0, (self.heads, -1))
            if not self.attention.normed:
                found[f"{own}qk"] = query @ query.mT - key @ key.mT
            found[f"{own}vo"] = value @ value.mT - output @ output.mT
            if self.activation == "relu":
                entering = _with_bias(parameters, f"{own}mlp.input").square().sum(-1)
                leaving = parameters[f"{own}mlp.output.weight"].square().sum(0)
                found[f"{own}relu"] = entering - leaving
        return found


class Decoder(Blocks):
    """A GPT: causal blocks, learned positions, final LayerNorm (pre-norm), untied readout.

    With depth 1, heads 1, width 256 and linear attention this is the loss-plateau paper's model
    (2506.13688; sections 3.3 and 7.1 of our spec; 807,936 parameters on moving-window sum).
    Every Linear and Embedding starts at N(0, 0.02^2), the two output projections of a block at
    N(0, (0.02 / sqrt(2 depth))^2), biases at 0, LayerNorm at (1, 0).
    """

    kind: Literal["decoder"] = "decoder"

    def start(self, name: str) -> Start:
        if name.endswith(("attention.output.weight", "mlp.output.weight")):
            return Start(self.initial_deviation / (2 * self.depth) ** 0.5)
        return super().start(name)


def _with_bias(parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """[out, in + 1]: the bias as one more column; one that is not there is zero."""
    weight, bias = parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
    bias = weight.new_zeros(weight.shape[:-1]) if bias is None else bias
    return torch.cat([weight, bias.unsqueeze(-1)], dim=-1)


class Transformer(nn.Module):
    """Tokens [..., position], or vectors [..., position, features], to outputs
    [..., position, outputs].

    Sites: `embedding`, per block `blocks.i.residual.pre` / `.mid` / `.post` (before attention,
    between attention and MLP, after the MLP), `blocks.i.attention.scores` / `.pattern` / `.heads`
    / `.output`, `blocks.i.mlp.output`, and `final` (what the readout reads).
    """

    def __init__(self, config: Blocks, interface: Interface) -> None:
        super().__init__()
        width = config.width
        self.token = (
            Linear(interface.features, width, bias=False)
            if interface.features
            else Embedding(interface.vocabulary, width, config.silent_token)
        )
        self.position = Positions(config.positions or interface.positions, width)
        norm = partial(LayerNorm, width, config.epsilon, config.norm_bias)
        self.embedding_norm = norm() if config.embedding_norm else None
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.depth))
        self.final_norm = norm() if config.norm == "pre" and config.final_norm else None
        self.readout = Linear(width, interface.outputs, config.readout_bias)

    def forward(self, tokens: Tensor, tape: Tape = SILENT) -> Tensor:
        x = self.position(self.token(tokens))
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = tape("embedding", x)
        for index, block in enumerate(self.blocks):
            x = block(x, tape, f"blocks.{index}")
        if self.final_norm is not None:
            x = self.final_norm(x)
        return self.readout(tape("final", x))


class Block(nn.Module):
    """Attention and an MLP on a residual stream, LayerNorm before each, on what each writes, or
    after each sum. What is left out of training passes is drawn anew in each: `dropped`, `kept`."""

    def __init__(self, config: Blocks, index: int = 0) -> None:
        super().__init__()
        self.norm, self.across_batch = config.norm, config.across_batch
        self.left_out, self.dropout = config.left_out(index), config.dropout
        self.attention_norm = LayerNorm(config.width, config.epsilon, config.norm_bias)
        self.attention = Attention(
            config.width,
            config.heads,
            config.causal,
            config.attention,
            bias=config.qkv_bias,
            output_bias=config.output_bias,
            epsilon=config.epsilon,
            mask=config.mask,
            scaled=config.scaled,
            norm_bias=config.norm_bias,
        )
        self.mlp_norm = LayerNorm(config.width, config.epsilon, config.norm_bias)
        hidden = config.hidden or 4 * config.width
        self.mlp = Mlp(config.width, hidden, config.activation, config.mlp_bias)

    def forward(self, x: Tensor, tape: Tape, name: str) -> Tensor:
        x = tape(f"{name}.residual.pre", x)
        branch = self.attend(
            self.attention_norm(x) if self.norm == "pre" else x, tape, f"{name}.attention"
        )
        x = self.joined(x, tape(f"{name}.attention.output", branch), self.attention_norm, tape)
        x = tape(f"{name}.residual.mid", x)
        branch = self.mlp(self.mlp_norm(x) if self.norm == "pre" else x)
        x = self.joined(x, tape(f"{name}.mlp.output", branch), self.mlp_norm, tape)
        return tape(f"{name}.residual.post", x)

    def attend(self, x: Tensor, tape: Tape, name: str) -> Tensor:
        """Attention over positions, or over the samples of a member's batch at equal positions."""
        if not self.across_batch:
            return self.attention(x, tape, name)
        return self.attention(x.transpose(-3, -2), tape, name).transpose(-3, -2)

    def joined(self, x: Tensor, branch: Tensor, norm: LayerNorm, tape: Tape) -> Tensor:
        """The residual stream with what a sublayer wrote."""
        branch = self.dropped(branch, tape)
        if self.norm == "branch-out":
            branch = norm(branch)
        x = x + self.kept(branch, tape)
        return norm(x) if self.norm == "post" else x

    def dropped(self, branch: Tensor, tape: Tape) -> Tensor:
        """Dropout (Srivastava et al. 2014): in training each number of a sample, a position and a
        feature is 0 with the model's chance; the others are scaled up to make the mean right."""
        if not (self.dropout and tape.training):
            return branch
        assert tape.noise is not None
        staying = tape.noise.uniform(*branch.shape[-3:]) >= self.dropout
        return branch * (staying.to(branch.dtype) / (1 - self.dropout))

    def kept(self, branch: Tensor, tape: Tape) -> Tensor:
        """Stochastic depth (Huang et al. 2016): in training a sample does without the branch with
        the block's chance; those that keep it have it scaled up to make the mean right."""
        if not (self.left_out and tape.training):
            return branch
        assert tape.noise is not None
        staying = tape.noise.uniform(branch.shape[-3]) >= self.left_out
        return branch * (staying.to(branch.dtype) / (1 - self.left_out))[..., None, None]
