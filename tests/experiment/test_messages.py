"""Bad input is refused in one line that names the field, the value and what is allowed."""

import pytest

from saltus.errors import SaltusError
from saltus.experiment import Experiment

GOOD = {"task": "moving-window-sum", "model": "decoder", "steps": 10, "batch": 4}
FIELDS = (
    "arm, batch, checkpoints, engine, evaluation_batch, examples, instruments, interventions, "
    "model, name, optimizer, scale, seeds, steps, study, task, vary"
)
VARIED = (
    "Allowed: model.initial_scale, optimizer.clip, optimizer.epsilon, optimizer.learning_rate, "
    "optimizer.weight_decay"
)
AT_LEAST_0 = "input should be greater than or equal to 0"
AT_LEAST_1 = "input should be greater than or equal to 1"
NOT_AN_INTEGER = "input should be a valid integer, unable to parse string as an integer"
ADAM = {"kind": "adam", "learning_rate": 1e-3}
NORMS = {"kind": "norms"}
BIAS = {"kind": "attention-bias", "factor": 2}

PROBLEMS = [
    ({"stepz": 3}, f"stepz: unknown field 'stepz'; did you mean 'steps'? Allowed: {FIELDS}"),
    ({"a\nb": 3}, rf"a\nb: unknown field 'a\nb'. Allowed: {FIELDS}"),
    ({"steps": -1}, f"steps: -1 is not allowed: {AT_LEAST_1}"),
    ({"steps": "many"}, f"steps: 'many' is not allowed: {NOT_AN_INTEGER}"),
    ({"batch": 0}, f"batch: 0 is not allowed: {AT_LEAST_1}"),
    ({"scale": "huge"},
     "scale: 'huge' is not allowed: input should be 'quick', 'paper' or 'authors'"),
    ({"name": "a/b"},
     "name: 'a/b' is not allowed: string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$'"),
    ({"task": 3}, "task: 3 is no task; give a kind or a mapping"),
    ({"model": None}, "model: None is no model; give a kind or a mapping"),
    ({"task": {"kind": "moving-window-sum", "window": 17}},
     "task: window 17 must be at most length 16"),
    ({"task": {"kind": "moving-window-sum", "windw": 3}},
     "task.windw: unknown field 'windw'; did you mean 'window'? "
     "Allowed: alphabet, kind, length, modulus, window"),
    ({"task": {"kind": "concat-moving-window-sum",
               "segments": [{"window": 1, "first": 1, "last": 4},
                            {"window": 0, "first": 6, "last": 9}]}},
     f"task.segments.1.window: 0 is not allowed: {AT_LEAST_1}"),
    ({"model": {"kind": "decoder", "depth": -1}}, f"model.depth: -1 is not allowed: {AT_LEAST_1}"),
    ({"model": {"kind": "decoder", "width": 10, "heads": 3}},
     "model: width 10 must be a multiple of heads 3"),
    ({"model": {"kind": "decoder", "attention": "sigmoid"}},
     "model.attention.kind: unknown normaliser 'sigmoid'. "
     "Allowed: learned-temperature, linear, norm-softmax, qk-norm, saturated, softmax"),
    ({"model": {"kind": "decoder", "attention": {"kind": "norm-softmax", "statistic": "range"}}},
     "model.attention.statistic: 'range' is not allowed: "
     "input should be 'variance' or 'deviation'"),
    ({"model": {"kind": "decoder", "positions": 5}},
     "model.positions 5 is too few: task moving-window-sum has inputs of 32 positions"),
    ({"model": {"kind": "decoder", "initial_scale": -1}},
     f"model.initial_scale: -1 is not allowed: {AT_LEAST_0}"),
    ({"optimizer": {"kind": "adam"}}, "optimizer.learning_rate: required, and not given"),
    ({"optimizer": {"kind": "adam", "learning_rate": -1}},
     f"optimizer.learning_rate: -1 is not allowed: {AT_LEAST_0}"),
    ({"optimizer": {"kind": "adam", "learning_rate": float("inf")}},
     "optimizer.learning_rate: inf is not allowed: input should be a finite number"),
    ({"optimizer": {**ADAM, "schedule": {"warmupp": 1}}},
     "optimizer.schedule.warmupp: unknown field 'warmupp'; did you mean 'warmup'? "
     "Allowed: epoch, final, shape, stop, until, warmup"),
    ({"seeds": []}, "seeds: no seeds; give a number of seeds or a list of them"),
    ({"seeds": 0}, "seeds: no seeds; give a number of seeds or a list of them"),
    ({"seeds": [4, 1, 4]}, "seeds: seed 4 is listed twice"),
    ({"seeds": [0, -1]}, f"seeds.1: -1 is not allowed: {AT_LEAST_0}"),
    ({"seeds": "few"}, "seeds: 'few' is not allowed: input should be a valid list"),
    ({"engine": {"precision": "bfloat16"}},
     "engine: precision bfloat16 needs a GPU; the CPU has float32, float64"),
    ({"engine": {"precision": "tf32"}},
     "engine: precision tf32 needs a GPU; the CPU has float32, float64"),
    ({"engine": {"device": "gpu9"}}, "engine: device 'gpu9' is not a device; cpu or cuda"),
    ({"engine": {"devise": "cpu"}},
     "engine.devise: unknown field 'devise'; did you mean 'device'? "
     "Allowed: chunk, compile, device, precision, workers"),
    ({"engine": {"chunk": 0}}, f"engine.chunk: 0 is not allowed: {AT_LEAST_1} or 'auto'"),
    ({"checkpoints": {"evry": 1}},
     "checkpoints.evry: unknown field 'evry'; did you mean 'every'? "
     "Allowed: at, every, microscope, rescue"),
    ({"instruments": [{**NORMS, "cadence": {"every": 0}}]},
     f"instruments.0.cadence.every: 0 is not allowed: {AT_LEAST_1}"),
    ({"instruments": [NORMS, {**NORMS, "cadence": {"every": 1, "per_decade": 1}}]},
     "instruments.1.cadence: give exactly one of every, per_decade, at"),
    ({"interventions": ["nope"]},
     "interventions.0.kind: unknown intervention 'nope'. "
     "Allowed: ablate-heads, attention-bias, freeze, gradient-rescaling, heat-treatment, "
     "saturate, scale-start, temperature, transplant"),
    ({"interventions": [BIAS, {"kind": "attention-bias"}]},
     "interventions.1.factor: required, and not given"),
    ({"interventions": [{"kind": "freeze", "groups": []}]},
     "interventions.0.groups: [] is not allowed: "
     "list should have at least 1 item after validation, not 0"),
    ({"vary": {"model.width": [32, 64]}},
     f"vary.model.width: members cannot differ in it. {VARIED}"),
    ({"vary": {"interventions.0.layer": [0]}, "interventions": [BIAS]},
     "vary.interventions.0.layer: members cannot differ in it. "
     "Allowed: interventions.0.factor, interventions.0.start, "
     + VARIED.removeprefix("Allowed: ")),
    ({"vary": {"optimizer.learning_rate": []}}, "vary.optimizer.learning_rate: no values"),
    ({"vary": {"optimizer.learning_rate": 0.1}},
     "vary.optimizer.learning_rate: 0.1 is not allowed: input should be a valid list"),
    ({"vary": {"optimizer.learning_rate": [0.1, -1]}},
     f"vary.optimizer.learning_rate: -1 is not allowed: {AT_LEAST_0}"),
]  # fmt: skip


