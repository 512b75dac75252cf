"""Each verb does what its help says, on a tiny experiment."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import yaml
from safetensors import safe_open

import saltus as package
from saltus.experiment import Experiment
from saltus.runs import open_run

VERBS = (
    "reproduce", "run", "resume", "flow", "list", "runs", "show", "look", "query", "verify",
    "report", "compare", "dropbench", "power", "baseline", "llm", "analyse", "figure", "export",
    "zoo",
)  # fmt: skip


def test_run_trains_and_says_what_to_do_next(saltus, tiny):
    said = saltus("run", tiny)
    assert said.code == 0
    assert "run        runs/tiny\n" in said.out
    assert "2 members, 6 steps" in said.out
    assert "saltus show runs/tiny loss/train" in said.out
    assert said.err.splitlines()[0] == "tiny: training 2 members, 6 steps in runs/tiny"
    assert said.err.splitlines()[1].startswith("tiny: done in ")
    assert open_run("runs/tiny").status["state"] == "done"


def test_options_of_run_are_the_same_as_the_yaml(saltus, tiny):
    said = saltus(
        "run", tiny, "--dry-run", "--seeds", 3, "--name", "other", "--set", "model.depth=2",
        "--set", "optimizer={kind: adamw, learning_rate: 3e-4}", "--set", "checkpoints.at=[2, 4]",
        "--set", "instruments.0.cadence=3", "--vary", "optimizer.learning_rate=1e-4,1e-3",
    )  # fmt: skip
    assert said.code == 0
    experiment = Experiment.from_yaml(said.out)
    assert experiment == Experiment.of(
        {
            **yaml.safe_load(tiny.read_text()),
            "name": "other",
            "model": {"kind": "decoder", "width": 8, "depth": 2},
            "optimizer": {"kind": "adamw", "learning_rate": 3e-4},
            "instruments": [
                {"kind": "evaluation", "cadence": 3},
                {"kind": "attention-map", "cadence": 3},
            ],
            "checkpoints": {"at": [2, 4], "rescue": 3},
            "seeds": 3,
            "vary": {"optimizer.learning_rate": [1e-4, 1e-3]},
        }
    )
    assert "# plan: 6 members in " in said.out
    assert not Path("runs").exists()


def test_a_dry_run_is_a_file_that_runs(saltus, tiny):
    Path("again.yaml").write_text(saltus("run", tiny, "--dry-run").out)
    assert saltus("run", "again.yaml", "--dry-run").out == Path("again.yaml").read_text()


def test_a_study_s_arm_is_a_file_too(saltus):
    small = ["--set", "model.width=8", "--set", "batch=2", "--seeds", 1]
    said = saltus("run", "loss-plateau:bias-10", "--dry-run", "--json", "--scale", "paper", *small)
    assert said.document["experiment"]["interventions"][0]["factor"] == 10
    assert said.document["experiment"]["model"]["positions"] == 33


def test_a_member_that_diverges_is_reported_and_harms_nobody(saltus, tiny, run):
    said = saltus("run", tiny, "--name", "wild", "--vary", "optimizer.learning_rate=1e-2,1e30")
    assert said.code == 0
    line = "diverged   member 2 (seed 0, optimizer.learning_rate = 1e+30) diverged at step 1: "
    assert line in said.out
    loss = open_run("runs/wild").series("loss/train").values
    assert np.array_equal(loss[:2], open_run(run).series("loss/train").values)
    assert not np.isfinite(loss[2:]).any(axis=1).all() or not np.isfinite(loss[2:]).all()
    for verb in (["show", "wild"], ["show", "wild", "loss/train"], ["runs"], ["report", "wild"]):
        shown = saltus(*verb)
        assert (shown.code, shown.err) == (0, "")
    wild = saltus("show", "wild", "loss/train", "--json").document
    assert [each["diverged_at"] is None for each in wild["members"]] == [True, True, False, False]
    assert wild["series"][0]["members"][2]["final"] is None


def test_ctrl_c_leaves_a_run_that_resume_continues(saltus, tiny, run, ctrl_c):
    with ctrl_c("stopped", 3):
        said = saltus("run", tiny, "--name", "stopped")
    assert said.code == 130
    assert said.err.splitlines()[-1] == (
        "saltus: interrupted; nothing is lost: saltus resume runs/stopped"
    )
    assert open_run("runs/stopped").status["state"] == "interrupted"
    said = saltus("resume", "stopped")
    assert said.code == 0
    assert "stopped: resuming 2 members, 6 steps, 50% done, in runs/stopped" in said.err
    series = [open_run(path).series("loss/train").values for path in ("runs/stopped", run)]
    assert np.array_equal(*series)
    assert saltus("verify", "stopped").code == 0


def test_resume_falls_back_from_a_damaged_checkpoint(saltus, run, flip):
    checkpoint = run / "shards/000/checkpoints/step-00000006.safetensors"
    flip(checkpoint)
    assert saltus("verify", run).code == 1
    for status in run.glob("shards/*/status.json"):
        status.unlink()  # as a kill before the end would leave it
    assert saltus("resume", run).code == 0
    assert saltus("verify", run).code == 0


def test_resume_leaves_a_finished_run_alone(saltus, run):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")}
    said = saltus("resume", run)
    assert said.code == 0
    assert "already trained" in said.err
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")}


def test_list_names_everything_and_its_fields(saltus):
    said = saltus("list")
    for word in ("moving-window-sum", "decoder", "attention-bias", "norms", "adamw"):
        assert word in said.out
    said = saltus("list", "tasks", "moving-window-sum")
    assert "length" in said.out and "≥ 2" in said.out and "n, the number of inputs" in said.out
    said = saltus("list", "studies", "loss-plateau")
    assert "bias-10" in said.out and "Repetition during the plateau" in said.out


def test_list_names_what_learns_images_and_text(saltus):
    said = saltus("list")
    for kind in (
        "vit", "resnet", "small-convnet", "two-step-image", "two-step-mlm", "icl-regression",
        "icl-labels", "masked-text", "causal-text", "heat-treatment", "gradient-rescaling",
        "class-probe", "code-length", "softmax-jacobian",
    ):  # fmt: skip
        assert f" {kind} " in said.out
    fields = saltus("list", "models", "vit", "--json").document["fields"]
    assert {"patch", "pooling", "attention"} <= {field["name"] for field in fields}


@pytest.mark.parametrize(
    ("model", "reading"),
    [
        ("{kind: vit, depth: 1, heads: 2, width: 8, patch: 8}", "attention-received"),
        ("small-convnet", "norms"),
    ],
)
def test_a_model_of_images_goes_through_every_verb(saltus, tiny, model, reading):
    images = ["--set", "task=two-step-image", "--set", f"model={model}"]
    instruments = f"[{{kind: evaluation, cadence: 2}}, {{kind: {reading}, cadence: 3}}]"
    assert saltus("run", tiny, *images, "--set", f"instruments={instruments}").code == 0
    shown = saltus("show", "tiny", "evaluation/accuracy-z1")
    assert shown.code == 0 and "mean" in shown.out
    looked = saltus("look", "tiny", "--read", reading)
    assert looked.code == 0 and "mean [95 % interval]" in looked.out
    assert saltus("report", "tiny", "-o", "page.html").code == 0
    assert "two-step-image" in Path("page.html").read_text()
    assert saltus("verify", "tiny").code == 0


def test_the_fields_of_a_part_are_what_an_experiment_takes(saltus):
    fields = saltus("list", "optimizers", "adamw", "--json").document["fields"]
    by_name = {field["name"]: field for field in fields}
    assert by_name["learning_rate"]["required"] and by_name["learning_rate"]["allowed"] == "≥ 0"
    assert by_name["clip"]["type"] == "number or null"
    assert by_name["weight_decay"]["default"] == 0.01


def test_runs_is_a_table_and_an_empty_place_says_what_makes_runs(saltus, tiny):
    assert "`saltus run` and `saltus reproduce` make some" in saltus("runs").out
    saltus("run", tiny)
    said = saltus("runs")
    assert "tiny" in said.out and "6/6" in said.out and "done" in said.out


def test_runs_shows_a_damaged_run_as_damaged(saltus, run):
    (run / "members.json").write_text("[1]")
    found = saltus("runs", "--json").document
    assert found[0]["state"] == "damaged" and "members.json" in found[0]["error"]
    assert "damaged" in saltus("runs").out


def test_show_names_series_and_shows_their_end(saltus, run):
    said = saltus("show", run)
    assert "done, step 6 of 6" in said.out and "  attention-map/blocks.0\n" in said.out
    loss = open_run(run).series("loss/train").values[:, -1]
    found = saltus("show", run, "loss/train", "--json").document["series"][0]
    assert [each["final"] for each in found["members"]] == loss.tolist()
    assert found["mean"] == pytest.approx(loss.mean()) and found["low"] < found["mean"]
    said = saltus("show", run, "loss/train")
    assert "over 2 members" in said.out and "never" in said.out


def test_show_says_when_each_member_leapt(saltus, run):
    found = saltus("show", run, "loss/train", "--json").document["series"][0]
    assert found["direction"] == "down"
    for each in found["members"]:
        (only,) = each["transitions"]  # six steps are too few for a leap
        assert only["censored"] and only["step"] is None and only["budget"] == 6
    assert (
        saltus("show", run, "loss/train", "--json", "--up").document["series"][0]["direction"]
        == "up"
    )


def test_report_figure_and_export_write_one_file_each(saltus, run):
    assert saltus("report", "tiny").out == "runs/tiny/report.html\n"
    assert "</html>" in Path("runs/tiny/report.html").read_text()
    assert saltus("report", "tiny", "-o", "page.html").code == 0
    assert saltus("figure", "tiny", "loss/train", "evaluation/loss", "-o", "leap.svg").code == 0
    assert Path("leap.svg").read_text().lstrip().startswith("<?xml")
    assert saltus("verify", "tiny").code == 0


def test_export_is_one_member_s_parameters(saltus, run):
    assert saltus("export", "tiny", "--member", 1, "-o", "last.safetensors").code == 0
    assert saltus("export", "tiny", "--step", 0, "-o", "first.safetensors").code == 0
    everyone = open_run(run).checkpoint()
    found = safetensors.numpy.load_file("last.safetensors")
    assert found.keys() == everyone.keys()
    assert all(np.array_equal(found[name], everyone[name][1]) for name in found)
    with safe_open("last.safetensors", "np") as file:
        assert file.metadata() == {
            "experiment": "tiny", "seed": "1", "step": "6", "overrides": "{}"
        }  # fmt: skip
    with safe_open("first.safetensors", "np") as file:
        assert file.metadata()["step"] == "0"


def test_query_answers_as_table_csv_and_json(saltus, run):
    sql = "SELECT seed, step FROM metrics WHERE name = 'loss/train' AND step > 4 ORDER BY ALL"
    assert saltus("query", sql, "--csv").out == "seed,step\n0,5\n0,6\n1,5\n1,6\n"
    found = saltus("query", sql, "--json").document
    assert found == {"columns": ["seed", "step"], "rows": [[0, 5], [0, 6], [1, 5], [1, 6]]}
    assert "4 rows" in saltus("query", sql).out


def test_verify_proves_or_names_the_first_bad_file(saltus, run, flip):
    assert "runs/tiny: unbroken (" in saltus("verify", "tiny").out
    flip(run / "shards/000/metrics.log")
    said = saltus("verify", "tiny")
    assert said.code == 1
    assert said.err.startswith("saltus: runs/tiny: shards/000/metrics.log: ")
    found = saltus("verify", "tiny", "--json")
    assert found.code == 1 and found.document[0]["ok"] is False


@pytest.mark.parametrize(
    "command",
    [
        "run tiny.yaml",
        "run tiny.yaml --dry-run",
        "resume tiny",
        "list",
        "list instruments",
        "list models decoder",
        "list studies loss-plateau",
        "runs",
        "runs --root empty",
        "show tiny",
        "show tiny loss/train evaluation/loss",
        "query 'SELECT * FROM metrics'",
        "query 'SELECT experiment, created FROM runs'",
        "look tiny --read norms --read head-ablation --read attention-map",
        "verify tiny tiny",
        "report tiny",
        "figure tiny loss/train -o a.png",
        "export tiny -o a.safetensors",
    ],
)
def test_json_is_one_document_and_nothing_else(saltus, tiny, run, command):
    Path("empty").mkdir()
    said = saltus(*shlex.split(command), "--json")
    assert said.code == 0
    assert json.loads(said.out) == said.document


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_one_sentence_an_example_and_json(saltus, verb):
    said = saltus(verb, "--help")
    assert said.code == 0
    assert f"saltus {verb}" in said.out.split("Example", 1)[1]
    assert "--json" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_the_front_page_names_every_verb_whole(saltus):
    said = saltus()
    assert said.code == 0
    commands = said.out.split("Commands:", 1)[1]
    assert tuple(line.split()[0] for line in commands.strip().splitlines()) == VERBS
    assert "..." not in commands
    assert "--install-completion" in said.out
    assert saltus("--help").out == said.out


def test_version(saltus):
    assert saltus("--version").out == f"saltus {package.__version__}\n"


def test_the_script_is_this_main():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"saltus": "saltus.cli:main"}


def test_completion_offers_verbs_and_their_options(saltus, monkeypatch, capsys):
    monkeypatch.setenv("_SALTUS_COMPLETE", "complete_bash")
    for words, expected in (("saltus rep", "report"), ("saltus export --m", "--member")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        with pytest.raises(SystemExit) as end:
            saltus()
        assert end.value.code == 0
        assert expected in capsys.readouterr().out
