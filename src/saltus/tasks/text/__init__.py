"""Real text: masked and causal language modelling on a file, or on what Python brings along."""

from saltus.tasks.text.causal import CausalText
from saltus.tasks.text.corpus import Corpus
from saltus.tasks.text.masked import MaskedText
from saltus.tasks.text.sentences import PRESETS, Sentences
from saltus.tasks.text.source import Source

__all__ = ["PRESETS", "CausalText", "Corpus", "MaskedText", "Sentences", "Source"]
