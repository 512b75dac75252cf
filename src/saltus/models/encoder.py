"""The BERT of the matrix-completion paper: a post-norm encoder with one number out per token."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from saltus.models.base import Start
from saltus.models.mlp import Activation
from saltus.models.transformer import Blocks, Norm


class Encoder(Blocks):
    """x = LN(x + W_o MHA(x)); x = LN(x + W_2 GELU(W_1 x)), bidirectional (section 3.1 of our spec).

    Token and learned position embeddings are summed and normalised; no final LayerNorm beyond the
    last block's; the readout has a bias. Linear and Embedding weights start at N(0, 0.02^2), biases
    at 0, LayerNorm at (1, 0), the readout at PyTorch's own default, uniform on +-1 / sqrt(width).
    `silent_mask` keeps the embedding of token 0, the mask, at the zero vector, as the paper's
    model does: the mask is known by its position alone. Depth 4, heads 8, width 768 on 7 x 7
    matrices with 512 positions have the paper's 30,284,545 parameters.
    """

    kind: Literal["encoder"] = "encoder"
    epsilon: float = Field(default=1e-12, ge=0, description="of LayerNorm")
    embedding_norm: bool = True
    readout_bias: bool = True
    depth: int = Field(default=4, ge=1)
    heads: int = Field(default=8, ge=1)
    width: int = Field(default=768, ge=1)
    norm: Norm = "post"
    activation: Activation = "gelu"
    causal: bool = False
    silent_mask: bool = Field(default=True, description="the mask's embedding is 0 for ever")

    @property
    def silent_token(self) -> int | None:
        return 0 if self.silent_mask else None

    def start(self, name: str) -> Start:
        if name.startswith("readout"):
            return Start(self.width**-0.5, law="uniform")
        return super().start(name)
