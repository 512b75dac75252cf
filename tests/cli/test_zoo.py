"""`saltus zoo` on a micro entry: what it prints, its exit codes, and one line for bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from saltus.models.transformer import Decoder
from saltus.zoo import ENTRIES


@pytest.fixture
def micro(tmp_path, monkeypatch) -> None:
    """gpt2-stdlib, but tiny and on a short text."""
    text = tmp_path / "words.txt"
    text.write_text("nature makes no leaps, and transformers do. " * 90)
    small = replace(
        ENTRIES["gpt2-stdlib"], model=Decoder(width=4), corpus=str(text), steps=2, about="micro"
    )
    monkeypatch.setitem(ENTRIES, "gpt2-stdlib", small)


def test_list_names_every_entry(saltus):
    said = saltus("zoo", "list")
    assert said.code == 0 and all(name in said.out for name in ENTRIES)
    assert [entry["name"] for entry in saltus("zoo", "list", "--json").document] == list(ENTRIES)


def test_build_and_verify(saltus, micro):
    said = saltus("zoo", "build", "gpt2-stdlib")
    assert said.code == 0
    assert said.err.startswith("gpt2-stdlib: training 1 member, 2 steps in ")
    first, sizes, loss = said.out.splitlines()
    assert first.startswith("zoo/gpt2-stdlib: ") and first.endswith(" s")
    assert "parameters, " in sizes and "3 checkpoints, steps 0 to 2; " in sizes
    assert loss.startswith("  loss on held-out text 6.2")
    again = saltus("zoo", "build", "gpt2-stdlib", "--json")
    assert again.code == 0 and again.err == ""
    (document,) = again.document
    assert document["how"] == "reused" and document["steps"] == [0, 1, 2]
    assert Path(document["folder"], "step-000002/config.json").is_file()

    sound = saltus("zoo", "verify", "zoo/gpt2-stdlib")
    assert sound.code == 0 and "all as built" in sound.out
    Path("zoo/gpt2-stdlib/step-000001/config.json").write_text("{}")
    damaged = saltus("zoo", "verify", "zoo/gpt2-stdlib")
    assert damaged.code == 1
    assert damaged.out.startswith("zoo/gpt2-stdlib: step-000001/config.json: has 2 bytes instead")
    assert damaged.err == "saltus: 1 of 1 folders are not as they were built\n"
    assert saltus("zoo", "verify", "zoo/gpt2-stdlib", "--json").document[0]["ok"] is False


def test_the_run_and_the_folders_are_read_by_the_other_verbs(saltus, micro):
    assert saltus("zoo", "build", "gpt2-stdlib").code == 0
    assert "norm/parameters" in saltus("show", "zoo/gpt2-stdlib/run").out
    folders = [f"zoo/gpt2-stdlib/step-{step:06d}" for step in (0, 2)]
    said = saltus("llm", *folders, "--random-prompts", 4, "--json")
    assert [each["step"] for each in said.document["checkpoints"]] == [0, 2]


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("frobnicate", "unknown verb 'frobnicate'. Allowed: build, list, verify"),
        ("build", "zoo build: NAME is required, and not given; see saltus zoo build --help"),
        ("build gpt2", "zoo: unknown entry 'gpt2'"),
        ("build gpt2-stdlib --steps 0", "--steps: 0 is not allowed: 1 or more"),
        ("build gpt2-stdlib --step 3", "zoo build: unknown option '--step'; did you mean"),
        ("build gpt2-stdlib --corpus none", "gpt2-stdlib: its text: 'none' cannot be read"),
        ("verify .", ". is no folder of the zoo: manifest.json: no such file"),
    ],
)
def test_bad_input_is_one_line(saltus, command, line):
    said = saltus("zoo", *command.split())
    assert said.code == 2 and said.out == ""
    assert said.err.startswith(f"saltus: {line}") and said.err.count("\n") == 1
    assert not Path("zoo").exists()


@pytest.mark.parametrize("verb", ["list", "build", "verify"])
def test_help_has_an_example_and_json(saltus, verb):
    said = saltus("zoo", verb, "--help")
    assert said.code == 0 and "--json" in said.out
    assert f"saltus zoo {verb}" in said.out.split("Example", 1)[1]
    assert max(map(len, said.out.splitlines())) <= 80


def test_alone_it_explains_itself(saltus):
    assert saltus("zoo").out == saltus("zoo", "--help").out
