"""Two micro entries of the zoo, built once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from saltus.models.encoder import Encoder
from saltus.models.transformer import Decoder
from saltus.zoo import ENTRIES, Built, Entry, build

TEXT = "In the beginning was the word, and the word was näive: 3 × 7 = 21.\n\n  Ω!" * 60


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def gpt2(text) -> Entry:
    small = Decoder(width=12, depth=2, heads=3, initial_deviation=0.2)
    return replace(ENTRIES["gpt2-stdlib"], model=small, corpus=text, steps=6)


@pytest.fixture(scope="session")
def bert(text) -> Entry:
    small = Encoder(width=12, depth=2, heads=3, initial_deviation=0.2, silent_mask=False)
    return replace(ENTRIES["bert-stdlib"], model=small, corpus=text, steps=3)


@pytest.fixture(scope="session")
def zoo(gpt2, bert, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    root: Path = tmp_path_factory.mktemp("zoo")
    return {"gpt2": build(gpt2, root), "bert": build(bert, root)}
