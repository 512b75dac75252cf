"""Eureka-moments in transformers (arXiv 2310.12956): two steps, of which one is learned late."""

from saltus.studies.eureka.claims import claims
from saltus.studies.study import Study

STUDY = Study(
    name="eureka",
    title="Eureka-moments in transformers",
    paper="arXiv 2310.12956 (ICML 2024)",
    question="A transformer learns the second of two steps at once, and the first late. Why?",
    recipe=lambda scale: {},
    claims=claims,
    changed="nothing is trained yet",
)
