"""The usual forms in which sentences lie on a disk or on a hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from saltus.errors import FieldProblem
from saltus.tasks.text.corpus import read
from saltus.tasks.text.words import sentences_of

Format = Literal["prose", "lines", "penn", "wikitext", "brown", "datasets"]
Parts = dict[str, list[list[str]]]  # training, validation, test; or all

SPLITS = {"training": "train", "validation": "valid", "test": "test"}
_BROWN = re.compile(r"c[a-r]\d\d|brown.*\.txt")
_TAGGED = re.compile(r"\S+/[^\s/]+")


def format_of(path: str) -> Format:
    """What a path looks like. Raises FieldProblem for a folder that looks like nothing known."""
    folder = Path(path)
    if not folder.is_dir():
        return "brown" if _BROWN.fullmatch(folder.name) else "prose"
    if (folder / "train.txt").is_file():
        return "penn"
    if (folder / "wiki.train.tokens").is_file():
        return "wikitext"
    if _brown_files(folder):
        return "brown"
    raise FieldProblem(
        "path",
        f"the folder {path} holds no sentences in a usual form; allowed: train.txt, valid.txt and "
        "test.txt (Penn Treebank), wiki.train.tokens ... (WikiText), ca01 ... (Brown)",
    )


def _prose(text: str, path: str) -> Parts:
    return _some({"all": sentences_of(text)}, path)


def _lines(text: str, path: str) -> Parts:
    return _some({"all": [words for line in text.split("\n") if (words := line.split())]}, path)


def _penn(folder: str, path: str) -> Parts:
    names = {part: f"{name}.txt" for part, name in SPLITS.items()}
    return _some(_splits(folder, names, lambda text: text.split("\n")), path)


def _wikitext(folder: str, path: str) -> Parts:
    names = {part: f"wiki.{name}.tokens" for part, name in SPLITS.items()}
    parts = _splits(
        folder,
        names,
        lambda text: [line for line in text.split("\n") if not line.lstrip().startswith("=")],
    )
    return _some(parts, path)


def _splits(folder: str, names: dict[str, str], lines: Callable[[str], list[str]]) -> Parts:
    """Words parted by spaces, of every line that has some. The test part may be missing."""
    parts: Parts = {}
    for part, name in names.items():
        path = Path(folder) / name
        if part == "test" and not path.exists():
            continue
        parts[part] = [words for line in lines(read(str(path))) if (words := line.split())]
    return parts


def _brown(place: str, path: str) -> Parts:
    folder = Path(place)
    files = _brown_files(folder) if folder.is_dir() else [folder]
    if not files:
        raise FieldProblem("path", f"the folder {path} holds no file like ca01 or brown.txt")
    chunks = [chunk.strip() for file in files for chunk in _chunks(read(str(file)))]
    kept = [chunk.split() for chunk in chunks if chunk and not chunk.startswith("#")]
    return _some({"all": [_untagged(words) for words in kept]}, path)


def _chunks(text: str) -> list[str]:
    return re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n"))


def _brown_files(folder: Path) -> list[Path]:
    """The files of the corpus, by name: ca01 ... cr09 as it is distributed, or brown*.txt."""
    return sorted(file for file in folder.iterdir() if _BROWN.fullmatch(file.name))


def _untagged(words: list[str]) -> list[str]:
    """Words without their tags, if every one of them has one."""
    tagged = all(_TAGGED.fullmatch(word) for word in words)
    return [word.rpartition("/")[0] for word in words] if tagged else words


def _hub(name: str, path: str) -> Parts:
    """A data set of the hub, its first column of text; lines as in WikiText."""
    try:
        from datasets import load_dataset  # type: ignore[import-not-found]
    except ImportError:
        raise FieldProblem(
            "format", "datasets needs the package datasets: pip install datasets"
        ) from None
    names = {"training": "train", "validation": "validation", "test": "test"}
    parts: Parts = {}
    try:
        found = _opened(load_dataset, name)
        for part, split in names.items():
            if split in found:
                column = next(key for key, value in found[split][0].items() if type(value) is str)
                lines = [line for row in found[split][column] for line in row.splitlines()]
                parts[part] = [line.split() for line in lines if _is_sentence(line)]
    except Exception as error:  # whatever the hub, the network or the library has to say
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        problem = f"{path!r} cannot be loaded: {reason}"
        raise FieldProblem("path", f"{problem}; allowed: a data set of text on the hub") from None
    if len(parts) < 2 and "training" in parts:
        parts = {"all": parts["training"]}
    return _some(parts, path)


def _opened(load_dataset: Callable[..., Any], name: str) -> Any:
    """`a` or `a/b` as it is, `a/b/configuration` with that configuration."""
    places = name.split("/")
    if len(places) > 2:
        return load_dataset("/".join(places[:2]), "/".join(places[2:]))
    return load_dataset(name)


def _is_sentence(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("=")


def _some(parts: Parts, path: str) -> Parts:
    """The parts, each with at least a sentence in it."""
    for name, sentences in parts.items():
        if not sentences:
            whose = path if name == "all" else f"the {name} part of {path}"
            raise FieldProblem("path", f"{whose} has no sentences; allowed: a text with words")
    if not parts:
        raise FieldProblem("path", f"{path} has no training part; allowed: a data set that has one")
    return parts


FORMATS: dict[str, Callable[[str, str], Parts]] = {
    "prose": _prose,
    "lines": _lines,
    "penn": _penn,
    "wikitext": _wikitext,
    "brown": _brown,
    "datasets": _hub,
}
