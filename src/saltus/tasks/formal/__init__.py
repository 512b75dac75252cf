"""Formal languages: strings that a small automaton can check, generated on the device."""

from saltus.tasks.formal.a_n_b_n import ANBN
from saltus.tasks.formal.answered import AnsweredTask
from saltus.tasks.formal.base import BOS, EOS, PAD, FormalTask
from saltus.tasks.formal.counting import Counting
from saltus.tasks.formal.dyck import Dyck
from saltus.tasks.formal.first_token import FirstToken
from saltus.tasks.formal.majority import Majority
from saltus.tasks.formal.parity import Parity

__all__ = [
    "ANBN",
    "BOS",
    "EOS",
    "PAD",
    "AnsweredTask",
    "Counting",
    "Dyck",
    "FirstToken",
    "FormalTask",
    "Majority",
    "Parity",
]
