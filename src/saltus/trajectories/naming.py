"""Whose tensor it is, by its name: our models, GPT-2, GPT-NeoX, Llama, BERT, T5 and their kin.

The rules speak the vocabulary of `models.groups` about the names that the `transformers` library
gives. They are a project choice; a name that no rule knows is "other", and counts as encoder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from saltus.models.groups import STATISTICS, group_of

# Tensors that are kept and not learned: masks, running values, rotary frequencies.
BUFFER = re.compile(
    r"(?:^|\.)(?:masked_bias|position_ids|token_type_ids|inv_freq|running_(?:mean|var(?:iance)?)"
    r"|num_batches_tracked|sin_cached|cos_cached)$|\battn\.bias$|^(?:.*layers\.\d+\.)attention\.bias$"
)
# The first rule that is found in a name (a leading dot added) gives its group.
RULES = tuple(
    (re.compile(rule), group)
    for rule, group in (
        (r"token_type_embed|\.segment", "embeddings.type"),
        (r"\.(?:wpe|embed_positions|position_embeddings|pos_emb)\.", "embeddings.position"),
        (r"relative_attention_bias", "attention.position"),
        (r"\.embeddings\.layernorm|word_embeddings_layernorm|layer_norm_emb", "norm.embedding"),
        (r"\.(?:wte|embed_tokens|embed_in|word_embeddings|shared|tok_embeddings)\.|\.embeddings\.word"
         r"|transformer\.embeddings\.weight", "embeddings.token"),
        (r"\.embedding_hidden_mapping", "embeddings.token"),
        (r"\.(?:lm_head|embed_out|cls\.predictions|pred_layer|readout|classifier|score|qa_outputs)\b",
         "readout"),
        (r"\.(?:pooler)\.", "pooler"),
        (r"attention\.output\.layernorm|\.ln_1\.|input_layernorm|self_attn_layer_norm"
         r"|layer\.0\.layer_norm|\.sa_layer_norm|attention_norm|\.layer_norm1\.", "norm.attention"),
        (r"\d\.final_layer_norm\.", "norm.mlp"),
        (r"\.ln_f\.|final_layer_norm|model\.norm\.|^\.norm\.", "norm.final"),
        (r"encdecattention\.|\.crossattention\.|encoder_attn", "attention.cross"),
        (r"decoder\.block\.\d+\.layer\.1\.layer_norm|encoder_attn_layer_norm|\.ln_cross_attn\.",
         "norm.cross"),
        (r"\.ln_2\.|post_attention_layernorm|layer\.[12]\.layer_norm|\.output\.layernorm"
         r"|output_layer_norm|ffn_norm|\.layer_norm2\.", "norm.mlp"),
        (r"\.(?:q_norm|k_norm|query_norm|key_norm)\.", "attention.qk"),
        (r"\.(?:c_attn|query_key_value|qkv_proj|qkv)\.", "attention.qkv"),
        (r"\.(?:q_proj|k_proj|query|key|q_lin|k_lin)\.|selfattention\.[qk]\.", "attention.qk"),
        (r"\.(?:v_proj|value|v_lin)\.|selfattention\.v\.", "attention.value"),
        (r"attn\.c_proj|attention\.(?:dense|output\.dense|out_lin)|\.o_proj\.|self_attn\.out_proj"
         r"|selfattention\.o\.|attentions\.\d+\.out_lin", "attention.output"),
        (r"\.mlp\.|densereludense|intermediate\.dense|\.output\.dense|\.ffns?\.|\.fc[12]\.", "mlp"),
        (r"norm", "norm"),
    )
)  # fmt: skip
# XLM has a list for each kind of layer, and the number of the block behind its name.
BLOCK = re.compile(r"(?:^|\.)(?:h|layers?|blocks?|attentions|ffns|layer_norm[12])\.(\d+)\.")
STACK = re.compile(r"(?:^|\.)(encoder|decoder)\.(?:block|layers?)\.\d+\.")
THEIRS = re.compile(r"(?:^|\.)(?:layers?|h|block|embeddings)\.")  # ours are `blocks`
TRANSPOSED = re.compile(r"\.(?:c_attn|c_proj|c_fc|q_attn)\.weight$")  # GPT-2 keeps [in, out]
ROLES = {"embeddings": "embedding", "readout": "readout"}
WIDEST = 1 << 20  # inputs of a linear map; a wider matrix is taken for something else


@dataclass(frozen=True)
class Parameter:
    """One tensor of the model and where it belongs.

    `role` is "encoder", "embedding" or "readout".
    `group`: attention.qk, attention.value, attention.qkv (where the three are one), mlp, …;
    `block`: the index of its layer, with its stack in front in models of two, as "encoder.3"; None
    outside the blocks. `columns`: how many inputs a linear map has, 0 for what is none;
    `transposed`: it is kept as [in, out], as GPT-2 does.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    group: str
    block: str | None
    columns: int
    transposed: bool

    @property
    def numel(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def parameters_of(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Parameter, ...]:
    """Every learned tensor's place in the model, from names and shapes alone; what is kept and not
    learned (masks, running values, rotary frequencies) is left out."""
    stacks = {found[1] for name in shapes if (found := STACK.search(name))}
    learned = [name for name in shapes if not BUFFER.search(name) and _group(name) != STATISTICS]
    return tuple(_parameter(name, shapes[name], len(stacks) == 2) for name in learned)


def _parameter(name: str, shape: tuple[int, ...], stacked: bool) -> Parameter:
    group, block, stack = _group(name), BLOCK.search(name), STACK.search(name)
    role = ROLES.get(group.split(".")[0], "encoder")
    place = block[1] if block else None
    if stacked and stack and block:
        place = f"{stack[1]}.{block[1]}"
    linear = len(shape) == 2 and role != "embedding" and group != "attention.position"
    transposed = linear and TRANSPOSED.search(name) is not None
    columns = (shape[0] if transposed else shape[1]) if linear else 0
    if columns > WIDEST:
        columns, transposed = 0, False
    return Parameter(name, shape, role, group, place, columns, transposed)


def _group(name: str) -> str:
    ours = group_of(name)
    if ours != "other" and not THEIRS.search(name):
        return ours
    dotted = f".{name.lower()}"
    return next((group for rule, group in RULES if rule.search(dotted)), "other")
