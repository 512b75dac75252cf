"""Prompts from files, from ARC-Easy, and at random."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltus.errors import SaltusError
from saltus.integrations.prompts import arc_easy, read_prompts

ids = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=5), min_size=1, max_size=5)
texts = st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=5)


@given(ids | texts)
def test_jsonl_is_read_as_it_was_written(tmp_path_factory, prompts):
    path = tmp_path_factory.getbasetemp() / "prompts.jsonl"
    path.write_text("\n".join(json.dumps(each) for each in prompts), "utf-8")
    assert read_prompts(path) == prompts


def test_a_text_file_is_a_prompt_a_line(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text("Why is the sky blue?\n\n  3 5 1\n")
    assert read_prompts(path) == ["Why is the sky blue?", "  3 5 1"]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("no.txt", b"\n \n", "no.txt: no prompts; one per line is allowed"),
        ("no.txt", b"\xff\xfe", "no.txt: cannot be read: "),
        ("a.jsonl", b"[1]\n[2\n", 'a.jsonl:2: not JSON; allowed: [3, 5, 1] or "a text"'),
        ("a.jsonl", b"[1, true]", "a.jsonl:1: [1, true] is not a prompt; allowed: "),
        ("a.jsonl", b"[]", "a.jsonl:1: [] is not a prompt; allowed: "),
        ("a.jsonl", b"7", "a.jsonl:1: 7 is not a prompt; allowed: "),
        ("a.jsonl", b'[1]\n"b"', "a.jsonl: texts and token ids in one file; allowed: one of the"),
        ("gone.txt", None, "gone.txt: cannot be read: "),
    ],
    ids=["empty", "binary", "json", "bool", "none", "number", "mixed", "missing"],
)
def test_what_is_no_prompt_is_one_line(tmp_path, monkeypatch, name, content, line):
    monkeypatch.chdir(tmp_path)
    path = tmp_path.relative_to(tmp_path) / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SaltusError) as error:
        read_prompts(path)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


def test_arc_easy_draws_questions_and_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SaltusError, match="needs the package datasets: pip install datasets"):
        arc_easy(3)
    stand_in = ModuleType("datasets")
    questions = [f"question {n}" for n in range(20)]
    stand_in.load_dataset = lambda *_, split: {"question": questions}
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    drawn = arc_easy(5, seed=1)
    assert drawn == arc_easy(5, seed=1) != arc_easy(5, seed=2)
    assert len(set(drawn)) == 5 and set(drawn) <= set(questions)
    with pytest.raises(SaltusError, match="ARC-Easy: 21 is not allowed: 1 to 20 questions"):
        arc_easy(21)
