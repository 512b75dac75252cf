"""What happens during the loss plateau (arXiv 2506.13688): the first leap."""

from saltus.studies.loss_plateau.claims import claims
from saltus.studies.loss_plateau.figures import figures
from saltus.studies.loss_plateau.other_claims import other_claims
from saltus.studies.loss_plateau.recipe import CHANGED, recipe
from saltus.studies.study import Study

STUDY = Study(
    name="loss-plateau",
    title="What happens during the loss plateau",
    paper="arXiv 2506.13688 (NeurIPS 2025)",
    question="A one-layer GPT learns moving-window sums: what does it do before its loss leaps?",
    recipe=recipe,
    claims=lambda scale: [*claims(scale), *other_claims(scale)],
    changed=CHANGED,
    headline=(
        "loss/train",
        "evaluation/accuracy",
        "evaluation/accuracy-first",
        "cosine/final",
        "attention-progress/blocks.0",
        "repetition/rate",
    ),
    figures=figures,
)
