"""Saturation and head types of Hugging Face models: five families, and float64 by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

from saltus.errors import SaltusError
from saltus.experiment import Experiment
from saltus.integrations.architectures import load_encoder, saturated, scaled, see, window_of
from saltus.integrations.attention_saturation import (
    ATTENDED,
    Heads,
    attention_saturation,
    token_cosines,
)
from saltus.integrations.pretrained import Loading
from saltus.integrations.prompts import RandomPrompts
from saltus.integrations.sentences import Sentences, read_sentences
from saltus.models.sites import Tape
from saltus.random import Draws

WORDS = 24
DOUBLE = Loading("float64", offline=True)
SIZES = {"vocab_size": WORDS, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
SIZES |= {"intermediate_size": 32, "max_position_embeddings": 32, "initializer_range": 0.3}
ENDS = {"bos_token_id": 0, "eos_token_id": 1}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "initializer_range": 0.3}
T5 = {"d_model": 16, "d_ff": 32, "num_layers": 2, "num_heads": 2, "d_kv": 8}
MADE: dict[str, Callable[[], hf.PreTrainedModel]] = {
    "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=WORDS, **GPT2, **ENDS)),
    "neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SIZES, **ENDS)),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(num_key_value_heads=1, **SIZES)),
    "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**SIZES)),
    "t5": lambda: hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=WORDS, **T5)),
}
STACKS = {"t5": ("encoder", "decoder")}
PATTERNS = {"t5": ("encoder", "decoder", "cross")}
TEXTS = Sentences([[3, 5, 7, 7, 2, 9, 11, 4, 3, 3, 8, 10, 6, 2], [5, 5, 6]])


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A random model of a family, saved once, with dropout in its configuration as ever."""
    root = tmp_path_factory.mktemp("families")

    def find(name: str) -> Path:
        if not (root / name).exists():
            hf.set_seed(1)
            MADE[name]().save_pretrained(root / name)
        return root / name

    return find


@pytest.mark.parametrize("name", MADE)
def test_every_family_is_read(family, name):
    found = attention_saturation(str(family(name)), TEXTS)
    assert (found.texts, found.tokens, found.cut, found.scale) == (2, 17, 0, 1000.0)
    assert tuple(each.name for each in found.stacks) == STACKS.get(name, ("layers",))
    assert tuple(each.name for each in found.heads) == PATTERNS.get(name, ("layers",))
    for stack in found.stacks:
        assert stack.embedding == pytest.approx(1, abs=1e-6)
        assert stack.layers.shape == (2,) and (np.abs(stack.layers) <= 1 + 1e-9).all()
    for heads in found.heads:
        assert heads.causal == (name != "bert" and heads.name not in ("encoder", "cross"))
        assert heads.attended.shape == (2, 2) and (heads.attended >= 1).all()
        assert heads.length == pytest.approx((14 * 14 + 3 * 3) / 17)
        assert sum(heads.counts.values()) == 4


@pytest.mark.parametrize("name", MADE)
def test_m13_and_m15_are_those_of_a_model_whose_file_is_scaled(family, name, tmp_path):
    """Another way to c theta: by hand in the file, each tensor once, loaded by the library."""
    folder = family(name)
    model = load_encoder(str(folder), DOUBLE)
    tensors = {key: value * 1000 for key, value in model.state_dict().items()}
    other = load_encoder(str(folder), DOUBLE)
    other.load_state_dict(tensors)
    ids = [torch.tensor(each) for each in TEXTS.each]
    plain, large = ([see(each, row) for row in ids] for each in (model, other))
    found = attention_saturation(str(folder), TEXTS, loading=DOUBLE)
    for stack in found.stacks:
        for layer in range(3):
            pairs = [(a.states[stack.name][layer], b.states[stack.name][layer])
                     for a, b in zip(plain, large, strict=True)]  # fmt: skip
            cosines = torch.cat([torch.cosine_similarity(a, b, dim=-1) for a, b in pairs])
            own = stack.embedding if layer == 0 else stack.layers[layer - 1]
            assert own == pytest.approx(cosines.double().mean().item(), abs=1e-6)
    for heads in found.heads:
        for layer in range(2):
            seen = [each.patterns[heads.name][layer] for each in large]
            counts = torch.cat([(w > ATTENDED).sum(-1) for w in seen], dim=-1).double().numpy()
            assert heads.attended[layer] == pytest.approx(counts.mean(-1))
            assert heads.deviation[layer] == pytest.approx(counts.std(-1))
            assert heads.split[layer] == pytest.approx((counts > 1).mean(-1))


