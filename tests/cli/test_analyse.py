"""`saltus analyse` on series of tiny models, and one line for whatever is wrong with them."""

from __future__ import annotations

import shlex
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, set_seed

from saltus.integrations.attention_saturation import attention_saturation
from saltus.integrations.sentences import Sentences

STEPS = (0, 100, 200, 300, 400, 500, 600, 700)
SIZES = {"vocab_size": 24, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 whose weights go a little way at every checkpoint, in Hugging Face's format."""
    root = tmp_path_factory.mktemp("series")
    set_seed(2)
    model = GPT2LMHeadModel(
        GPT2Config(**SIZES, initializer_range=0.3, bos_token_id=0, eos_token_id=1)
    )
    going = torch.Generator().manual_seed(0)
    drift = [torch.randn(each.shape, generator=going) for each in model.parameters()]
    for step in STEPS:
        model.save_pretrained(root / f"step-{step}")
        with torch.no_grad():
            for each, way in zip(model.parameters(), drift, strict=True):
                each += 0.02 * way + 0.02 * torch.randn(each.shape, generator=going)
    return root


@pytest.fixture
def series(made: Path, saltus, tmp_path: Path) -> Path:
    """A copy at hf/ of the test's directory, which may be damaged."""
    return Path(shutil.copytree(made, tmp_path / "hf"))


def encoder(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / "model.safetensors")
    own = [value for name, value in tensors.items() if not name.startswith("transformer.w")]
    return torch.cat([each.double().flatten() for each in own])


def test_norms_and_cosines_are_those_of_the_files(saltus, series):
    said = saltus("analyse", *reversed(sorted(series.iterdir())), "--json")
    assert (said.code, said.err) == (0, "")
    found = said.document
    assert found["steps"] == list(STEPS) and found["findings"] == []
    theta = [encoder(series / f"step-{step}") for step in STEPS]
    assert found["encoder"]["norm"] == pytest.approx([each.norm().item() for each in theta])
    cosines = [torch.cosine_similarity(a, b, dim=0).item()
               for a, b in pairwise(theta)]  # fmt: skip
    assert found["encoder"]["direction"] == pytest.approx(cosines)
    account = found["accounting"]
    assert account["growth"] == pytest.approx(account["squared_steps"] + account["cross"])
    assert found["growth"]["exponent"]["estimate"] > 0 and found["growth"]["reason"] == ""
    assert set(found["layers"]) == {"0", "1"} and "attention.qkv" in found["groups"]


def test_a_table_modules_and_the_last_line(saltus, series):
    said = saltus("analyse", "hf", "--per-module")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith("8 checkpoints, ")
    rows = [line.split() for line in lines[1:] if line.split()[:1] and line.split()[0].isdigit()]
    assert [int(row[0]) for row in rows[:8]] == list(STEPS)
    assert float(rows[0][1]) == pytest.approx(encoder(series / "step-0").norm().item(), rel=1e-5)
    assert any(line.split()[:2] == ["layer", "1"] for line in lines)
    assert any(line.startswith("exponent ") for line in lines)
    assert lines[-1] == "audit      nothing found"
    assert max(map(len, lines)) <= 80


def test_saturation_is_that_of_each_checkpoint_and_the_page_has_it(saltus, series):
    ids = [[3, 5, 7, 7, 2, 9, 11, 4, 3, 3, 8, 10, 6, 2], [5, 5, 6]]
    Path("ids.jsonl").write_text("\n".join(map(str, ids)))
    command = ("analyse", "hf/step-0", "hf/step-700", "--text", "ids.jsonl", "--random-weights")
    said = saltus(*command, "--report", "page.html", "--json")
    assert said.code == 0
    found = said.document["saturation"]
    assert [each["checkpoint"] for each in found] == ["random weights", "step-0", "step-700"]
    for each in found[1:]:
        own = attention_saturation(f"hf/{each['checkpoint']}", Sentences(ids))
        assert each["stacks"][0]["layers"] == own.stacks[0].layers.tolist()
        assert np.array_equal(each["heads"][0]["attended"], own.heads[0].attended)
        assert each["heads"][0]["types"] == own.heads[0].types
    page = Path("page.html").read_text()
    for title in ("Norm growth", "Saturation by layer", "Head types", "Audit"):
        assert f"<h3>{title}</h3>" in page
    said = saltus(*command)
    assert "GPT2Model, 2 texts, 17 tokens; every parameter times 1000" in said.out
    assert [line.split()[0] for line in said.out.splitlines() if " layers " in line] == [
        "random", "0", "700",
    ]  # fmt: skip


def test_exact_attention_instead_of_scaled_weights(saltus, series):
    said = saltus(
        "analyse", "hf/step-700", "--random-texts", 2, "--length", 14, "--exact", "--json"
    )
    (found,) = said.document["saturation"]
    assert (found["mode"], found["scale"]) == ("zeta", 1.0)
    assert found["heads"][0]["attended"] == [[1.0, 1.0], [1.0, 1.0]]
    said = saltus("analyse", "hf/step-700", "--random-texts", 2, "--length", 14, "--exact")
    assert "2 texts, 28 tokens; attention on its best keys alone (ζ)" in said.out


def test_strict_makes_a_finding_the_exit_code(saltus, series):
    shutil.copy(series / "step-200/model.safetensors", series / "step-300/model.safetensors")
    said = saltus("analyse", "hf")
    assert (said.code, said.err) == (0, "")
    lines = [line for line in said.out.splitlines() if line.startswith("audit")]
    assert any(line.startswith("audit      duplicated: ") for line in lines)
    said = saltus("analyse", "hf", "--strict", "--json")
    assert said.code == 1
    assert said.err.startswith("saltus: the audit has ")
    duplicated = [each for each in said.document["findings"] if each["kind"] == "duplicated"]
    assert [each["steps"] for each in duplicated] == [[200, 300]]


def test_a_torn_file_is_a_finding_and_the_others_are_measured(saltus, series):
    path = series / "step-300/model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    said = saltus("analyse", "hf", "--json")
    assert said.code == 0
    assert 300 not in said.document["steps"]
    assert [each["name"] for each in said.document["damaged"]] == ["step-300"]
    assert "truncated" in {each["kind"] for each in said.document["findings"]}


def test_a_run_of_ours_and_a_single_file(saltus, run, series):
    found = saltus("analyse", "runs/tiny", "--json").document
    assert found["steps"] == [0, 6]
    said = saltus("analyse", "hf/step-0/model.safetensors", "--report", "one.html")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("1 checkpoint, ") and Path("one.html").exists()


def test_it_needs_no_transformers_for_weights_alone(saltus, series, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert saltus("analyse", "hf").code == 0
    said = saltus("analyse", "hf", "--saturation")
    assert said.err == "saltus: transformers is not installed: pip install 'saltus[llm]'\n"
    assert said.code == 2


class Trap:
    def __reduce__(self) -> tuple:
        return (print, ("caught",))


LINES = {
    "analyse": "analyse: CHECKPOINT is required, and not given; see saltus analyse --help",
    "analyse nowhere/step-1": "nowhere/step-1",
    "analyse empty": "empty",
    "analyse hf other": (
        "step-900: another architecture than step-0: transformer.h.0.attn.c_attn.bias has shape "
        "[24], allowed: [48]"
    ),
    "analyse trap-step-1.pt": "trap-step-1.pt",
    "analyse hf --steps-from (": "steps_from: '(' is not a regular expression",
    "analyse hf --report page.pdf": (
        "--report: 'page.pdf' is not allowed: the name must end in .html"
    ),
    "analyse hf --text ids.jsonl": (
        "step-0: text 0: token 99 does not fit the model's vocabulary; allowed: 0 to 23"
    ),
    "analyse hf --text book.txt": (
        "step-0: hf/step-0 has no tokenizer for the text; allowed: another folder with one "
        "(--tokenizer), token ids as .jsonl, or random texts"
    ),
    "analyse hf --text nothing.txt": "nothing.txt: cannot be read: No such file or directory",
    "analyse hf --saturation --length 33": (
        "step-0: 33 tokens of a text are not allowed: 1 to 32, the model's window"
    ),
    "analyse hf --text ids.jsonl --random-texts 3": (
        "analyse: --text and --random-texts exclude each other"
    ),
    "analyse hf --random-weights": (
        "--random-weights: it belongs to --saturation, which is not asked for"
    ),
    "analyse hf --saturation --precision float16": (
        "step-0: precision: 'float16' is not allowed: scaled weights need float32, float64, "
        "bfloat16"
    ),
    "analyse plain-step-1.safetensors --saturation": (
        "plain-step-1.safetensors: its saturation needs a model in Hugging Face's format: . has "
        "no config.json"
    ),
}


@pytest.mark.parametrize("command", LINES)
def test_bad_input_is_one_line(saltus, series, command):
    Path("empty").mkdir()
    Path("ids.jsonl").write_text("[1, 99]\n")
    Path("book.txt").write_text("Once upon a time.\n")
    config = GPT2Config(**{**SIZES, "n_embd": 8, "bos_token_id": 0, "eos_token_id": 1})
    if "other" in command:
        GPT2LMHeadModel(config).save_pretrained("other/step-900")
    if "trap" in command:
        torch.save({"weight": Trap()}, "trap-step-1.pt")
    save_file({"weight": torch.ones(2, 2)}, "plain-step-1.safetensors")
    said = saltus(*shlex.split(command))
    assert said.out == "" and "caught" not in said.err
    (line,) = [each for each in said.err.splitlines() if each.startswith("saltus: ")]
    assert LINES[command] in line and len(said.err.splitlines()) == 1
    assert said.code == 2
    assert not Path("page.pdf").exists()
