"""The house as DESIGN.md draws it: floors, file sizes, a light base, nothing hidden in files."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

LONGEST_FILE = 400
OPTIONAL = {
    "cvxpy", "duckdb", "lifelines", "matplotlib", "mlxtend", "plotly", "pyarrow", "rich",
    "ruptures", "scipy", "sklearn", "tokenizers", "torchvision", "transformers", "typer",
}  # fmt: skip


def source_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_imports_point_down_the_floors(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    failed = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert not failed, capsys.readouterr().out


@pytest.mark.parametrize("path", SOURCES, ids=source_name)
def test_a_source_file_is_read_in_one_sitting(path):
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST_FILE, f"{source_name(path)} has {lines} lines: split it by idea"


def test_the_base_import_needs_no_extra():
    script = (
        "import saltus, sys; [getattr(saltus, name) for name in saltus.__all__]\n"
        "import saltus.baselines, saltus.instruments, saltus.integrations.pretrained\n"
        f"print(*sorted({OPTIONAL!r} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


@pytest.mark.parametrize("path", SOURCES, ids=source_name)
def test_no_file_format_that_runs_code(path):
    found = list(code_running_formats(ast.parse(path.read_text())))
    assert not found, f"{source_name(path)}: {', '.join(found)} (use safetensors, Parquet or YAML)"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import pickle", ["line 1: pickle"]),
        ("from cloudpickle import dumps", ["line 1: cloudpickle"]),
        ("import torch\ntorch.save(x, p)", ["line 2: torch.save"]),
        ("from torch import load", ["line 1: torch.load"]),
        ("torch.load(p, weights_only=True)", []),
        ("torch.load(p, weights_only=False)", ["line 1: torch.load"]),
        ("torch.load(p)", ["line 1: torch.load"]),
        ("from pickle import UnpicklingError", []),
        ("from pickle import UnpicklingError, loads", ["line 1: pickle"]),
        ("np.load(p, allow_pickle=True)", ["line 1: allow_pickle"]),
        ("yaml.load(f)", ["line 1: yaml.load"]),
        ('"""Never pickle, never torch.save."""\nyaml.safe_load(f)', []),
    ],
)
def test_formats_that_run_code_are_recognised(code, expected):
    assert list(code_running_formats(ast.parse(code))) == expected


def test_runs_hold_tensors_and_no_modules():
    """`runs` may name torch's tensors; torch.nn, torch.optim and torch.func stay above it."""
    for path in SOURCES:
        if "runs" in path.relative_to(ROOT / "src/saltus").parts:
            beyond = re.findall(r"torch\.(?:nn|optim|func)\b|import nn\b", path.read_text())
            assert not beyond, f"{source_name(path)}: {beyond}"


def test_no_tracked_file_names_a_place_on_one_machine():
    personal = re.compile(r"(?<![\w.])/(?:root|home/\w+|Users/\w+|work/\w+)/|\b[A-Z]:\\Users\\")
    found = []
    for path in tracked_files():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:  # a picture
            continue
        found += [
            f"{source_name(path)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(lines, start=1)
            if personal.search(line)
        ]
    assert not found, "\n".join(found)


def test_constraints_pin_exactly_and_name_no_place():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", pin) for pin in pins), pins
    assert not [pin for pin in pins if re.match(r"nvidia|cuda|triton", pin)]
    assert "://" not in "\n".join(lines)

    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    extras = PROJECT["project"]["optional-dependencies"]
    wanted = sum(extras.values(), PROJECT["project"]["dependencies"])
    names = {normal(re.match(r"[A-Za-z0-9._-]+", requirement).group()) for requirement in wanted}
    assert names - {"saltus"} <= {normal(pin.split("==")[0]) for pin in pins}


def test_the_version_is_the_same_everywhere():
    version = PROJECT["project"]["version"]
    script = "import saltus; print(saltus.__version__)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert said.stdout.strip() == version
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def code_running_formats(tree: ast.AST):
    """Uses of file formats that can run code when they are read, as `line n: name`.

    torch's restricted reader (weights_only) is allowed, and so is the name of pickle's error.
    """
    modules = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    calls = {"torch.save", "torch.load", "yaml.load", "yaml.unsafe_load"}
    restricted = {
        id(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "torch.load"
        and any(ast.unparse(keyword) == "weights_only=True" for keyword in node.keywords)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.split(".")[0] in modules]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{a.name}" for a in node.names]
            names = [name for name in inside if name in calls]
            harmless = [a.name for a in node.names] == ["UnpicklingError"]
            names += [node.module] if node.module.split(".")[0] in modules and not harmless else []
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in calls:
            names = [] if id(node) in restricted else [ast.unparse(node)]
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            value = node.value
            names = [] if isinstance(value, ast.Constant) and value.value is False else [node.arg]
        yield from (f"line {node.lineno}: {name}" for name in names)


def tracked_files() -> list[Path]:
    """What git tracks; in an unpacked archive, what stands in the project's own folders."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode == 0 and listing.stdout:
        found = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        folders = ("src", "tests", "docs", ".ci")
        found = [path for folder in folders for path in (ROOT / folder).rglob("*")]
        found += list(ROOT.glob("*"))
        found = [path for path in found if "__pycache__" not in path.parts]
    return [path for path in found if path.is_file()]
