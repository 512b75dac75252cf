"""Abrupt learning in transformers (arXiv 2410.22244): matrices that are copied, then computed."""

from saltus.studies.matrix_completion.claims import claims
from saltus.studies.matrix_completion.figures import figures
from saltus.studies.matrix_completion.measures import halfway
from saltus.studies.matrix_completion.recipe import CHANGED, recipe
from saltus.studies.study import Study

STUDY = Study(
    name="matrix-completion",
    title="Abrupt learning: a case study on matrix completion",
    paper="arXiv 2410.22244 (NeurIPS 2024)",
    question="A BERT completes low-rank matrices: it copies, then suddenly computes. What changes?",
    recipe=recipe,
    claims=claims,
    changed=CHANGED,
    figures=figures,
    times=halfway,
    times_label="L_mask at half of Var(X)",
)
