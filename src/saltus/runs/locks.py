"""One writer at a time: advisory locks that the operating system drops when their owner dies."""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from contextlib import suppress
from pathlib import Path

from saltus.errors import SaltusError
from saltus.runs.files import reason


class Lock:
    """An exclusive `flock` on a file that also names the owner's pid, held until `close`.

    Waits up to `wait` seconds for another owner, then raises SaltusError naming the pid. A short
    wait is always worth it: `is_held` takes a shared lock for an instant while it looks.
    """

    def __init__(self, path: Path, what: str, wait: float = 0.5) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise SaltusError(f"cannot lock {what}: {path}: {reason(error)}") from error
        try:
            self._acquire(what, time.monotonic() + wait)
            # The pid is for people. The lock holds without it: a full disk must not stop us here.
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            self.close()
            raise
        _held.add(self)

    def close(self) -> None:
        """Let go; closing twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        _held.discard(self)

    def _acquire(self, what: str, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise SaltusError(
                        f"{what} is being written by {owner(self.path)}: "
                        "wait until it ends, or stop it first"
                    ) from None
                time.sleep(0.02)
            except OSError as error:
                raise SaltusError(
                    f"cannot lock {what}: {self.path}: {reason(error)}; "
                    "a run needs a file system with flock"
                ) from error


def is_held(path: Path) -> bool:
    """Whether some process holds the lock at `path` right now; False if there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def owner(path: Path) -> str:
    """'process 1234', as the lock file tells it."""
    try:
        pid = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        pid = ""
    return f"process {pid}" if pid.isdigit() else "another process"


# A forked worker inherits the descriptor, and with it the lock: it would hold the run for as long
# as it outlives a killed parent. So the child closes its copies; the parent's lock stays.
_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_let_go_in_child)
