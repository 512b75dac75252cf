"""docs/language-models.md says what is so: its experiment, its script and its options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from saltus.experiment import Experiment
from saltus.integrations.huggingface import check
from saltus.integrations.language_models import step_of
from saltus.integrations.prompts import read_prompts
from saltus.tasks.moving_window_sum import MovingWindowSum

PAGE = (Path(__file__).parents[2] / "docs/language-models.md").read_text("utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_the_experiment_can_be_exported_and_the_script_makes_its_prompts(tmp_path, monkeypatch):
    experiment = Experiment.from_yaml(block("yaml"))
    check(experiment)
    monkeypatch.chdir(tmp_path)
    exec(compile(block("python"), "language-models.md", "exec"), {})
    prompts = read_prompts(Path("prompts.jsonl"))
    assert isinstance(experiment.task, MovingWindowSum)
    assert len(prompts) == 100 and {len(each) for each in prompts} == {9}
    assert {each[-1] for each in prompts} == {experiment.task.separator}


def test_the_options_it_names_exist(saltus_help):
    for option in set(re.findall(r"--[a-z][a-z-]+", PAGE)):
        assert option in saltus_help, option


def test_the_steps_of_the_paper():
    (steps,) = re.findall(r"@step\{(.*?)\}", PAGE)
    names = [f"EleutherAI/pythia-14m@step{step}" for step in steps.split(",")]
    doubling = [0, *(2**k for k in range(10))]
    assert [step_of(each) for each in names] == [*doubling, 1000, 2000, 4000, 8000, 10000]


def test_the_page_fits_the_width_of_the_code():
    assert max(len(line) for line in PAGE.split("\n") if not line.startswith("|")) <= 100


@pytest.fixture
def saltus_help(capsys) -> str:
    from saltus.cli import main

    for verb in ("llm", "export"):
        main([verb, "--help"])
    return capsys.readouterr().out
