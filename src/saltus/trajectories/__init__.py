"""Anyone's checkpoints as a trajectory: norms, directions, growth, and what is wrong with them.

Start with `series.py` (which files), then `measure.py` (one pass over them), `trajectory.py` (what
is known afterwards) and `audit.py` (what is wrong).
"""

from saltus.trajectories.audit import KINDS, Finding, audit
from saltus.trajectories.course import Accounting, Course
from saltus.trajectories.measure import analyse
from saltus.trajectories.naming import Parameter
from saltus.trajectories.series import Checkpoint, Damaged, Series, find_series
from saltus.trajectories.steps import STEP, step_of
from saltus.trajectories.trajectory import Trajectory

__all__ = [
    "KINDS",
    "STEP",
    "Accounting",
    "Checkpoint",
    "Course",
    "Damaged",
    "Finding",
    "Parameter",
    "Series",
    "Trajectory",
    "analyse",
    "audit",
    "find_series",
    "step_of",
]
