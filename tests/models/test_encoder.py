"""The encoder: the paper's size and start, a mask that stays silent, and BERT as a reference."""

import pytest
import torch
from torch.func import functional_call

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.models import initial_parameters, select
from saltus.models.encoder import Encoder
from saltus.tasks.matrix_completion import MatrixCompletion
from saltus.training.ensemble import Ensemble
from saltus.training.optimizers import AdamW

TASK = MatrixCompletion(rows=4, columns=4, rank=1, decimals=1)
SMALL = Encoder(depth=2, heads=2, width=16)


def test_the_papers_size():
    module = Encoder(positions=512).build(MatrixCompletion().interface)
    sizes = {name: value.numel() for name, value in module.named_parameters()}
    assert sum(sizes.values()) == 30_284_545
    assert sum(sizes[name] for name in select(sizes, ["embeddings", "norm.embedding"])) == 1_932_288
    assert sum(n for name, n in sizes.items() if name.startswith("blocks.3.")) == 7_087_872
    assert sum(sizes[name] for name in select(sizes, ["readout"])) == 769


def test_the_start():
    task = MatrixCompletion()
    start = initial_parameters(Encoder(depth=1), Encoder(depth=1).build(task.interface), 0)
    assert start["token.weight"][0].abs().max() == 0
    assert start["token.weight"][1:].std() == pytest.approx(0.02, rel=0.01)
    assert start["blocks.0.attention.output.weight"].std() == pytest.approx(0.02, rel=0.01)
    assert start["readout.weight"].abs().max() <= 768**-0.5
    assert start["readout.weight"].std() == pytest.approx(768**-0.5 / 3**0.5, rel=0.1)
    assert start["readout.bias"].abs() <= 768**-0.5
    assert (start["embedding_norm.weight"] == 1).all()


def test_it_is_huggingfaces_bert():
    """Same numbers as the library's BertModel with its token types at zero, to float64 rounding."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=TASK.interface.vocabulary, hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=16,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager",
    )  # fmt: skip
    bert = transformers.BertModel(config, add_pooling_layer=False).double().eval()
    module = SMALL.build(TASK.interface).double()
    loud = SMALL.model_copy(update={"initial_scale": 10.0})
    own = initial_parameters(loud, module, 3, dtype=torch.float64)
    own = {name: value + 0.1 * torch.randn_like(value) for name, value in own.items()}
    own["token.weight"][0] = 0.0
    module.load_state_dict(own)
    names = {
        "embeddings.word_embeddings": "token", "embeddings.position_embeddings": "position",
        "embeddings.LayerNorm": "embedding_norm",
    }  # fmt: skip
    inside = {
        "attention.self.query": "attention.query", "attention.self.key": "attention.key",
        "attention.self.value": "attention.value", "attention.output.dense": "attention.output",
        "attention.output.LayerNorm": "attention_norm", "intermediate.dense": "mlp.input",
        "output.dense": "mlp.output", "output.LayerNorm": "mlp_norm",
    }  # fmt: skip
    for layer in range(2):
        names |= {f"encoder.layer.{layer}.{k}": f"blocks.{layer}.{v}" for k, v in inside.items()}
    state = {
        f"{theirs}.{part}": own[f"{ours}.{part}"]
        for theirs, ours in names.items()
        for part in ("weight", "bias")
        if f"{ours}.{part}" in own
    }
    state["embeddings.token_type_embeddings.weight"] = torch.zeros(2, 16, dtype=torch.float64)
    missing = bert.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all("position_ids" in key or "token_type" in key for key in missing.missing_keys)
    tokens = TASK.sample(_draws(), 5)["inputs"]
    with torch.no_grad():
        hidden = bert(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
        expected = hidden @ own["readout.weight"].mT + own["readout.bias"]
        assert torch.allclose(module(tokens), expected, rtol=1e-10, atol=1e-12)


def test_a_stack_is_its_members():
    module = SMALL.build(TASK.interface).double()
    starts = [initial_parameters(SMALL, module, seed, dtype=torch.float64) for seed in range(3)]
    stacked = {name: torch.stack([each[name] for each in starts]) for name in starts[0]}
    tokens = TASK.sample(_draws([0, 1, 2]), 4)["inputs"]
    together = functional_call(module, stacked, (tokens,))
    for member, own in enumerate(starts):
        alone = functional_call(module, own, (tokens[member],))
        assert torch.allclose(together[member], alone, rtol=1e-12, atol=1e-13)


def test_the_mask_never_learns_and_its_position_does():
    experiment = Experiment(
        task=TASK, model=SMALL, optimizer=AdamW(learning_rate=1e-2), steps=9, batch=8, seeds=2
    )
    ensemble = Ensemble(experiment.members())
    first = {name: value.detach().clone() for name, value in ensemble.parameters.items()}
    for step in range(3):
        ensemble.differentiate(step)
        ensemble.update(step)
    token = ensemble.parameters["token.weight"]
    assert (token[:, 0] == 0).all()
    assert not torch.equal(token[:, 1:], first["token.weight"][:, 1:])
    assert not torch.equal(ensemble.parameters["position.weight"], first["position.weight"])
    learning = SMALL.model_copy(update={"silent_mask": False})
    ensemble = Ensemble(experiment.model_copy(update={"model": learning}).members())
    assert ensemble.parameters["token.weight"][:, 0].abs().max() > 0
    ensemble.differentiate(0)
    assert ensemble.gradients["token.weight"][:, 0].abs().max() > 0


def test_an_input_longer_than_the_position_table_is_refused():
    large = MatrixCompletion(rows=5, columns=5, rank=1, decimals=1)
    module = SMALL.build(TASK.interface)
    module.load_state_dict(initial_parameters(SMALL, module, 0))
    with pytest.raises(SaltusError, match=r"25 positions .* table of 16"):
        module(large.sample(_draws(), 2)["inputs"])
    with pytest.raises(SaltusError, match=r"model.positions 16 is too few"):
        Experiment.of(
            {
                "task": large,
                "model": {**SMALL.model_dump(), "positions": 16},
                "steps": 1,
                "batch": 1,
            }
        )


def _draws(seeds=0):
    from saltus.random import Draws

    return Draws(seeds, "data")