def test_gpt2_by_hand_in_float64(family):
    """The whole forward pass written out, at theta and at 1000 theta."""
    folder = family("gpt2")
    weights = {k.removeprefix("transformer."): v.double()
               for k, v in load_file(folder / "model.safetensors").items()}  # fmt: skip
    found = attention_saturation(str(folder), TEXTS, loading=DOUBLE)
    totals, counts = np.zeros(3), []
    for text in TEXTS.each:
        states, _ = gpt2(weights, text)
        large, patterns = gpt2({key: 1000 * value for key, value in weights.items()}, text)
        totals += [token_cosines(*pair).sum().item() for pair in zip(states, large, strict=True)]
        counts.append(torch.stack([(each > ATTENDED).sum(-1) for each in patterns]))
    means = totals / 17
    assert found.stacks[0].layers == pytest.approx(means[1:], abs=1e-9)
    attended = torch.cat(counts, dim=-1).double().mean(-1).numpy()
    assert found.heads[0].attended == pytest.approx(attended)


def gpt2(
    w: dict[str, torch.Tensor], text: list[int]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    def norm(x, name):
        return torch.nn.functional.layer_norm(x, (16,), w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(x, name):
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    length = len(text)
    x = w["wte.weight"][text] + w["wpe.weight"][:length]
    states, patterns = [x], []
    for block in ("h.0", "h.1"):
        rows = linear(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn")
        query, key, value = rows.view(length, 3, 2, 8).permute(1, 2, 0, 3)
        scores = query @ key.mT / 8**0.5
        future = torch.ones(length, length).triu(1).bool()
        pattern = scores.masked_fill(future, -torch.inf).softmax(-1)
        patterns.append(pattern)
        heads = (pattern @ value).transpose(0, 1).reshape(length, 16)
        x = x + linear(heads, f"{block}.attn.c_proj")
        inner = linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        inner = torch.nn.functional.gelu(inner, approximate="tanh")
        x = x + linear(inner, f"{block}.mlp.c_proj")
        states.append(x)
    states[-1] = norm(x, "ln_f")
    return states, patterns


@pytest.mark.parametrize("name", MADE)
def test_m16_is_the_limit_of_softmax(family, name):
    """Attention is exact: the same as softmax of scores times 1e9, where no two of them tie."""
    model = load_encoder(str(family(name)), DOUBLE)
    ids = torch.tensor(TEXTS.each[0])
    own = torch.nn.functional.softmax
    with saturated(model):
        exact = see(model, ids)
    with pytest.MonkeyPatch.context() as patch:
        sharp = lambda x, dim, dtype=None: own(x.double() * 1e9, dim=dim).to(dtype or x.dtype)  # noqa: E731
        patch.setattr(torch.nn.functional, "softmax", sharp)
        limit = see(model, ids)
    for stack, states in exact.states.items():
        for one, other in zip(states, limit.states[stack], strict=True):
            assert torch.allclose(one, other, atol=1e-5)
    for patterns in exact.patterns.values():
        for pattern in patterns:
            pattern = pattern.double()
            assert torch.allclose(pattern.sum(-1), torch.ones(14).double().expand(2, 14), atol=1e-6)
            ones = pattern.gt(0).sum(-1, keepdim=True)
            assert torch.allclose(pattern, pattern.gt(0).double() / ones, atol=1e-6)
    found = attention_saturation(str(family(name)), TEXTS, loading=DOUBLE, mode="zeta")
    assert (found.mode, found.scale) == ("zeta", 1.0)
    assert (found.heads[0].attended < 2.5).all() and (found.stacks[0].layers < 1).all()
    after = see(model, ids)
    assert not torch.equal(
        after.states[found.stacks[0].name][2], exact.states[found.stacks[0].name][2]
    )


@pytest.mark.parametrize("name", MADE)
def test_scaling_gives_back_the_same_bits_and_scales_tied_weights_once(family, name):
    model = MADE[name]()  # with its readout, which GPT-2 and T5 tie to the embedding
    before = {key: value.clone() for key, value in model.state_dict().items()}
    places = [each.data_ptr() for each in model.parameters()]
    with pytest.raises(RuntimeError, match="inside"), scaled(model, 1000):
        for key, value in model.state_dict().items():
            learned = key in dict(model.named_parameters(remove_duplicate=False))
            assert torch.equal(value, before[key] * (1000 if learned else 1)), key
        raise RuntimeError("inside")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [each.data_ptr() for each in model.parameters()] == places


def test_texts_do_not_depend_on_one_another_or_on_how_many_are_read_together(family, monkeypatch):
    folder, texts = str(family("llama")), RandomPrompts(5, 12)
    together = attention_saturation(folder, Sentences(texts))
    monkeypatch.setattr("saltus.integrations.attention_saturation.TOGETHER", 1)
    apart = attention_saturation(folder, Sentences(texts))
    assert np.array_equal(together.stacks[0].layers, apart.stacks[0].layers)
    assert np.array_equal(together.heads[0].attended, apart.heads[0].attended)
    ids = texts.ids(WORDS)
    single = [attention_saturation(folder, Sentences([each])) for each in ids]
    mean = np.mean([each.stacks[0].layers for each in single], axis=0)
    assert together.stacks[0].layers == pytest.approx(mean, abs=1e-12)


def test_dropout_is_off_and_nothing_is_drawn(family):
    folder = str(family("bert"))
    assert not load_encoder(folder, DOUBLE).training
    one, other = (attention_saturation(folder, TEXTS) for _ in range(2))
    assert np.array_equal(one.stacks[0].layers, other.stacks[0].layers)


def test_random_weights_of_the_same_architecture(family):
    folder = str(family("t5"))
    state = torch.get_rng_state()
    one, same, other = (attention_saturation(folder, TEXTS, random_seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(one.stacks[1].layers, same.stacks[1].layers)
    assert not np.array_equal(one.stacks[1].layers, other.stacks[1].layers)


def test_an_even_head_a_hard_head_and_the_closed_forms(family):
    """Zero queries attend evenly: mean (T + 1) / 2, split (T - 1) / T, entropy mean log(t + 1)."""
    model = hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=WORDS, **GPT2, **ENDS))
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.c_attn.weight[:, :16] = 0
            block.attn.c_attn.bias[:16] = 0
    folder = family("gpt2").parent / "even"
    model.save_pretrained(folder)
    heads = attention_saturation(str(folder), Sentences(RandomPrompts(2, 16))).heads[0]
    assert heads.attended == pytest.approx(np.full((2, 2), 8.5))
    assert heads.split == pytest.approx(np.full((2, 2), 15 / 16))
    assert heads.entropy == pytest.approx(np.full((2, 2), np.log(np.arange(1, 17)).mean()))
    assert heads.counts == {"argmax-like": 0, "intermediate": 0, "mean-like": 4}


def test_types_of_heads_need_texts_that_are_long_enough():
    table = np.array([[1.0, 5.0, 9.0, 20.0]])
    made = [Heads("layers", causal, 20.0, table, table, table, table) for causal in (True, False)]
    kinds = ["argmax-like", "argmax-like", "mean-like", "mean-like"]
    assert made[0].types == [kinds]
    assert made[1].types == [["argmax-like", "argmax-like", "intermediate", "mean-like"]]
    short = Heads("layers", True, 11.0, table, table, table, table)
    assert short.types == [] and short.counts == {}


BAD = {
    "vocabulary": ("gpt2", Sentences([[1, WORDS]]), {}, "text 0: token 24 does not fit the model's "
                   "vocabulary; allowed: 0 to 23"),
    "window": ("gpt2", Sentences([[1] * 33]), {}, "text 0: 33 tokens do not fit; allowed: 32 or "
               "fewer"),
    "longest": ("llama", Sentences([[1]], longest=33), {}, "33 tokens of a text are not allowed: "
                "1 to 32, the model's window"),
    "empty": ("bert", Sentences([]), {}, "texts: none given; allowed: 1 or more"),
    "random": ("bert", Sentences(RandomPrompts(0, 3)), {}, "random texts: count and length must be "
               "1 or more"),
    "tokenizer": ("t5", Sentences(["a text"], tokenizer="."), {}, ". has no "
                  "tokenizer for the text; allowed: another folder with one (--tokenizer), token "
                  "ids as .jsonl, or random texts"),
    "precision": ("t5", TEXTS, {"loading": Loading("float16")}, "precision: 'float16' is not "
                  "allowed: scaled weights need float32, float64, bfloat16"),
    "scale": ("t5", TEXTS, {"scale": 1.0}, "scale: 1 is not allowed: above 1"),
    "overflow": ("gpt2", TEXTS, {"scale": 1e30}, "its states at 1e+30 times its weights are not "
                 "finite (NaN or infinity) in float32; allowed: another precision"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_is_one_line(family, what):
    name, sentences, options, line = BAD[what]
    with pytest.raises(SaltusError) as error:
        attention_saturation(str(family(name)), sentences, **options)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


def test_an_architecture_that_fails_in_a_precision_is_one_line(tmp_path):
    sizes = {"d_model": 8, "d_inner": 8, "n_layer": 1, "n_head": 2}
    hf.XLNetModel(hf.XLNetConfig(vocab_size=WORDS, **sizes)).save_pretrained(tmp_path)
    assert attention_saturation(str(tmp_path), TEXTS).stacks[0].layers.shape == (1,)
    with pytest.raises(
        SaltusError, match=r"^XLNetModel does not compute this text in torch\.float"
    ):
        attention_saturation(str(tmp_path), TEXTS, loading=DOUBLE)


def test_t5_has_no_window_and_roberta_loses_two_positions(family):
    assert window_of(load_encoder(str(family("t5")), DOUBLE).config) is None
    assert window_of(hf.RobertaConfig(max_position_embeddings=34)) == 32
    found = attention_saturation(str(family("t5")), Sentences(RandomPrompts(1, 600)))
    assert found.tokens == 600


def test_texts_are_cut_at_blank_lines(tmp_path):
    path = tmp_path / "text"
    path.write_text("One\nand more.\n \n# title\n\nTwo.\n\n\nThree.\n")
    assert read_sentences(path) == ["One\nand more.", "Two.", "Three."]
    assert read_sentences(path, 1) == ["One\nand more."]
    ids = tmp_path / "ids.jsonl"
    ids.write_text("[1, 2]\n[3]\n")
    assert read_sentences(ids, 1) == [[1, 2]]
    path.write_bytes(b"ab\xff")
    for wrong, line in (
        (path, f"{path}: not UTF-8 at byte 2; allowed: UTF-8 text"),
        (tmp_path / "none", f"{tmp_path / 'none'}: cannot be read: No such file or directory"),
    ):
        with pytest.raises(SaltusError) as error:
            read_sentences(wrong)
        assert str(error.value) == line
    path.write_text("# only a title\n")
    with pytest.raises(SaltusError, match="it has no text; allowed"):
        read_sentences(path)


def test_a_text_is_cut_to_the_window(family, strangers):
    folder = str(strangers("llama"))  # it has a tokenizer of words, and a window of 32
    long = " ".join(["leaves look green"] * 20)
    found = attention_saturation(folder, Sentences([long, "the sky so blue"]))
    assert (found.texts, found.tokens, found.cut) == (2, 36, 1)
    found = attention_saturation(folder, Sentences([long], longest=9))
    assert (found.tokens, found.cut) == (9, 1)
    with pytest.raises(SaltusError, match="does not fit the model's vocabulary"):
        attention_saturation(str(family("bert")), Sentences([[99]], tokenizer=folder))
    found = attention_saturation(str(family("bert")), Sentences(["the sky"], tokenizer=folder))
    assert found.tokens == 2


def test_the_pooler_of_bert_is_not_missed_but_a_layer_is(family, tmp_path):
    from safetensors.torch import save_file

    for name, line in (
        ("bert.encoder.layer.1.output.dense.weight", "its weights are not complete: "),
    ):
        tensors = load_file(family("bert") / "model.safetensors")
        assert not any("pooler" in key for key in tensors)
        del tensors[name]
        save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
        (tmp_path / "config.json").write_text((family("bert") / "config.json").read_text())
        with pytest.raises(SaltusError, match=line):
            load_encoder(str(tmp_path), DOUBLE)


@torch.no_grad()
def test_a_run_of_ours_saturates_as_its_export_does(run, checkpoints):
    """Our decoder in float64 at theta and 1000 theta, and the GPT-2 that it was exported as."""
    experiment = Experiment.of(run.experiment)
    tokens = experiment.task.sample(Draws(3, "here"), 6)["inputs"]
    sites = ["blocks.0.residual.post", "final"]
    for step, folder in zip((0, 40), (checkpoints[0], checkpoints[2]), strict=True):
        tapes = []
        for factor in (1, 1000):
            values = {name: factor * torch.from_numpy(value[1]).double()
                      for name, value in run.checkpoint(step).items()}  # fmt: skip
            module = experiment.model.build(experiment.task.interface)
            module.load_state_dict(values, assign=True)
            tapes.append(Tape([*sites, "blocks.*.attention.pattern"]))
            module(tokens, tapes[-1])
        plain, large = (tape.values for tape in tapes)
        own = [token_cosines(plain[s].flatten(0, 1), large[s].flatten(0, 1)).mean() for s in sites]
        found = attention_saturation(str(folder), Sentences(tokens.tolist()), loading=DOUBLE)
        assert found.stacks[0].layers == pytest.approx(np.array(own), abs=1e-4)
        for layer in range(2):
            pattern = large[f"blocks.{layer}.attention.pattern"]
            attended = (pattern > ATTENDED).sum(-1).double().mean((0, 2)).numpy()
            assert found.heads[0].attended[layer] == pytest.approx(attended, abs=0.04)
