"""Word co-occurrence by gradient flow (arXiv 2410.09605): two phases, and balanced gradients."""

from saltus.studies.study import Study
from saltus.studies.word_cooccurrence.claims import claims
from saltus.studies.word_cooccurrence.figures import TAU, end_of_phase_1, figures
from saltus.studies.word_cooccurrence.recipe import CHANGED, recipe

STUDY = Study(
    name="word-cooccurrence",
    title="Training dynamics of transformers to recognize word co-occurrence",
    paper="arXiv 2410.09605 (NeurIPS 2024)",
    question="One softmax layer learns that two words occur together: in which order, and why?",
    recipe=recipe,
    claims=claims,
    changed=CHANGED,
    figures=figures,
    times=end_of_phase_1,
    times_label="end of phase 1 (T₁)",
    times_clock=TAU,
)