def name_of(problem):
    return problem.split(":")[0].replace("\\", "") if isinstance(problem, str) else ""


@pytest.mark.parametrize(("change", "problem"), PROBLEMS, ids=name_of)
def test_bad_input_is_refused_in_one_line(change, problem):
    with pytest.raises(SaltusError) as caught:
        Experiment.of(GOOD | change, "my.yaml")
    assert str(caught.value) == f"my.yaml: {problem}"
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("field", ["task", "model", "steps", "batch"])
def test_a_field_without_default_is_asked_for(field):
    with pytest.raises(SaltusError) as caught:
        Experiment.of({name: value for name, value in GOOD.items() if name != field})
    assert str(caught.value) == f"experiment: {field}: required, and not given"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("modell.width", "modell.width: there is no field 'modell'"),
        ("steps.width", "steps.width: 'steps' has no fields"),
        ("checkpoints.every.x", "checkpoints.every.x: 'checkpoints.every' has no fields"),
        ("interventions.1.factor",
         "interventions.1.factor: '1' is not a place in a list of 1"),
        ("interventions.first.factor",
         "interventions.first.factor: 'first' is not a place in a list of 1"),
        ("interventions.²", "interventions.²: '²' is not a place in a list of 1"),
        ("seeds.-1", "seeds.-1: '-1' is not a place in a list of 1"),
        ("stepz", f"experiment: stepz: unknown field 'stepz'; did you mean 'steps'? "
                  f"Allowed: {FIELDS}"),
        ("model.widht", "experiment: model.widht: unknown field 'widht'; did you mean 'width'? "
         "Allowed: activation, attention, causal, depth, dropout, embedding_norm, epsilon, "
         "final_norm, heads, hidden, initial_deviation, initial_scale, kind, mask, mlp_bias, norm, "
         "norm_bias, output_bias, positions, qkv_bias, readout_bias, scaled, stochastic_depth, "
         "width"),
    ],
)  # fmt: skip
def test_an_override_of_a_path_that_is_not_there_is_refused_in_one_line(path, problem):
    experiment = Experiment.of(GOOD | {"interventions": [BIAS]})
    with pytest.raises(SaltusError) as caught:
        experiment.override({path: 7})
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- 1\n- 2", "my.yaml: not a mapping of fields, but list"),
        ("", "my.yaml: not a mapping of fields, but NoneType"),
        ("steps: [1, 2\nbatch: 3", "my.yaml: not YAML: "),
        ("!!python/object/apply:os.getcwd []", "my.yaml: not YAML: could not determine"),
    ],
)
def test_a_text_that_is_no_experiment_is_refused_in_one_line(text, problem):
    with pytest.raises(SaltusError) as caught:
        Experiment.from_yaml(text, "my.yaml")
    assert str(caught.value).startswith(problem)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path):
    missing, binary = tmp_path / "missing.yaml", tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (missing, binary, tmp_path):
        with pytest.raises(SaltusError, match="cannot be read") as caught:
            Experiment.load(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert len(str(caught.value).splitlines()) == 1
