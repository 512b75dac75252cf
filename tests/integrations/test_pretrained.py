"""Loading checkpoints of others: one clear line for each thing that is wrong, and no noise."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration
from transformers.utils import logging

from saltus.errors import SaltusError
from saltus.integrations.pretrained import Loading, Source, encode, find, load

OFFLINE = Loading(offline=True)
TINY = {"vocab_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8}


@pytest.fixture
def llama(strangers, tmp_path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(strangers("llama"), tmp_path / "llama"))


def configure(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def as_pickle(folder: Path) -> None:
    weights = transformers.AutoModelForCausalLM.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def another_head(folder: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model.model.save_pretrained(folder)
    configure(folder, architectures=None)


def torn(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def bert(folder: Path) -> None:
    BertForMaskedLM(BertConfig(intermediate_size=8, **TINY)).save_pretrained(folder)


def t5(folder: Path) -> None:
    config = T5Config(vocab_size=12, d_model=8, d_ff=8, num_layers=1, num_heads=2, d_kv=4)
    T5ForConditionalGeneration(config).save_pretrained(folder)


BAD = {
    "config": (lambda f: (f / "config.json").unlink(), "the folder has no config.json: not a "
               "checkpoint of Hugging Face's"),
    "json": (lambda f: (f / "config.json").write_text("{"), "cannot read config.json: It looks"),
    "kind": (lambda f: configure(f, model_type="flurb"), "cannot read config.json: The checkpoint "
             "you are trying to load has model type `flurb` but Transformers does not recognize"),
    "field": (lambda f: configure(f, hidden_size="wide"), "cannot read config.json: Validation "
              "error for field 'hidden_size'"),
    "code": (lambda f: configure(f, model_type="own", auto_map={"AutoConfig": "own.Config"}),
             "cannot read config.json: The repository "),
    "bert": (bert, "BertForMaskedLM is not a causal language model"),
    "t5": (t5, "T5ForConditionalGeneration is not a causal language model"),
    "none": (lambda f: (f / "model.safetensors").unlink(), "the folder has no weights; allowed: "
             "model.safetensors"),
    "pickle": (as_pickle, "its weights are a pickle (pytorch_model.bin), which is not read unless "
               "asked for (--pickled); allowed: model.safetensors"),
    "torn": (torn, "cannot read the weights: Error while deserializing header"),
    "head": (another_head, "its weights are not complete: lm_head.weight is missing"),
    "shape": (lambda f: configure(f, intermediate_size=48), "its weights do not fit its "
              "config.json: model.layers.0.mlp.down_proj.weight has shape [16, 32]; allowed: "),
}  # fmt: skip


@pytest.mark.parametrize("damage", BAD)
def test_what_is_wrong_is_one_line(llama, damage, capfd):
    change, line = BAD[damage]
    change(llama)
    capfd.readouterr()
    with pytest.raises(SaltusError) as error:
        load(str(llama), OFFLINE)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_a_pickle_is_read_when_asked_for_and_runs_nothing(llama, strangers):
    as_pickle(llama)
    before = load(str(strangers("llama")), OFFLINE).state_dict()
    after = load(str(llama), Loading(offline=True, pickled=True)).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)

    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(llama / "caught"),))

    torch.save({"lm_head.weight": Trap()}, llama / "pytorch_model.bin")
    with pytest.raises(SaltusError, match="cannot read the weights: "):
        load(str(llama), Loading(offline=True, pickled=True))
    assert not (llama / "caught").exists()


def test_loading_says_nothing_and_leaves_nothing_behind(strangers, capfd, monkeypatch):
    monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", "0")
    logging.set_verbosity_warning()
    environment, folder = dict(os.environ), strangers("neox")
    capfd.readouterr()
    model = load(str(folder), OFFLINE)
    assert not model.training and model.dtype == torch.float32
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    assert dict(os.environ) == environment
    assert logging.get_verbosity() == logging.WARNING and logging.is_progress_bar_enabled()


def test_a_tokenizer_is_needed_for_text_alone(llama):
    assert encode(str(llama), ["the sky", "why"], OFFLINE) == [[7, 8], [1]]
    for path in llama.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(SaltusError, match="cannot read a tokenizer for prompts of text: "):
        encode(str(llama), ["the sky"], OFFLINE)
    load(str(llama), OFFLINE)


def test_where_a_checkpoint_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org/name@step3").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    assert find("org/name@step3") == Source("org/name@step3")
    assert find("org/name@step4") == Source("org/name", "step4", local=False)
    assert find("gpt2") == Source("gpt2", None, local=False)
    for wrong in ("file", "a/b/c", "./missing", "/missing", "a b"):
        with pytest.raises(SaltusError, match="there is no such folder; allowed: a folder, NAME"):
            find(wrong)


def test_the_hub_is_asked_for_the_revision_and_never_for_code(strangers, monkeypatch):
    asked = []
    folder = strangers("llama")

    def standing_in(kind):
        original = getattr(transformers, kind).from_pretrained

        def from_pretrained(place, **options):
            asked.append((kind, place, options))
            return original(folder, **{**options, "local_files_only": True})

        monkeypatch.setattr(getattr(transformers, kind), "from_pretrained", from_pretrained)

    standing_in("AutoConfig")
    standing_in("AutoModelForCausalLM")
    for offline in (False, True):
        asked.clear()
        load("org/name@step3", Loading(offline=offline))
        assert [each[0] for each in asked] == ["AutoConfig", "AutoModelForCausalLM"]
        for _, place, options in asked:
            assert place == "org/name" and options["revision"] == "step3"
            assert options["trust_remote_code"] is False
            assert options["local_files_only"] is offline
        assert asked[1][2]["use_safetensors"] and asked[1][2]["weights_only"]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"precision": "float8"}, "precision: unknown precision 'float8'; did you mean"),
        ({"device": "tpu"}, "device: 'tpu' is not available; allowed: cpu"),
        ({"device": "meta"}, "device: 'meta' is not available; allowed: cpu"),
    ],
    ids=["precision", "device", "meta"],
)
def test_how_it_is_loaded_is_checked_at_once(fields, line):
    with pytest.raises(SaltusError) as error:
        Loading(**fields)
    assert str(error.value).startswith(line)
