"""The language model of the norm-growth paper, and the variants that its released code names."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from torch import nn

from saltus.errors import FieldProblem, SaltusError, unknown
from saltus.models.base import Start
from saltus.models.layers import Embedding, Linear, Positions
from saltus.models.mlp import Activation
from saltus.models.transformer import Blocks, Norm


class LanguageModel(Blocks):
    """x + LN(f x) with ReLU, learned positions, no final LayerNorm under any placement, an untied
    readout with a bias (2010.09697, section 3.1 of our spec).

    PyTorch's default start: weights and biases of linear layers uniform on +-1 / sqrt(fan-in),
    token and position rows N(0, initial_deviation^2) with 1 if not given, LayerNorm (1, 0). All but
    token, position and readout is the paper's encoder: 37,837,824 parameters at the defaults, whose
    norm starts at 189.4 (the spec's 188.9 is the sum in single precision).

    The mask is the correct one; `variant` gives the released code's. `across` batch is what its
    `vaswani` does by mistake: attention without a mask over the samples of a batch, at equal
    positions, so that what a sample gives depends on who is in its batch, of its own member. Sites
    of attention then have positions for samples and samples for queries and keys.
    """

    kind: Literal["language-model"] = "language-model"
    depth: int = Field(default=12, ge=1)
    heads: int = Field(default=12, ge=1)
    width: int = Field(default=768, ge=1)
    hidden: int | None = Field(default=512, ge=1, description="MLP width; 4 x width for null")
    norm: Norm = "branch-out"
    activation: Activation = "relu"
    initial_deviation: float = Field(default=1.0, gt=0, description="of token and position rows")
    readout_bias: bool = True
    final_norm: bool = Field(default=False, description="LayerNorm behind pre-norm's last block")
    across: Literal["positions", "batch"] = Field(
        default="positions", description="what attention looks along"
    )

    @model_validator(mode="after")
    def _a_batch_has_no_future(self) -> LanguageModel:
        if self.across == "batch" and self.causal:
            raise ValueError("across batch has no order to mask; allowed: with causal false")
        return self

    @property
    def across_batch(self) -> bool:
        return self.across == "batch"

    def start_in(self, module: nn.Module, name: str) -> Start:
        owner = module.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, Linear):
            return Start(owner.weight.shape[-1] ** -0.5, law="uniform")
        if isinstance(owner, Embedding | Positions):
            return Start(self.initial_deviation)
        return self.start(name)


def variant(name: str, preset: str = "authors", **changes: Any) -> LanguageModel:
    """A model of `VARIANTS` (section 3.4 of our spec), with some of its fields changed.

    `authors` is the released code: masked scores become 0, so that all variants see the future.
    `corrected` has the mask at -infinity, and `vaswani` attention over positions. SaltusError for
    a name or a preset that is not there, or a field that cannot be.
    """
    if name not in VARIANTS:
        raise SaltusError(unknown("variant", name, VARIANTS))
    if preset not in ("authors", "corrected"):
        raise SaltusError(f"preset: {preset!r} is not allowed: authors or corrected")
    fields = VARIANTS[name] if preset == "authors" else {**VARIANTS[name], **CORRECTED}
    try:
        return LanguageModel.parse({"kind": "language-model", **fields, **changes})
    except FieldProblem as problem:
        raise SaltusError(f"variant {name}: {problem}") from None


CORRECTED = {"mask": "negative-infinity", "causal": True, "across": "positions"}


def _like_authors(norm: Norm, biases: bool, scaled: bool, dropout: float = 0.0) -> dict[str, Any]:
    """Biases are those of attention and the MLP: LayerNorm and the readout keep theirs."""
    switches = dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias"), biases)
    rest = {"norm": norm, "scaled": scaled, "dropout": dropout, "mask": "multiplicative"}
    return rest | switches


_PRE_NORM = _like_authors("branch-out", biases=True, scaled=True)
_POST_NORM = _like_authors("post", biases=True, scaled=True)

# The names are the released code's. `pre_norm` and `control` are the paper's pre- and post-norm.
VARIANTS: dict[str, dict[str, Any]] = {
    "pre_norm": _PRE_NORM,
    "bias_scaled": _PRE_NORM,
    "control": _POST_NORM,
    "no_scale": _like_authors("post", biases=True, scaled=False),
    "bias": _like_authors("branch-out", biases=True, scaled=False),
    "post_ln": _like_authors("post", biases=False, scaled=False),
    "si_softmax": _like_authors("branch-out", biases=False, scaled=False),
    "si_softmax_scaled": _like_authors("branch-out", biases=False, scaled=True),
    "si_drop": _like_authors("branch-out", biases=False, scaled=False, dropout=0.1),
    "bias_scaled_drop": _PRE_NORM | {"dropout": 0.1},
    "bias_scaled_drop3": _PRE_NORM | {"dropout": 0.3},
    "control_drop": _POST_NORM | {"dropout": 0.1},
    # Their flag asks for sinusoidal positions and has no effect: the model has learned ones.
    "control_rel": _POST_NORM,
    "bias_scaled_rel": _PRE_NORM,
    # PyTorch's own encoder there, which also drops attention weights and hidden numbers; here
    # dropout is of sublayers' outputs alone, and the start is that of the other variants.
    "vaswani": _POST_NORM
    | {"dropout": 0.1, "mask": "negative-infinity", "causal": False, "across": "batch"},
}
