"""One small part of every registered kind, so that tests can put everything with everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saltus.parts import Part
from saltus.tasks import Task

CORPUS = "the cat sat on the mat. the dog sat on the log, and the cat saw it. " * 40

# What makes a part small, or what it requires. A kind that is not named here keeps its defaults.
TASKS: dict[str, dict[str, Any]] = {
    "a-n-b-n": {"length": 10},
    "addition": {"digits": 2},
    "causal-text": {"vocabulary": 270, "length": 8},
    "concat-moving-window-sum": {
        "length": 6,
        "alphabet": 4,
        "modulus": 5,
        "segments": [{"window": 1, "first": 1, "last": 2}, {"window": 2, "first": 4, "last": 6}],
    },
    "copy": {"length": 4, "alphabet": 5},
    "counting": {"length": 10, "cap": 2},
    "dyck": {"length": 10},
    "first-token": {"length": 10},
    "histogram": {"length": 4, "alphabet": 5},
    "icl-labels": {"pairs": 2, "items": 6, "label_alphabet": 3},
    "icl-regression": {"dimensions": 2, "pairs": 3},
    "majority": {"length": 10},
    "masked-text": {"vocabulary": 270, "length": 8},
    "matrix-completion": {"rows": 3, "columns": 3, "rank": 1},
    "matrix-sequence": {"rows": 2, "columns": 2, "rank": 1, "decimals": 1},
    "moving-window-sum": {"length": 4, "alphabet": 4, "modulus": 5},
    "parity": {"length": 10},
    "permutation": {"length": 4, "alphabet": 5},
    "prefix-sum": {"length": 4, "alphabet": 4, "modulus": 5},
    "repeat": {"length": 4, "alphabet": 4, "modulus": 5},
    "reverse": {"length": 4, "alphabet": 5},
    "sentences": {"length": 10, "vocabulary": 40},
    "two-step-mlm": {"payloads": 4, "fillers": 4, "length": 10},
    "word-cooccurrence": {"length": 4, "vocabulary": 16},
}
SMALL = {"depth": 2, "heads": 2, "width": 8}
MODELS: dict[str, dict[str, Any]] = {
    "decoder": SMALL,
    "encoder": SMALL,
    "language-model": {**SMALL, "hidden": 8},
    "one-layer-attention": {"width": 8, "neurons": 8},
    "vit": {**SMALL, "patch": 8},
}
PROBE = {"steps": 2, "batch": 8, "layers": [0]}
INSTRUMENTS: dict[str, dict[str, Any]] = {
    "activation-patching": {"samples": 4, "layers": [0]},
    "class-probe": {**PROBE, "train": 16, "test": 8},
    "code-length": {**PROBE, "samples": 32, "blocks": 2},
    "component-switching": {"samples": 4, "switches": {"readout": ["readout"]}},
    "copy-check": {"samples": 4},
    "gradient-balance": {"samples": 2},
    "head-ablation": {"samples": 4, "sets": {"first": [[0, 0]]}},
    "head-types": {"samples": 4, "modes": ["scale", "zeta"]},
    "linear-probe": {"train": 8, "test": 8, "sites": ["embedding"]},
    "mlp-probe": {"train": 8, "test": 8, "hidden": 4, "iterations": 2},
    "position-shuffle": {"samples": 4},
    "saturated-accuracy": {"samples": 4},
    "scaling-curve": {"samples": 4, "scales": [1, 2]},
    "token-attention": {"tokens": [0, 1]},
}
INTERVENTIONS: dict[str, dict[str, Any]] = {
    "ablate-heads": {"heads": [[0, 0]]},
    "attention-bias": {"factor": 2.0},
    "freeze": {"groups": ["readout"]},
    "scale-start": {"groups": ["readout"], "factor": 0.5},
    "temperature": {"value": 2.0},
    "transplant": {"groups": ["readout"]},
}


def kinds(family: type[Part]) -> list[str]:
    """The kinds that the package registers; tests of other things may have added their own."""
    own = (kind for kind, part in family.registry.items() if part.__module__.startswith("saltus."))
    return sorted(own)


def small_task(kind: str, folder: Path) -> dict[str, Any]:
    """A small task; the corpus that it may read is written into a folder."""
    fields = {"kind": kind, **TASKS.get(kind, {})}
    name = {"sentences": "source"}.get(kind, "corpus")
    if name in Task.registry[kind].model_fields:
        path = folder / "corpus.txt"
        path.write_text(CORPUS)
        fields[name] = str(path)
    return fields
