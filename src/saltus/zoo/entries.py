"""What the zoo holds: one text, one model, one optimiser and one seed to an entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from saltus.errors import FieldProblem, SaltusError, unknown
from saltus.experiment import Checkpoints, Engine, Experiment
from saltus.instruments.base import Cadence
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.norms import Norms
from saltus.models.base import Model
from saltus.models.encoder import Encoder
from saltus.models.transformer import Decoder
from saltus.tasks.text import Corpus
from saltus.training.optimizers import AdamW
from saltus.training.schedules import Schedule

VOCABULARY, LENGTH, BATCH, STEPS = 512, 64, 16, 500
WIDTH, DEPTH, HEADS = 64, 4, 4

CONSTANT = AdamW(learning_rate=3e-3)
# Rises for 50 steps to 1e-2, then falls as 1 / sqrt(step): the schedule under which the study of
# norm growth expects another trajectory than at a constant rate.
DECAYING = AdamW(learning_rate=1e-2, schedule=Schedule(shape="inverse-sqrt", warmup=50))
# A post-norm encoder that starts at full rate collapses to the frequencies of the tokens.
WARMED = AdamW(learning_rate=2e-3, schedule=Schedule(warmup=100))


@dataclass(frozen=True)
class Entry:
    """A trajectory that can be built: `experiment` is all that decides it."""

    name: str
    about: str
    corpus: str | None  # a named corpus or a path; None: Python's own help
    model: Model
    optimizer: AdamW = CONSTANT
    seed: int = 0
    steps: int = STEPS

    def experiment(self, steps: int | None = None, corpus: str | None = None) -> Experiment:
        """What is trained; `steps` and `corpus` (a text file) replace the entry's own.

        Raises SaltusError in one line for a text that is not there, and for steps below 1.
        """
        steps = self.steps if steps is None else steps
        if steps < 1:
            raise SaltusError(f"--steps: {steps} is not allowed: 1 or more")
        try:
            text = Corpus.parse(corpus or self.corpus)
        except FieldProblem as error:
            raise SaltusError(f"{self.name}: its text: {error.text}") from None
        every = max(1, steps // 10)
        kind = "masked-text" if isinstance(self.model, Encoder) else "causal-text"
        return Experiment.of(
            {
                "name": self.name,
                "task": {"kind": kind, "corpus": text, "vocabulary": VOCABULARY, "length": LENGTH},
                "model": self.model,
                "optimizer": self.optimizer,
                "instruments": (
                    Evaluation(cadence=Cadence(every=every)),
                    Norms(cadence=Cadence(every=every)),
                ),
                "steps": steps,
                "batch": BATCH,
                "seeds": (self.seed,),
                "checkpoints": Checkpoints(at=doubling(steps), every=every),
                "engine": Engine(workers=1),
            },
            self.name,
        )


def doubling(steps: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to `steps`: where a young model changes fastest, states lie closest."""
    return tuple(2**k for k in range(steps.bit_length()))


def find_entry(name: str) -> Entry:
    """The entry of that name, or SaltusError with the nearest one."""
    if name not in ENTRIES:
        raise SaltusError(f"zoo: {unknown('entry', name, ENTRIES)}")
    return ENTRIES[name]


_SIZES: dict[str, Any] = {"depth": DEPTH, "heads": HEADS, "width": WIDTH}
_GPT2 = Decoder(**_SIZES)
_BERT = Encoder(**_SIZES, silent_mask=False)

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("gpt2-stdlib", "GPT-2 on Python's help, constant rate", None, _GPT2),
        Entry("gpt2-stdlib-seed1", "the same from another seed", None, _GPT2, seed=1),
        Entry("gpt2-stdlib-sqrt", "the same, rate falling as 1/sqrt(step)", None, _GPT2, DECAYING),
        Entry("gpt2-kjv", "GPT-2 on the King James Bible", "kjv", _GPT2),
        Entry("gpt2-wikipedia", "GPT-2 on Wikipedia articles", "wikipedia-extract", _GPT2),
        Entry("bert-stdlib", "masked words of Python's help", None, _BERT, WARMED),
    )
}
