"""The page on two-step images: its example runs, its layout and its words exist."""

import re
from pathlib import Path

import yaml

from saltus.random import Draws
from saltus.tasks import Task
from saltus.tasks.images import VARIANTS, TwoStepImage

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "images.md").read_text("utf-8")


def test_the_example_prints_what_the_page_says(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (printed,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == printed


def test_the_layout_of_your_own_is_one():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    task = Task.parse(yaml.safe_load(text)["task"])
    assert task.layout.agreement == (1 + 4) / 9
    assert task.sample(Draws(0, "data"), 8)["inputs"].shape == (8, 3, 16, 16)


def test_every_variant_metric_and_label_is_on_the_page():
    for name in VARIANTS:
        assert f"| {name} |" in PAGE
    task = TwoStepImage()
    batch = task.sample(Draws(0, "data"), 8)
    outputs = batch["inputs"].new_zeros(8, 1, 10)
    for name in (*task.metrics(outputs, batch), "class-0", "colour-3"):
        assert f"`{name}`" in PAGE
