"""Layouts: a language for people, and what it refuses."""

from itertools import pairwise

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from saltus.errors import FieldProblem, explain
from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.images import VARIANTS, Layout, TwoStepImage
from saltus.tasks.images.colours import RGB

some_classes = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)
some_colours = st.lists(st.sampled_from(list(RGB)), min_size=1, max_size=3, unique=True)


def cell(role, images=("digits", "items", "others")):
    return st.fixed_dictionaries(
        {
            "role": st.just(role),
            "images": st.sampled_from(images),
            "classes": some_classes,
            "colours": some_colours,
        }
    )


@st.composite
def layouts(draw):
    """Two indicators and two targets in any order, and any rule, positions and answers."""
    roles = draw(st.permutations(["indicator", "indicator", "target", "target"]))
    targets = [place for place, role in enumerate(roles) if role == "target"]
    answer = st.fixed_dictionaries(
        {"cell": st.sampled_from(targets), "names": st.sampled_from(["class", "colour"])}
    )
    return {
        "cells": [draw(cell(role)) for role in roles],
        "rule": {"same": draw(st.sampled_from(["class", "colour", "column"]))},
        "one": draw(answer),
        "zero": draw(answer),
        "positions": draw(st.sampled_from(["fixed", "swapped-in-rows", "anywhere"])),
        "noise": draw(st.floats(0, 1)),
    }


@given(layout=layouts(), seed=st.integers(0, 99))
def test_any_layout_is_drawn_as_it_says_or_refused_in_a_line(layout, seed):
    try:
        task = Task.parse({"kind": "two-step-image", "variant": layout})
    except FieldProblem as problem:
        assert problem.path.startswith("variant")
        assert "\n" not in str(problem)
        return
    batch = task.sample(Draws(seed, "data"), 40)
    assert batch["inputs"].shape == (40, 3, 16, 16)
    assert batch["inputs"].isfinite().all()
    assert (batch["roles"].flatten(1).sort(1).values == torch.tensor([1, 1, 2, 2])).all()
    rule = layout["rule"]["same"]
    home = list(enumerate(layout["cells"]))
    for k in range(40):
        # Sorted by what the cells show, in some order of the home cells that explains it.
        seen = list(
            zip(
                *(batch[n][k].flatten().tolist() for n in ("roles", "cells", "colours")),
                strict=True,
            )
        )
        first, second = (place for place, each in enumerate(seen) if each[0] == 1)
        if rule == "class":
            assert batch["z"][k] == (seen[first][1] == seen[second][1])
        elif rule == "colour":
            assert batch["z"][k] == (seen[first][2] == seen[second][2])
        answer = layout["one" if batch["z"][k] else "zero"]
        pool = home[answer["cell"]][1]
        y = int(batch["targets"][k])
        if answer["names"] == "class":
            assert y in pool["classes"]
        else:
            assert task.layout.palette[y] in pool["colours"]
        index = 1 if answer["names"] == "class" else 2
        assert y in {each[index] for each in seen if each[0] == 2}
    levels = task.levels()
    ladder = [levels[name] for name in ("floor", "plateau", "one-target", "uniform")]
    assert all(a <= b + 1e-12 for a, b in pairwise(ladder))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_written_out_in_yaml_is_the_variant(variant):
    text = yaml.safe_dump(VARIANTS[variant].model_dump(mode="json"))
    task = Task.parse({"kind": "two-step-image", "variant": yaml.safe_load(text)})
    assert task.layout == VARIANTS[variant]
    assert task == TwoStepImage.model_validate(task.model_dump(mode="json"))
    named = TwoStepImage(variant=variant)
    drawn = [each.sample(Draws(0, "data"), 8)["inputs"] for each in (task, named)]
    assert torch.equal(*drawn)


@pytest.mark.parametrize(
    ("change", "path", "text"),
    [
        ({"one": {"cell": 0}}, "one.cell", "cell 0 has the role indicator"),
        ({"zero": {"cell": 1}}, "zero", "the same answer"),
        ({"one": {"cell": 1, "names": "colour"}}, "one.names", "a target of one colour"),
        ({"rule": {"same": "colour", "groups": [[1]]}}, "rule.groups", "not allowed with same"),
        ({"rule": {"groups": [[1], [1, 2]]}}, "rule.groups", "a class in two groups"),
        ({"rule": {"groups": [[1], [3]]}}, "rule.groups", "class 2 is in none"),
        ({"rule": {"groups": [[1, 2]]}}, "rule", "z is always 1"),
        ({"rule": {"same": "column"}}, "positions", "fixed leaves nothing"),
        ({"walked": 0}, "walked", "cell 0 has the role indicator"),
        ({"noise": -1}, "noise", "greater than or equal to 0"),
        ({"positions": "nowhere"}, "positions", "'fixed', 'swapped-in-rows' or 'anywhere'"),
        ({"celsl": []}, "celsl", "did you mean 'cells'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(change, path, text):
    whole = {**VARIANTS["T1"].model_dump(), **change}
    with pytest.raises(ValidationError) as caught:
        Layout.model_validate(whole)
    problem = explain(caught.value, Layout)
    assert problem.path == path
    assert text in problem.text


@pytest.mark.parametrize(
    ("change", "path", "text"),
    [
        ({"role": "boss"}, "cells.1.role", "'indicator', 'target', 'distractor' or 'blank'"),
        ({"role": "indicator"}, "cells", "3 indicators are not allowed: exactly 2"),
        ({"classes": [10]}, "cells.1.classes", "10 is not allowed: 0 to 9"),
        ({"classes": [1, 1]}, "cells.1.classes", "different classes"),
        ({"colours": []}, "cells.1.colours", "different colours"),
    ],
)
def test_a_cell_that_cannot_be_drawn_is_refused(change, path, text):
    whole = VARIANTS["T1"].model_dump()
    cells = list(whole["cells"])
    cells[1] = {**cells[1], **change}
    answers = {"one": {"cell": 2}, "zero": {"cell": 2, "names": "colour"}, "walked": None}
    cells[2] = {**cells[2], "colours": ["blue", "red"]}
    with pytest.raises(ValidationError) as caught:
        Layout.model_validate({**whole, **answers, "cells": cells})
    problem = explain(caught.value, Layout)
    assert problem.path == path
    assert text in problem.text


@pytest.mark.parametrize(
    ("fields", "path", "text"),
    [
        ({"variant": "T8"}, "variant", "'T8' is not allowed"),
        ({"variant": "T4", "imbalance": {"p": 0.2}}, "imbalance", "a rule of places"),
        ({"variant": "T5", "imbalance": {"p": 0.2, "law": "released"}}, "imbalance.law", "alone"),
        ({"variant": "T7", "imbalance": {"p": 0.2, "law": "released"}}, "imbalance.law", "alone"),
        ({"imbalance": {"p": 1.2}}, "imbalance.p", "less than or equal to 1"),
        ({"variant": "T3", "sampler": "authors-exact"}, "sampler", "allowed: plain"),
        ({"label_smoothing": 1}, "label_smoothing", "less than 1"),
        ({"source": "imagenet"}, "source", "'digits'"),
    ],
)
def test_a_task_that_cannot_be_drawn_is_refused(fields, path, text):
    with pytest.raises(FieldProblem) as caught:
        Task.parse({"kind": "two-step-image", **fields})
    assert caught.value.path == path
    assert text in caught.value.text
