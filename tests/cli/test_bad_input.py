"""Bad input: one line on stderr that names field, value and what is allowed; nothing is written."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saltus.cli import main
from saltus.experiment import Experiment
from saltus.training.launch import start

FIELDS = (
    "Allowed: activation, attention, causal, depth, dropout, embedding_norm, epsilon, final_norm, "
    "heads, hidden, initial_deviation, initial_scale, kind, mask, mlp_bias, norm, norm_bias, "
    "output_bias, positions, qkv_bias, readout_bias, scaled, stochastic_depth, width"
)
MAPS = "Allowed: embedding, final, stages.0.block.0, stages.1.block.0, stages.2.block.0"
SERIES = (
    "Allowed: attention-map/blocks.0, evaluation/accuracy, evaluation/accuracy-first, "
    "evaluation/accuracy/teacher-forced, evaluation/loss, evaluation/loss/answer, loss/train"
)
MEMBERWISE = (
    "Allowed: model.initial_scale, optimizer.clip, optimizer.epsilon, optimizer.learning_rate, "
    "optimizer.weight_decay"
)
VERBS = (
    "analyse, baseline, compare, dropbench, export, figure, flow, list, llm, look, power, query, "
    "report, reproduce, resume, run, runs, show, verify, zoo"
)
STUDIES = (
    "did you mean 'loss-plateau'? Allowed: eureka, loss-plateau, matrix-completion, "
    "norm-growth, word-cooccurrence"
)

# command, the line after "saltus: "
LINES = {
    # the verb and its options
    "rnu tiny.yaml": f"unknown verb 'rnu'; did you mean 'run'? Allowed: {VERBS}",
    "frobnicate": f"unknown verb 'frobnicate'. Allowed: {VERBS}",
    "verify --jsn tiny": (
        "verify: unknown option '--jsn'; did you mean '--json'? Allowed: --help, --json, --root"
    ),
    "--seed": (
        "unknown option '--seed'. Allowed: --help, --install-completion, --show-completion, "
        "--version"
    ),
    "run": "run: FILE is required, and not given; see saltus run --help",
    "show": "show: RUN is required, and not given; see saltus show --help",
    "verify": "verify: RUN is required, and not given; see saltus verify --help",
    "export tiny": "export: --output is required, and not given; see saltus export --help",
    "runs tiny": "runs: got unexpected extra argument(s) (tiny)",
    "flow tiny.yaml --reach low": (
        "flow: --reach: 'low' is not allowed: input should be a valid number, "
        "unable to parse string as a number"
    ),
    # experiments
    "run missing.yaml": "missing.yaml: no such file; give a YAML file, or STUDY:ARM of a study",
    "run .": ".: no such file; give a YAML file, or STUDY:ARM of a study",
    "run field.yaml": (
        f"field.yaml: model.widht: unknown field 'widht'; did you mean 'width'? {FIELDS}"
    ),
    "run list.yaml": "list.yaml: not a mapping of fields, but list",
    "run loss-platou:baseline": (
        f"study: unknown study 'loss-platou'; {STUDIES}"
    ),
    "run loss-plateau:base": (
        "loss-plateau:base: unknown arm 'base'; did you mean 'baseline'? Allowed: addition, "
        "baseline, bias-0.2, bias-10, histogram, permutation, prefix-sum, softmax"
    ),
    "run loss-plateau:baseline --scale full": (
        "--scale: unknown scale 'full'. Allowed: paper, quick"
    ),
    "run tiny.yaml --set model.depth=-1": (
        "experiment: model.depth: -1 is not allowed: input should be greater than or equal to 1"
    ),
    "run tiny.yaml --set model.widht=4": (
        f"experiment: model.widht: unknown field 'widht'; did you mean 'width'? {FIELDS}"
    ),
    "run tiny.yaml --set mdoel.width=4": "mdoel.width: there is no field 'mdoel'",
    "run tiny.yaml --set steps": (
        "--set: 'steps' is no assignment: write FIELD=VALUE, as in steps=100"
    ),
    "run tiny.yaml --set =3": "--set: '=3' is no assignment: write FIELD=VALUE, as in steps=100",
    "run tiny.yaml --set instruments.7.cadence=3": (
        "instruments.7.cadence: '7' is not a place in a list of 2"
    ),
    "run tiny.yaml --set seeds=[]": (
        "experiment: seeds: no seeds; give a number of seeds or a list of them"
    ),
    "run tiny.yaml --seeds 0": "--seeds: '0' is not allowed: a number of seeds, 1 or more",
    "run tiny.yaml --seeds -1": "--seeds: '-1' is not allowed: a number of seeds, 1 or more",
    "run tiny.yaml --seeds two": "--seeds: 'two' is not allowed: a number of seeds, 1 or more",
    "run tiny.yaml --vary model.width=8,16": (
        f"experiment: vary.model.width: members cannot differ in it. {MEMBERWISE}"
    ),
    "run tiny.yaml --vary optimizer.learning_rate=1e-3,-1": (
        "experiment: vary.optimizer.learning_rate: -1 is not allowed: "
        "input should be greater than or equal to 0"
    ),
    "run tiny.yaml --set 'interventions=[{kind: ablate-heads, heads: [[0, 1]]}]'": (
        "interventions.0 (ablate-heads): heads: blocks.0.attention.pattern has no head 1; "
        "allowed: 0 to 0"
    ),
    "run tiny.yaml --seeds 1 --set 'instruments=[component-switching]'": (
        "instruments.0 (component-switching): component-switching mixes two checkpoints: "
        "read it afterwards, with saltus look --donor"
    ),
    # matrix completion
    "run matrix.yaml --set task.mask_probability=1.5": (
        "experiment: task.mask_probability: 1.5 is not allowed: "
        "input should be less than or equal to 1"
    ),
    "run matrix.yaml --set task.mask_probability=often": (
        "experiment: task.mask_probability: 'often' is not allowed: "
        "input should be a valid number, unable to parse string as a number"
    ),
    "run matrix.yaml --set task.rank=4": (
        "experiment: task: rank 4 is above the size: at most 3 here"
    ),
    "run matrix.yaml --set task.rank=0": (
        "experiment: task.rank: 0 is not allowed: input should be greater than or equal to 1"
    ),
    "run matrix.yaml --set model.positions=8": (
        "experiment: model.positions 8 is too few: "
        "task matrix-completion has inputs of 9 positions"
    ),
    "run matrix.yaml --set 'task.sizes=[2, 5]' --set model.positions=24": (
        "experiment: model.positions 24 is too few: "
        "task matrix-completion has inputs of 25 positions"
    ),
    "run matrix.yaml --set instruments.0.task.rows=4": (
        "instruments.0 (evaluation): an input of 12 positions is longer than the model's table "
        "of 9; allowed: model.positions of at least that many"
    ),
    "run matrix.yaml --seeds 1 --set instruments.0.task.rows=4": (
        "instruments.0 (evaluation): an input of 12 positions is longer than the model's table "
        "of 9; allowed: model.positions of at least that many"
    ),
    # images, text, and what the remedies take
    "run vit.yaml --set model.attention=norm-softmx": (
        "experiment: model.attention.kind: unknown normaliser 'norm-softmx'; did you mean "
        "'norm-softmax'? Allowed: learned-temperature, linear, norm-softmax, qk-norm, saturated, "
        "softmax"
    ),
    "run vit.yaml --set 'model.attention={kind: norm-softmax, statistic: varience}'": (
        "experiment: model.attention.statistic: 'varience' is not allowed: "
        "input should be 'variance' or 'deviation'"
    ),
    "run vit.yaml --set model.patch=5": (
        "experiment: model (vit): patch 5 x 5 does not fill an image of 16 x 16; "
        "allowed: heights that divide 16 and widths that divide 16"
    ),
    "run vit.yaml --set 'model={kind: decoder, width: 8}'": (
        "experiment: model (decoder): takes tokens or vectors; the task gives images"
    ),
    "run tiny.yaml --set 'model={kind: vit}'": (
        "experiment: model (vit): takes images; the task gives tokens"
    ),
    "run tiny.yaml --set task=icl-regression --set 'model={kind: one-layer-attention}'": (
        "experiment: model (one-layer-attention): takes tokens; the task gives vectors"
    ),
    "run vit.yaml --set 'model={kind: resnet, layers: 10}'": (
        "experiment: model.layers: 10 is not allowed: input should be 9, 18 or 34"
    ),
    "run vit.yaml --set task.source=digit": (
        "experiment: task.source: 'digit' is not allowed: "
        "input should be 'digits', 'mnist-fashion' or 'mnist-5k-fashion'"
    ),
    "run vit.yaml --set task.control=oracl": (
        "experiment: task.control: 'oracl' is not allowed: "
        "input should be 'none', 'always-top-right', 'predict-z' or 'oracle'"
    ),
    "run tiny.yaml --set 'task={kind: masked-text, corpus: nowhere.txt}'": (
        "experiment: task.corpus.path: 'nowhere.txt' cannot be read: No such file or directory; "
        "allowed: a UTF-8 text file"
    ),
    "run tiny.yaml --set 'task={kind: causal-text, vocabulary: 100}'": (
        "experiment: task.vocabulary: 100 is not allowed: "
        "input should be greater than or equal to 257"
    ),
    "run vit.yaml --set 'interventions=[{kind: heat-treatment, start: 0}]'": (
        "experiment: interventions.0.start: 0 is not allowed: input should be greater than 0"
    ),
    "run vit.yaml --set 'interventions=[{kind: gradient-rescaling, mode: median}]'": (
        "experiment: interventions.0.mode: 'median' is not allowed: "
        "input should be 'mean', 'per-head-to-value' or 'to-value'"
    ),
    "run vit.yaml --set 'interventions=[{kind: attention-bias, factor: 2}]'": (
        "experiment: interventions.0 (attention-bias): "
        "task two-step-image has no oracle attention set for layer 0"
    ),
    "run vit.yaml --set model=small-convnet --set interventions=[heat-treatment]": (
        f"interventions.0 (heat-treatment): unknown site 'blocks.*.attention.temperature'. {MAPS}"
    ),
    "run vit.yaml --set model=small-convnet --set instruments=[attention-map]": (
        f"instruments.0 (attention-map): unknown site 'blocks.*.attention.pattern'. {MAPS}"
    ),
    "run vit.yaml --set model=small-convnet --set interventions=[gradient-rescaling]": (
        "gradient-rescaling: the model has no attention; allowed: those with it"
    ),
    "run vit.yaml --set instruments=[hidden-cosine]": (
        "instruments.0 (hidden-cosine): hidden-cosine.sites: a cosine needs two states; "
        "'final' leaves 1"
    ),
    "run vit.yaml --set 'instruments=[{kind: token-attention, tokens: [0]}]'": (
        "experiment: instruments.0 (token-attention): "
        "task two-step-image gives images, not tokens"
    ),
    "run vit.yaml --set 'instruments=[{kind: class-probe, targets: [z, x]}]'": (
        "experiment: instruments.0 (class-probe): targets: unknown target 'x'. Allowed: class-0, "
        "class-1, class-2, class-3, colour-0, colour-1, colour-2, colour-3, y, z"
    ),
    "run vit.yaml --set 'instruments=[{kind: evaluation, task: {kind: icl-regression}}]'": (
        "experiment: instruments.0 (evaluation): task icl-regression has 0 tokens and 1 outputs, "
        "the experiment's 0 and 10"
    ),
    # norm growth: placements, masks, optimisers, languages, sentences, saturation
    "run tiny.yaml --set model.norm=behind": (
        "experiment: model.norm: 'behind' is not allowed: "
        "input should be 'pre', 'post' or 'branch-out'"
    ),
    "run tiny.yaml --set model.mask=multiplied": (
        "experiment: model.mask: 'multiplied' is not allowed: "
        "input should be 'negative-infinity' or 'multiplicative'"
    ),
    "run tiny.yaml --set model.mask=multiplicative --set model.causal=false": (
        "experiment: model: mask multiplicative is for causal models and causal is false; "
        "allowed: negative-infinity"
    ),
    "run tiny.yaml --set model.dropout=1": (
        "experiment: model.dropout: 1 is not allowed: input should be less than 1"
    ),
    "run tiny.yaml --set 'model={kind: language-model, across: batch}'": (
        "experiment: model: across batch has no order to mask; allowed: with causal false"
    ),
    "run tiny.yaml --set 'model.attention={kind: saturated, tolerance: 1}'": (
        "experiment: model.attention.tolerance: 1 is not allowed: input should be less than 1"
    ),
    "run tiny.yaml --set 'optimizer={kind: norm-sgd, clip: 1}'": (
        "experiment: optimizer: clip 1 has no effect: every gradient is normalised"
    ),
    "run tiny.yaml --set optimizer.schedule.stop=3": (
        "experiment: optimizer.schedule: stop goes with linear, cosine or inverse-sqrt; "
        "constant has no decay that could wait"
    ),
    "run tiny.yaml --set 'task={kind: sentences, source: nowhere.txt}'": (
        "experiment: task.source.path: 'nowhere.txt' cannot be read: No such file or directory; "
        "allowed: a UTF-8 text file"
    ),
    "run tiny.yaml --set 'task={kind: sentences, source: {path: nowhere, format: penn}}'": (
        "experiment: task.source.path: 'nowhere/train.txt' cannot be read: "
        "No such file or directory; allowed: a UTF-8 text file"
    ),
    "run tiny.yaml --set 'task={kind: sentences, loss_mask: author}'": (
        "experiment: task.loss_mask: 'author' is not allowed: "
        "input should be 'corrected' or 'authors'"
    ),
    "run tiny.yaml --set 'task={kind: dyck, length: 7}'": (
        "experiment: task.length: 7 is not allowed: input should be greater than or equal to 8"
    ),
    "run tiny.yaml --set 'optimizer={kind: gradient-flow, duration: 1}' --set examples=4 "
    "--set batch=4 --set engine.precision=float64 --set instruments=[norm-dynamics]": (
        "instruments.0 (norm-dynamics): norm-dynamics reads an update: optimizer gradient-flow "
        "makes no updates that could be read; allowed: those with steps"
    ),
    "run tiny.yaml --set 'instruments=[{kind: norm-policies, policies: [mean-row]}]'": (
        "experiment: instruments.0.policies.0: 'mean-row' is not allowed: input should be "
        "'encoder', 'total', 'mean-column', 'per-block' or 'min-rms'"
    ),
    "run tiny.yaml --set 'instruments=[{kind: saturation, modes: [argmax]}]'": (
        "experiment: instruments.0.modes.0: 'argmax' is not allowed: "
        "input should be 'scale' or 'zeta'"
    ),
    "run tiny.yaml --set 'instruments=[{kind: scaling-curve, scales: [2, 1]}]'": (
        "experiment: instruments.0.scales: must rise from each scale to the next"
    ),
    "run tiny.yaml --set 'instruments=[{kind: scaling-curve, site: finale}]'": (
        "instruments.0 (scaling-curve): scaling-curve.site: the model has no site 'finale'"
    ),
    "run vit.yaml --set model=small-convnet --set instruments=[saturation]": (
        "instruments.0 (saturation): layers.0.batch_norm.running_mean, a running statistic, "
        "cannot be scaled with theta"
    ),
    "run vit.yaml --set model=small-convnet --set instruments=[saturated-accuracy]": (
        "instruments.0 (saturated-accuracy): the model has no site "
        "'blocks.*.attention.pattern' to saturate"
    ),
    "run tiny.yaml --set 'interventions=[{kind: saturate, heads: [[0, 1]]}]'": (
        "interventions.0 (saturate): heads: blocks.0.attention.pattern has no head 1; "
        "allowed: 0 to 0"
    ),
    # the zoo, and checkpoints of anybody's
    "zoo build gpt2-stdlb": (
        "zoo: unknown entry 'gpt2-stdlb'; did you mean 'gpt2-stdlib'? Allowed: bert-stdlib, "
        "gpt2-kjv, gpt2-stdlib, gpt2-stdlib-seed1, gpt2-stdlib-sqrt, gpt2-wikipedia"
    ),
    "zoo build": "zoo build: NAME is required, and not given; see saltus zoo build --help",
    "zoo verify nowhere": (
        "nowhere is no folder of the zoo: manifest.json: no such file or directory; "
        "allowed: what saltus zoo build made"
    ),
    "analyse": "analyse: CHECKPOINT is required, and not given; see saltus analyse --help",
    "analyse nowhere": "nowhere: there is no such file or folder",
    "analyse 'nowhere/*.safetensors'": (
        "nowhere/*.safetensors: no file or folder has a name of this pattern"
    ),
    "analyse tiny.yaml": (
        "tiny.yaml: is no checkpoint; allowed: .safetensors, .pt, .pth, .bin, .ckpt"
    ),
    "analyse step-1.safetensors step-2.safetensors": (
        "step-2.safetensors: another architecture than step-1.safetensors: "
        "weight has shape [2, 3], allowed: [2, 2]"
    ),
    "analyse step-1.safetensors --report page.pdf": (
        "--report: 'page.pdf' is not allowed: the name must end in .html"
    ),
    "run tiny.yaml --name a/b": (
        "experiment: name: 'a/b' is not allowed: "
        "string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$'"
    ),
    "run tiny.yaml --root tiny.yaml/runs": (
        "cannot create run 'tiny' in tiny.yaml/runs: not a directory"
    ),
    # studies
    "reproduce loss-platou": (
        f"study: unknown study 'loss-platou'; {STUDIES}"
    ),
    "reproduce --scale full": "--scale: unknown scale 'full'. Allowed: paper, quick",
    "reproduce loss-plateau --arm bias": (
        "arm: unknown arm 'bias'; did you mean 'bias-10'? Allowed: addition, baseline, bias-0.2, "
        "bias-10, histogram, permutation, prefix-sum, softmax"
    ),
    "reproduce loss-plateau --device cuda": (
        "engine.device: cuda is not available here; allowed: cpu"
    ),
    "reproduce --seeds 0": "--seeds: '0' is not allowed: a number of seeds, 1 or more",
    "reproduce --root tiny.yaml/runs": (
        "cannot create run 'eureka-quick-softmax' in tiny.yaml/runs/quick/eureka: "
        "not a directory"
    ),
    # checkpoints of another architecture
    "look tiny --read component-switching --donor wider:6": (
        "donor: token.weight has shape [6, 16], this model needs [6, 8]: another architecture"
    ),
    "look tiny --read component-switching --donor deeper:6": (
        "donor: blocks.1.attention.key.bias is not in this model: another architecture"
    ),
    "look deeper --read component-switching --donor tiny:6": (
        "donor: it has no parameter blocks.1.attention.key.bias: another architecture"
    ),
    "run grafted.yaml": (
        "transplant.source: blocks.0.mlp.input.weight has shape [64, 16] in wider.safetensors, "
        "the model needs [32, 8]"
    ),
    # what there is
    "list task": (
        "list: unknown kind 'task'; did you mean 'tasks'? "
        "Allowed: instruments, interventions, models, optimizers, studies, tasks"
    ),
    "list models encodr": (
        "list: unknown model 'encodr'; did you mean 'encoder'? "
        "Allowed: decoder, encoder, language-model, one-layer-attention, resnet, small-convnet, vit"
    ),
    # runs
    "show tinny": (
        "RUN: 'tinny' is not a run, and none below runs has that name; did you mean 'tiny'?"
    ),
    "resume other": (
        "RUN: 'other' is not a run, and none below runs has that name; "
        "`saltus runs --root runs` lists them"
    ),
    "verify tiny other": (
        "RUN: 'other' is not a run, and none below runs has that name; "
        "`saltus runs --root runs` lists them"
    ),
    "runs --root nowhere": "--root: nowhere is not a directory",
    "show tiny loss": f"runs/tiny: unknown metric 'loss'. {SERIES}",
    "show tiny attention-map/blocks.0": (
        "metric attention-map/blocks.0 is not a scalar but has shape (1, 8, 8): use array"
    ),
    "figure tiny loss/train -o leap.gif": (
        "figure: suffix '.gif' is not allowed: .svg, .pdf, .png"
    ),
    "figure tiny losses -o leap.svg": f"runs/tiny: unknown metric 'losses'. {SERIES}",
    "export tiny -o model.pt": "-o: 'model.pt' is not allowed: the name must end in .safetensors",
    "export tiny -o model.safetensors --member 2": "--member: 2 is not allowed: 0 to 1",
    "export tiny -o model.safetensors --step 4": (
        "runs/tiny has no checkpoint of step 4; allowed: 0, 3, 6"
    ),
    "query 'DELETE FROM runs'": (
        "SQL: DELETE is not allowed; allowed: SELECT (queries only read)"
    ),
    "query 'SELECT 1' --json --csv": "query: --json and --csv exclude each other",
}  # fmt: skip

# command, how the line begins, where the rest is another library's or the system's wording
BEGINNINGS = {
    "run vit.yaml --set task.source=mnist-fashion --set task.folder=nowhere": (
        "train-images-idx3-ubyte of MNIST (or .gz) is in none of nowhere/MNIST/raw, nowhere/mnist, "
    ),
    "run words.yaml": "words.yaml: not YAML: ",
    "run binary.yaml": "binary.yaml: cannot be read: ",
    "run tiny.yaml --set 'steps=[1'": "--set steps: '[1' is not YAML: ",
    "figure tiny loss/train -o tiny.yaml/leap.svg": "cannot write tiny.yaml/leap.svg: ",
    "report tiny -o tiny.yaml/page.html": "cannot write tiny.yaml/page.html: ",
    "export tiny -o tiny.yaml/m.safetensors": "cannot write tiny.yaml/m.safetensors: ",
    "query 'SELEC 1'": "SQL: Parser Error: ",
    "query 'SELECT loss FROM runs'": "SQL: Binder Error: ",
}


VIT = """\
task: two-step-image
model: {kind: vit, depth: 1, heads: 2, width: 8, patch: 8}
steps: 2
batch: 4
"""
MATRIX = """\
task: &task {kind: matrix-completion, rows: 3, columns: 3, rank: 1}
model: {kind: encoder, depth: 1, heads: 2, width: 8}
instruments: [{kind: evaluation, task: *task}]
steps: 6
batch: 4
seeds: 2
"""
GRAFT = "[{kind: transplant, source: wider.safetensors, groups: [mlp]}]"


@pytest.fixture(scope="session")
def others(finished, tmp_path_factory) -> Path:
    """Runs of other architectures, and an export of one."""
    root = tmp_path_factory.mktemp("others")
    same = Experiment.load(finished / "experiment.yaml")
    for name, change in (("wider", {"model.width": 16}), ("deeper", {"model.depth": 2})):
        start(same.override({"name": name, **change}), root)
    assert not main(["export", str(root / "wider"), "-o", str(root / "wider.safetensors")])
    return root


@pytest.fixture
def place(saltus, tiny, run, others, tmp_path) -> Path:
    """A directory with good and bad experiments, and runs."""
    for name in ("wider", "deeper"):
        shutil.copytree(others / name, tmp_path / "runs" / name)
    shutil.copy(others / "wider.safetensors", tmp_path)
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    (tmp_path / "vit.yaml").write_text(VIT)
    (tmp_path / "grafted.yaml").write_text(tiny.read_text() + f"interventions: {GRAFT}\n")
    (tmp_path / "field.yaml").write_text(tiny.read_text().replace("width: 8", "widht: 8"))
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "words.yaml").write_text("a: b: c: [\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for step, width in ((1, 2), (2, 3)):
        save_file({"weight": torch.zeros(2, width)}, tmp_path / f"step-{step}.safetensors")
    return tmp_path


def names_below(place: Path) -> list[str]:
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))


@pytest.mark.parametrize("command", [*LINES, *BEGINNINGS])
def test_bad_input_is_one_line_and_leaves_nothing(saltus, place, command):
    before = names_below(place)
    said = saltus(*shlex.split(command))
    assert said.out == ""
    assert said.err.count("\n") == 1 and said.err.endswith("\n")
    if command in LINES:
        assert said.err == f"saltus: {LINES[command]}\n"
    else:
        assert said.err.startswith(f"saltus: {BEGINNINGS[command]}")
    assert said.code == 2
    assert names_below(place) == before


def test_a_damaged_checkpoint_is_not_exported(saltus, run, flip):
    flip(run / "shards/000/checkpoints/step-00000006.safetensors")
    said = saltus("export", "tiny", "-o", "model.safetensors")
    path = "runs/tiny/shards/000/checkpoints/step-00000006.safetensors"
    assert said.err == f"saltus: {path} is damaged: its sha256 is not the one in the chain\n"
    assert (said.code, said.out) == (2, "")
    assert not list(Path().glob("*.safetensors*"))


def test_damaged_metrics_are_not_shown(saltus, run, flip):
    for log in run.glob("shards/*/metrics.log"):
        flip(log)
    said = saltus("show", "tiny", "loss/train")
    assert said.code == 2
    begins = "saltus: runs/tiny is damaged: shards/000/metrics.log: "
    assert said.err.startswith(begins) and said.err.count("\n") == 1
    said = saltus("show", "tiny")
    assert said.code == 0 and "damage     shards/000/metrics.log: " in said.out


def test_a_changed_experiment_is_not_continued(saltus, run):
    for status in run.glob("shards/*/status.json"):
        status.unlink()
    (run / "experiment.yaml").write_text((run / "experiment.yaml").read_text() + "\n")
    said = saltus("resume", "tiny")
    assert said.code == 1
    assert said.err.splitlines()[-1] == (
        "saltus: runs/tiny cannot be continued: experiment.yaml: "
        "not what the run was started with (sha256 differs)"
    )


def test_a_run_that_another_process_writes_is_refused(saltus, run):
    from saltus.runs import RunWriter

    for status in run.glob("shards/*/status.json"):
        status.unlink()
    with RunWriter(run):
        said = saltus("resume", "tiny")
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("saltus: runs/tiny is being written by process ")


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [
        ("typer", "runs", "studies"),
        ("rich", "runs", "studies"),
        ("matplotlib", "figure tiny loss/train -o leap.svg", "report"),
        ("scipy.stats", "show tiny loss/train", "studies"),
    ],
)
def test_a_missing_extra_says_what_to_install(saltus, run, monkeypatch, package, command, extra):
    for name in [name for name in sys.modules if name.startswith("saltus.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    root = package.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == root]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    said = saltus(*shlex.split(command))
    assert said.err == f"saltus: {root} is not installed: pip install 'saltus[{extra}]'\n"
    assert said.code == 2


def test_our_own_mistakes_are_not_hidden(saltus, monkeypatch):
    def broken(*_: object) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr("saltus.runs.list_runs", broken)
    with pytest.raises(KeyError):
        main(["runs"])


def test_a_reader_that_has_enough_is_no_error(saltus, run, monkeypatch):
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("saltus.cli.read.print_json", closed)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    monkeypatch.setattr("sys.stdout.fileno", lambda: 1, raising=False)
    said = saltus("runs", "--json")
    assert (said.code, said.err) == (1, "")


def test_an_experiment_larger_than_memory_is_one_line(saltus, tiny, monkeypatch):
    def allocate(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 4 PB")

    monkeypatch.setattr("saltus.training.launch.create", allocate)
    said = saltus("run", tiny)
    assert said.code == 2
    assert said.err.startswith("saltus: not enough memory for this experiment: Default")
