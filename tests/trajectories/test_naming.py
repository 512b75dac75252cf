"""Every tensor's role, group and block in the models whose names the rules know."""

from __future__ import annotations

import pytest

from saltus.trajectories.naming import parameters_of

# name -> role, group, block, columns (of a shape [6, 4])
EXPECTED = {
    "blocks.1.attention.query.weight": ("encoder", "attention.qk", "1", 4),
    "token.weight": ("embedding", "embeddings.token", None, 0),
    "readout.weight": ("readout", "readout", None, 4),
    "transformer.wpe.weight": ("embedding", "embeddings.position", None, 0),
    "transformer.h.3.attn.c_attn.weight": ("encoder", "attention.qkv", "3", 6),
    "transformer.h.3.mlp.c_proj.weight": ("encoder", "mlp", "3", 6),
    "transformer.ln_f.weight": ("encoder", "norm.final", None, 4),
    "gpt_neox.embed_in.weight": ("embedding", "embeddings.token", None, 0),
    "gpt_neox.layers.0.attention.dense.weight": ("encoder", "attention.output", "0", 4),
    "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": ("encoder", "mlp", "0", 4),
    "embed_out.weight": ("readout", "readout", None, 4),
    "model.layers.7.self_attn.v_proj.weight": ("encoder", "attention.value", "7", 4),
    "model.layers.7.mlp.gate_proj.weight": ("encoder", "mlp", "7", 4),
    "model.norm.weight": ("encoder", "norm.final", None, 4),
    "bert.embeddings.word_embeddings.weight": ("embedding", "embeddings.token", None, 0),
    "bert.embeddings.LayerNorm.weight": ("encoder", "norm.embedding", None, 4),
    "bert.encoder.layer.2.attention.self.key.weight": ("encoder", "attention.qk", "2", 4),
    "bert.encoder.layer.2.attention.output.LayerNorm.weight": (
        "encoder",
        "norm.attention",
        "2",
        4,
    ),
    "bert.encoder.layer.2.output.dense.weight": ("encoder", "mlp", "2", 4),
    "cls.predictions.decoder.weight": ("readout", "readout", None, 4),
    "transformer.embeddings.weight": ("embedding", "embeddings.token", None, 0),
    "transformer.position_embeddings.weight": ("embedding", "embeddings.position", None, 0),
    "transformer.layer_norm_emb.weight": ("encoder", "norm.embedding", None, 4),
    "transformer.attentions.2.q_lin.weight": ("encoder", "attention.qk", "2", 4),
    "transformer.attentions.2.out_lin.weight": ("encoder", "attention.output", "2", 4),
    "transformer.layer_norm1.2.weight": ("encoder", "norm.attention", "2", 4),
    "transformer.ffns.2.lin1.weight": ("encoder", "mlp", "2", 4),
    "transformer.layer_norm2.2.weight": ("encoder", "norm.mlp", "2", 4),
    "pred_layer.proj.weight": ("readout", "readout", None, 4),
    "strange.weight": ("encoder", "other", None, 4),
}
T5 = {
    "shared.weight": ("embedding", "embeddings.token", None, 0),
    "encoder.block.0.layer.0.SelfAttention.q.weight": ("encoder", "attention.qk", "encoder.0", 4),
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (
        "encoder",
        "attention.position",
        "encoder.0",
        0,
    ),
    "decoder.block.1.layer.1.EncDecAttention.o.weight": (
        "encoder",
        "attention.cross",
        "decoder.1",
        4,
    ),
    "decoder.block.1.layer.2.DenseReluDense.wo.weight": ("encoder", "mlp", "decoder.1", 4),
    "decoder.final_layer_norm.weight": ("encoder", "norm.final", None, 4),
}


@pytest.mark.parametrize("expected", [EXPECTED, T5], ids=["one stack", "two stacks"])
def test_each_tensor_has_its_place(expected):
    found = parameters_of({name: (6, 4) for name in expected})
    assert {p.name: (p.role, p.group, p.block, p.columns) for p in found} == expected


def test_what_is_not_learned_is_left_out():
    names = [
        "transformer.h.0.attn.bias",
        "transformer.h.0.attn.masked_bias",
        "gpt_neox.layers.0.attention.bias",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "stem.batch_norm.running_mean",
    ]
    assert parameters_of({name: (4,) for name in names}) == ()
