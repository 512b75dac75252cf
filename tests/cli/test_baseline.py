"""`saltus baseline` prints what the functions below it compute, on matrices of the task."""

from __future__ import annotations

import shlex

import pytest

from saltus.baselines import measure
from saltus.random import Draws
from saltus.tasks.matrix_completion import MatrixCompletion

SMALL = "{kind: matrix-completion, rows: 4, columns: 3, rank: 1}"


def point(matrices=20, regularisation=None, seed=0, **fields):
    """The baseline on what the verb draws."""
    task = MatrixCompletion(**{"rows": 4, "columns": 3, "rank": 1, **fields})
    values, observed = task.matrices(Draws(seed, "baseline"), matrices)
    shape = matrices, task.rows, task.columns
    return measure(values.reshape(shape), observed.reshape(shape), regularisation)


def test_json_has_a_row_for_each_combination(saltus):
    said = saltus(
        "baseline", "--task", SMALL, "--matrices", 20, "--vary", "mask_probability=0.1,0.5",
        "--vary", "rows=3,4", "--seed", 7, "--json",
    )  # fmt: skip
    assert (said.code, said.err) == (0, "")
    found = said.document
    assert found["task"]["rank"] == 1 and found["method"] == "interior-point"
    assert [row["setting"] for row in found["rows"]] == [
        {"mask_probability": p, "rows": rows} for p in (0.1, 0.5) for rows in (3, 4)
    ]
    for row in found["rows"]:
        expected = point(seed=7, **row["setting"])
        errors = expected.errors._asdict()
        assert row["mean_squared_error"] == {
            name: {"mean": mean.value, "standard_error": mean.error}
            for name, mean in errors.items()
        }
        assert row["nuclear_norm"]["mean"] == expected.norm.value
        assert row["true_nuclear_norm"]["standard_error"] == expected.true_norm.error
        assert row["matrices"] == 20 and row["largest_residual"] == 0
        assert row["largest_gap"] == expected.gap < 1e-7
        assert row["matrices_with_several_solutions"] == expected.several


def test_the_table_fits_80_columns_and_has_standard_errors(saltus):
    said = saltus("baseline", "--task", SMALL, "--matrices", 20, "--vary", "mask_probability=0,.5")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith("solved     40 problems by interior-point in ")
    assert lines[1].startswith("certified  duality gap at most ")
    assert max(map(len, lines)) <= 80
    head = next(line for line in lines if "missing" in line)
    assert head.split() == ["p", "missing", "all", "|Z|*", "|X|*", "several"]
    exact, half = (line.split() for line in lines if line.split()[:1] in (["0"], ["0.5"]))
    assert exact[:3] == ["0", "-", "0"] and exact[3] == exact[4]
    mean, error = map(float, half[1].split("±"))
    expected = point(mask_probability=0.5).errors.missing
    assert (mean, error) == pytest.approx((expected.value, expected.error), rel=0.2)


def test_each_weight_is_a_row_on_the_same_matrices(saltus):
    said = saltus("baseline", "--task", SMALL, "--matrices", 20, "--regularisation", "0.0001,0.01")
    assert max(map(len, said.out.splitlines())) <= 80
    head = next(line for line in said.out.splitlines() if "missing" in line)
    assert head.split() == ["weight", "observed", "missing", "all", "|Z|*", "several"]
    options = ["--task", SMALL, "--matrices", 20, "--regularisation", "0.0001,0.01", "--json"]
    first, second = saltus("baseline", *options).document["rows"]
    assert (first["setting"], second["setting"]) == (
        {"regularisation": 0.0001}, {"regularisation": 0.01},
    )  # fmt: skip
    assert first["true_nuclear_norm"] == second["true_nuclear_norm"]
    assert first["nuclear_norm"]["mean"] > second["nuclear_norm"]["mean"]
    expected = point(regularisation=0.01).errors.observed.value
    assert second["mean_squared_error"]["observed"]["mean"] == expected > 0


def test_cvxpy_gives_the_same_table(saltus):
    options = ["baseline", "--task", SMALL, "--matrices", 10, "--json"]
    ours, theirs = (
        saltus(*options, "--method", method).document["rows"][0]
        for method in ("interior-point", "cvxpy")
    )
    assert ours["nuclear_norm"]["mean"] == pytest.approx(theirs["nuclear_norm"]["mean"], abs=1e-7)


FIELDS = (
    "Allowed: columns, decimals, factors, hidden_columns, hidden_rows, high, kind, limit, low, "
    "mask_probability, missing, rank, rows, scale, shown, sizes"
)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--matrices 0", "--matrices: 0 is not allowed: 1 or more"),
        (
            "--vary mask_probability=0.5,1.5",
            "task.mask_probability: 1.5 is not allowed: input should be less than or equal to 1",
        ),
        ("--vary rank=[]", "--vary rank: no value is given"),
        (
            "--vary rnak=1",
            f"task.rnak: unknown field 'rnak'; did you mean 'rank'? {FIELDS}",
        ),
        (
            "--vary rank",
            "--vary: 'rank' is no assignment: write FIELD=VALUE, as in steps=100",
        ),
        (
            "--task moving-window-sum",
            "task.kind: 'moving-window-sum' is not allowed: it has no matrices to complete; "
            "allowed: matrix-completion, matrix-sequence",
        ),
        ("--task [1]", "task: [1] is no task; give a kind or a mapping"),
        (
            "--task '{kind: matrix-completion, sizes: [5, 7]}'",
            "task.sizes: [5, 7] is not allowed here: give rows and columns, or vary them",
        ),
        (
            "--regularisation 0.1,0",
            "--regularisation: '0.1,0' is not allowed: finite numbers above 0, as in 0.001,0.01",
        ),
        (
            "--regularisation low",
            "--regularisation: 'low' is not allowed: finite numbers above 0, as in 0.001,0.01",
        ),
        (
            "--method cvxpi",
            "--method: unknown method 'cvxpi'; did you mean 'cvxpy'? "
            "Allowed: cvxpy, interior-point",
        ),
    ],
)
def test_bad_input_is_one_line(saltus, options, line):
    said = saltus("baseline", *shlex.split(options))
    assert (said.code, said.out, said.err) == (2, "", f"saltus: {line}\n")
