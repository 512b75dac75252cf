"""Named corpora: texts that come with Python, with Debian or with a package, where installed."""

from __future__ import annotations

import bz2
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from saltus.errors import FieldProblem
from saltus.tasks.text.markup import articles

VERSES = 31_102  # of the King James Bible
EXTRACT = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"


@lru_cache(maxsize=4)
def named_text(name: str) -> str:
    """The text of one of `NAMES`.

    - `stdlib`: the topics of Python's own help in the order of their names;
    - `kjv`: the King James Bible of Debian's package bible-kjv-text, a verse a line;
    - `wikipedia-extract`: the 106 English articles that gensim's tests read, without markup.

    Raises FieldProblem at `path` with one line that says how a missing one is installed.
    """
    return NAMES[name]()


def _stdlib() -> str:
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def _kjv() -> str:
    help_ = "kjv is not here; allowed: a path, or `apt-get install bible-kjv-text` (Debian, Ubuntu)"
    program = shutil.which("bible")
    if program is None:
        raise FieldProblem("path", help_)
    # Its data are compressed in a way of their own; a file of that name in the current folder
    # would go before the system's.
    command = [program, "-p", "/usr/lib", "-f", "gen1:1-rev22:21"]
    try:
        told = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired):
        raise FieldProblem("path", help_) from None
    verses = re.findall(r"^\w+:\d+ +(.*\S) *$", told, re.MULTILINE)
    if len(verses) != VERSES:
        problem = f"the program `bible` gave {len(verses)} verses of the {VERSES} of kjv"
        raise FieldProblem("path", f"{problem}; allowed: `apt-get install bible-kjv-text`")
    return "\n".join(verses) + "\n"


def _wikipedia() -> str:
    found = find_spec("gensim")
    folder = Path(found.origin).parent if found is not None and found.origin else None
    path = folder / "test" / "test_data" / EXTRACT if folder is not None else None
    if path is None or not path.is_file():
        problem = "wikipedia-extract is not here; allowed: a path, or `pip install gensim`"
        raise FieldProblem("path", f"{problem}, whose test data hold it")
    with bz2.open(path) as file:
        return "\n\n".join(articles(file)) + "\n"


NAMES: dict[str, Callable[[], str]] = {
    "stdlib": _stdlib,
    "kjv": _kjv,
    "wikipedia-extract": _wikipedia,
}
