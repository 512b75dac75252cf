"""What series are called in print, and which of them want a logarithmic axis."""

from __future__ import annotations

TITLES = {
    "loss/train": "Training loss",
    "evaluation/loss": "Loss on fresh samples",
    "evaluation/accuracy": "Accuracy of the answer",
    "evaluation/accuracy-first": "Accuracy of the first answer token",
    "evaluation/accuracy/teacher-forced": "Accuracy, teacher-forced",
    "evaluation/loss/answer": "Loss of the answer",
    "cosine": "Hidden-state cosine similarity",
    "attention-progress": "Attention progress",
    "entropy": "Attention entropy",
    "repetition/rate": "Repetition in the answer",
    "repetition/first": "Repetition of the first answer token",
    "repetition/data": "Repetition in the right answers",
    "norm/parameters": "Norm of all parameters",
    "norm": "Parameter norm",
    "gradient/total": "Norm of the gradient",
    "gradient": "Gradient norm",
}
UNITS = {
    "evaluation/accuracy": "share of tokens",
    "evaluation/accuracy-first": "share of samples",
    "attention-progress": "share of attention",
    "repetition/rate": "share of neighbours",
}
SCALELESS = ("loss", "norm", "gradient", "balance/norm-mean", "balance/norm-ratio")


def title_of(name: str) -> str:
    """'cosine/final' → 'Hidden-state cosine similarity, final'; an unknown name is itself."""
    if name in TITLES:
        return TITLES[name]
    family, _, rest = name.partition("/")
    return f"{TITLES[family]}, {rest}" if family in TITLES and rest else name


def unit_of(name: str) -> str:
    """The unit on the axis, or nothing where the task decides it."""
    return UNITS.get(name, UNITS.get(name.partition("/")[0], ""))


def is_scaleless(name: str) -> bool:
    """Whether only ratios matter: such series may be drawn on a logarithmic axis."""
    return name.startswith(SCALELESS) or name == "evaluation/loss"
