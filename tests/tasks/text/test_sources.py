"""Sources of sentences: the usual folders and files, and one line for what will not do."""

import re
import sys
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltus.errors import FieldProblem, SaltusError
from saltus.tasks.text import Source
from saltus.tasks.text.source import digest
from saltus.tasks.text.words import sentences_of

PENN = {
    "train.txt": " no it was n't\n\n <unk> said N \n",
    "valid.txt": "a b c\n",
    "test.txt": "d\n",
}
WIKI = {
    "wiki.train.tokens": " \n = Title = \n \n first line of it\n = = Part = = \nsecond\n",
    "wiki.valid.tokens": " held out\n",
    "wiki.test.tokens": " test\n",
}


def written(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8", newline="")
    return str(folder)


def test_the_default_is_pythons_help_with_its_hash():
    source = Source.parse(None)
    assert source == Source.parse("stdlib-text") == Source.parse("stdlib")
    assert (source.path, source.format) == ("stdlib-text", "prose")
    assert source.sha256 == digest(source.parts)
    assert len(source.parts["all"]) > 3000
    assert Source.parse(source.model_dump()) == source
    assert hash(Source.parse(None)) == hash(source)


def test_a_folder_of_penn_treebank(tmp_path):
    source = Source.parse(written(tmp_path, PENN))
    assert source.format == "penn"
    assert source.parts == {
        "training": [["no", "it", "was", "n't"], ["<unk>", "said", "N"]],
        "validation": [["a", "b", "c"]],
        "test": [["d"]],
    }


def test_a_folder_of_wikitext_without_heads_and_blank_lines(tmp_path):
    source = Source.parse(written(tmp_path, WIKI))
    assert source.format == "wikitext"
    assert source.parts["training"] == [["first", "line", "of", "it"], ["second"]]
    assert source.parts["test"] == [["test"]]


def test_brown_as_distributed_and_as_one_file(tmp_path):
    ca01 = "\n\n\tThe/at Fulton/np-tl and/or\n\n\n\tIt/pps 1/2/cd ./.\n"
    folder = written(tmp_path, {"ca01": ca01, "README": "no", "cb02": "\n\n\tAt/in\n"})
    parts = Source.parse(folder).parts
    assert parts["all"] == [["The", "Fulton", "and"], ["It", "1/2", "."], ["At"]]
    plain = "# text 1\r\n\r\nThe jury said\r\nin either/or .\r\n\r\n#2\r\n\r\nIt did ."
    (tmp_path / "brown.txt").write_bytes(plain.encode())
    parts = Source.parse(str(tmp_path / "brown.txt")).parts
    assert parts["all"] == [["The", "jury", "said", "in", "either/or", "."], ["It", "did", "."]]
    other = {"path": str(tmp_path / "brown.txt"), "format": "lines"}
    assert Source.parse(other).parts["all"][1] == ["The", "jury", "said"]


@settings(max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=120), crlf=st.booleans())
def test_any_text_file_is_read_or_refused_in_one_line(tmp_path_factory, text, crlf):
    text = text.replace("\n", "\r\n") if crlf else text
    path = tmp_path_factory.mktemp("any") / "text.txt"
    path.write_bytes(text.encode())
    for format_ in (None, "lines"):
        try:
            source = Source.parse({"path": str(path), "format": format_})
        except FieldProblem as problem:
            assert problem.path == "path"
            assert len(str(problem).splitlines()) == 1
            assert not text.split()
            continue
        words = [word for sentence in source.parts["all"] for word in sentence]
        assert "".join(words) == "".join((text if format_ else text.lower()).split())
        if format_ is None:
            assert source.parts["all"] == sentences_of(text)


@pytest.mark.parametrize(
    ("given_", "problem"),
    [
        (3, "3 is not allowed"),
        ({"path": 3}, "path: 3 is not allowed"),
        ("", "path: '' is not allowed"),
        ({"format": "xml"}, "format: 'xml' is not allowed"),
        ({"format": ["penn"]}, "format: ['penn'] is not allowed"),
        ({"format": "lines"}, "format: lines is not allowed for stdlib-text: prose"),
        ({"file": "x"}, "file: unknown field 'file'"),
        ("nowhere/to/be/found.txt", "path: 'nowhere/to/be/found.txt' cannot be read: No such"),
        ("a\0b", "path: "),
        ({"sha256": "x"}, "sha256: 'x' is not allowed"),
    ],
    ids=str,
)
def test_bad_fields_are_refused_in_one_line(given_, problem):
    with pytest.raises(FieldProblem, match=re.escape(problem)) as caught:
        Source.parse(given_)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "holds no sentences in a usual form; allowed: train.txt"),
        ({"train.txt": "a b"}, "valid.txt' cannot be read: No such file"),
        ({**PENN, "valid.txt": "\n"}, "valid.txt is empty"),
        ({**WIKI, "wiki.train.tokens": " = Head = \n"}, "the training part of .* has no sentences"),
        ({"ca01": "# a\n\n# b"}, "has no sentences; allowed: a text with words"),
    ],
    ids=["nothing", "one-part", "blank", "heads", "comments"],
)
def test_a_folder_that_will_not_do_is_refused_in_one_line(files, problem, tmp_path):
    with pytest.raises(FieldProblem, match=problem) as caught:
        Source.parse(written(tmp_path, files))
    assert caught.value.path == "path"


def test_a_recorded_source_is_refused_once_it_is_another(tmp_path):
    source = Source.parse(written(tmp_path, PENN))
    forged = Source.parse({"path": source.path, "format": "penn", "sha256": "0" * 64})
    with pytest.raises(SaltusError, match=r"task\.source\.sha256: .* does not hold the sentences"):
        _ = forged.parts
    gone = Source.parse({"path": "gone", "format": "penn", "sha256": "1" * 64})
    with pytest.raises(SaltusError, match=r"task\.source\.path: 'gone/train.txt' cannot be read"):
        _ = gone.parts


def hub(monkeypatch, load):
    """A package `datasets` of the test's own."""
    package = types.ModuleType("datasets")
    package.load_dataset = load
    monkeypatch.setitem(sys.modules, "datasets", package)


class Split(list):
    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


def test_a_data_set_of_the_hub(monkeypatch):
    asked = []

    def load(*names):
        asked.append(names)
        rows = [{"n": 1, "text": " = Head = \n"}, {"n": 2, "text": " one two\n"}]
        return {"train": Split(rows), "validation": Split([{"n": 1, "text": "three"}])}

    hub(monkeypatch, load)
    source = Source.parse({"path": "owner/name/config", "format": "datasets"})
    assert asked == [("owner/name", "config")]
    assert source.parts == {"training": [["one", "two"]], "validation": [["three"]]}


def test_a_data_set_that_cannot_be_had_says_why(monkeypatch):
    def load(*names):
        raise ConnectionError("no route\nto host")

    hub(monkeypatch, load)
    with pytest.raises(FieldProblem, match=r"path: 'a/b' cannot be loaded: no route to host; all"):
        Source.parse({"path": "a/b", "format": "datasets"})
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FieldProblem, match=r"format: datasets needs .*: pip install datasets"):
        Source.parse({"path": "a/b", "format": "datasets"})
