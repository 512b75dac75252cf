"""Eureka-moments in transformers (arXiv 2310.12956): two steps, of which one is learned late."""

from saltus.studies.eureka.claims import claims
from saltus.studies.eureka.figures import figures
from saltus.studies.eureka.measures import times_on_images
from saltus.studies.eureka.recipe import CHANGED, recipe
from saltus.studies.study import Study

STUDY = Study(
    name="eureka",
    title="Eureka-moments in transformers",
    paper="arXiv 2310.12956 (ICML 2024)",
    question="A transformer learns the second of two steps at once, and the first late. Why?",
    recipe=recipe,
    claims=claims,
    changed=CHANGED,
    headline=("loss/train", "evaluation/accuracy", "training/accuracy"),
    figures=figures,
    times=times_on_images,
    times_label="Eureka-moment",
)
