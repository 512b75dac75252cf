"""`saltus llm`, and exports that it reads."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def exported(saltus, run) -> list[str]:
    """The tiny run's checkpoints in Hugging Face's format, below hf/."""
    said = saltus("export", "tiny", "--format", "huggingface", "--all-steps", "-o", "hf")
    assert (said.code, said.err) == (0, "")
    folders = said.out.splitlines()
    assert folders == ["hf/step-0", "hf/step-3", "hf/step-6"]
    return folders


ASKED = ("--random-prompts", 5, "--length", 3, "--new-tokens", 4, "--offline")


def test_a_table_over_checkpoints(saltus, exported):
    said = saltus("llm", *reversed(exported), *ASKED)
    assert said.code == 0
    assert said.out.splitlines()[:2] == [
        "GPT2LMHeadModel, 5 prompts, 4 tokens written to each",
        "means over prompts [95 % over prompts]; 6 pairs of states, 3 of tokens",
    ]
    rows = [line.split()[0] for line in said.out.splitlines() if line.count("[") == 3]
    assert rows == ["0", "3", "6"]
    assert max(map(len, said.out.splitlines())) <= 80
    news = [line.rsplit(":", 1)[0] for line in said.err.splitlines()]
    assert news == [f"{n} of 3  {name}" for n, name in enumerate(exported, start=1)]


def test_numbers_for_scripts_and_for_every_prompt(saltus, exported):
    said = saltus("llm", *exported, *ASKED, "-o", "each.jsonl", "--json")
    assert said.code == 0
    found = said.document["checkpoints"]
    assert [each["step"] for each in found] == [0, 3, 6]
    lines = [json.loads(line) for line in Path("each.jsonl").read_text().splitlines()]
    for short, whole in zip(found, lines, strict=True):
        each = whole.pop("each_prompt")
        assert whole == short and short["intervals_over"] == "prompts"
        for name in ("cosine", "repetition", "entropy"):
            assert len(each[name]) == 5
            assert short[name]["mean"] == pytest.approx(sum(each[name]) / 5)
            assert short[name]["low"] <= short[name]["mean"] <= short[name]["high"]
        assert [len(row) for row in each["written"]] == [4] * 5


def test_prompts_of_token_ids_and_names_without_steps(saltus, exported):
    Path("ids.jsonl").write_text("[1, 2]\n[3]\n[0, 1, 2]\n")
    Path("hf/step-6").rename("last")
    said = saltus("llm", "last", "--prompts", "ids.jsonl", "--new-tokens", 3)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[2] == "  1  last"
    said = saltus("llm", "last", "hf/step-3", "--prompts", "ids.jsonl", "--new-tokens", 3,
                  "--steps-from", r"(\d+)$|last()", "--json")  # fmt: skip
    assert said.err == (
        r"saltus: steps_from: '(\d+)$|last()' must have one group, as in 'step(\d+)'" + "\n"
    )


def test_one_bad_checkpoint_is_one_line_and_exit_1(saltus, exported):
    Path("empty").mkdir()
    said = saltus("llm", exported[0], "empty", exported[1], *ASKED, "--json")
    assert said.code == 1
    reason = "the folder has no config.json: not a checkpoint of Hugging Face's"
    assert said.err.splitlines()[1] == f"2 of 3  empty: {reason}"
    assert said.err.splitlines()[-1] == "saltus: 1 of 3 checkpoints could not be measured"
    assert [each["step"] for each in said.document["checkpoints"]] == [0, 3]
    assert said.document["failed"] == [{"checkpoint": "empty", "reason": reason}]


LINES = {
    "llm": "llm: CHECKPOINT is required, and not given; see saltus llm --help",
    "llm hf/step-0": "llm: one of --prompts, --random-prompts, --arc-easy is required",
    "llm hf/step-0 --random-prompts 3 --arc-easy 3": (
        "llm: one of --prompts, --random-prompts, --arc-easy is required"
    ),
    "llm hf/step-0 --random-prompts 3 --new-tokens 9 --length 4": (
        "hf/step-0: a prompt of 4 tokens and 9 new ones need 12 positions; allowed: 8"
    ),
    "llm hf/step-0 --prompts ids.jsonl": (
        "hf/step-0: prompt 1: token 99 is not allowed: 0 to 5"
    ),
    "llm nowhere/at/all --random-prompts 3": (
        "nowhere/at/all: there is no such folder; allowed: a folder, NAME or NAME@REVISION"
    ),
    "llm ids.jsonl empty --random-prompts 3": "none of the 2 checkpoints could be measured",
    "llm hf/step-0 --random-prompts 3 -o file.csv": (
        "-o: 'file.csv' is not allowed: the name must end in .jsonl"
    ),
    "llm hf/step-0 --random-prompts 3 --precision int8": (
        "precision: unknown precision 'int8'. Allowed: bfloat16, float16, float32, float64"
    ),
    "export tiny --format hf -o x": (
        "--format: unknown format 'hf'. Allowed: huggingface, safetensors"
    ),
    "export tiny --all-steps -o x.safetensors": (
        "--all-steps: a safetensors file holds one step; allowed: --step N"
    ),
    "export tiny --format huggingface --all-steps --step 3 -o x": (
        "export: --all-steps and --step exclude each other"
    ),
    "export tiny --format huggingface --member 2 -o x": "--member: 2 is not allowed: 0 to 1",
    "export tiny --format huggingface -o hf": (
        "hf is there already: name a new or empty folder"
    ),
    "export linear --format huggingface -o x": (
        "model.attention: linear does not map onto Hugging Face's GPT-2; allowed: softmax"
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", LINES)
def test_bad_input_is_one_line(saltus, exported, tiny, command):
    if "linear" in command:
        saltus("run", tiny, "--name", "linear", "--set", "model.attention=linear")
    Path("ids.jsonl").write_text("[1, 2]\n[3, 99]\n")
    Path("empty").mkdir()
    said = saltus(*shlex.split(command))
    assert said.out == ""
    assert said.err.splitlines()[-1] == f"saltus: {LINES[command]}"
    assert said.code == 2
    assert "none of" in command or said.err.count("\n") <= 3
    assert not Path("x").exists()


def test_without_transformers_help_works_and_it_says_what_to_install(saltus, exported, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert saltus("llm", "--help").code == 0
    said = saltus("llm", *exported, *ASKED)
    assert said.err == "saltus: transformers is not installed: pip install 'saltus[llm]'\n"
    assert said.code == 2


def test_the_library_s_bars_and_advice_stay_away(exported):
    """In a process of its own, where nothing has been loaded or silenced before."""
    script = "from saltus.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    said = subprocess.run(
        [sys.executable, "-c", script, "llm", exported[0], *map(str, ASKED), "--json"],
        capture_output=True,
        text=True,
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert json.loads(said.stdout)["checkpoints"][0]["step"] == 0
