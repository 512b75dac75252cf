"""The front door: parse, call, print. Nothing of the laboratory is computed here.

`main` is what the shell starts. `app.py` puts the verbs together, which stand in the other files,
one or a few that belong together in each; `output.py`, `progress.py` and `inputs.py` are what they
share. Verbs import the rooms that they need when they run, so that help is quick.

Exit codes: 0 done (a claim that fails is a result), 1 a run failed or is damaged, 2 bad input,
130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from saltus.errors import SaltusError

SCIENCE = ("scipy", "sklearn", "lifelines", "ruptures", "cvxpy")
EXTRAS = {
    "studies": ("typer", "rich", "duckdb", "pyarrow", *SCIENCE),
    "report": ("matplotlib",),
    "llm": ("transformers",),
}
INTERRUPTED = 130


class Interrupted(Exception):
    """Ctrl-C where something can be continued; the message says how."""


class Failed(Exception):
    """The command did its work, and the answer is bad news: exit code 1 and one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Bad input is one line on stderr, never a trace."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # where a terminal lacks a letter
    try:
        from saltus.cli.app import run

        code = run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return _complain("interrupted", code) if code == INTERRUPTED else code
    except SaltusError as error:
        return _complain(str(error), 2)
    except Failed as error:
        return _complain(str(error), 1)
    except Interrupted as error:
        return _complain(f"interrupted; {error}", INTERRUPTED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ImportError as error:
        return _complain(_missing_extra(error), 2)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _complain(f"{place}{(error.strerror or str(error)).lower()}", 2)
    except (MemoryError, RuntimeError) as error:
        return _complain(_out_of_memory(error), 2)


def _complain(line: str, code: int) -> int:
    print(f"saltus: {line}", file=sys.stderr)
    return code


def _missing_extra(error: ImportError) -> str:
    missing = (error.name or "").partition(".")[0]
    for extra, packages in EXTRAS.items():
        if missing in packages:
            return f"{missing} is not installed: pip install 'saltus[{extra}]'"
    raise error  # not something to install, but a mistake of ours


def _out_of_memory(error: MemoryError | RuntimeError) -> str:
    text = str(error)
    if isinstance(error, RuntimeError) and "memory" not in text:
        raise error
    return f"not enough memory for this experiment: {' '.join(text.split())[:200] or 'none left'}"
