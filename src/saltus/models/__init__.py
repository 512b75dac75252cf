"""What learns: plain `nn.Module`s with named sites."""

from saltus.models.base import AnyModel, Interface, Model, Start, initial_parameters
from saltus.models.groups import group_of, select
from saltus.models.sites import SILENT, Edit, Tape
from saltus.parts import discover

discover(__name__, list(__path__))

__all__ = [
    "SILENT",
    "AnyModel",
    "Edit",
    "Interface",
    "Model",
    "Start",
    "Tape",
    "group_of",
    "initial_parameters",
    "select",
]
