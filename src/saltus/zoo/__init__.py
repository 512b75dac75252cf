"""Tiny language models with whole trajectories: built here in seconds, read by everybody's tools.

`entries.py` says what there is, `builder.py` trains one and puts its folder together, `export.py`
writes a step as `transformers` reads it, `manifest.py` proves that nothing has changed since.
"""

from saltus.zoo.builder import Built, build
from saltus.zoo.entries import ENTRIES, Entry, find_entry
from saltus.zoo.manifest import Verified, verify

__all__ = ["ENTRIES", "Built", "Entry", "Verified", "build", "find_entry", "verify"]
