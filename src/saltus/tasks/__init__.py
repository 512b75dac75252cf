"""What is learned."""

from saltus.parts import discover
from saltus.tasks.base import AnyTask, Apply, Batch, Task
from saltus.tasks.sequence import SequenceTask

discover(__name__, list(__path__))

__all__ = ["AnyTask", "Apply", "Batch", "SequenceTask", "Task"]
