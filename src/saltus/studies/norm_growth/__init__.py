"""Norm growth and saturation (arXiv 2010.09697): what larger parameters do to a transformer."""

from saltus.studies.norm_growth.claims import claims
from saltus.studies.norm_growth.figures import figures
from saltus.studies.norm_growth.recipe import CHANGED, recipe
from saltus.studies.study import Study

STUDY = Study(
    name="norm-growth",
    title="Effects of parameter norm growth during transformer training",
    paper="arXiv 2010.09697 (EMNLP 2021)",
    question="Parameters grow through training: by which law, and does the network saturate?",
    recipe=recipe,
    claims=claims,
    changed=CHANGED,
    figures=figures,
)
