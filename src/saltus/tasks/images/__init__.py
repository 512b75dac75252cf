"""Two-step images (arXiv 2310.12956): a small language of layouts, and the task that draws them."""

from saltus.tasks.images.layouts import Answer, Cell, Layout
from saltus.tasks.images.rules import Rule
from saltus.tasks.images.two_step import TwoStepImage
from saltus.tasks.images.variants import VARIANTS

__all__ = ["VARIANTS", "Answer", "Cell", "Layout", "Rule", "TwoStepImage"]
