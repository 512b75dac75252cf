"""An experiment is one frozen value; YAML and Python are the same thing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from saltus.experiment import Checkpoints, Engine, Experiment
from saltus.instruments import Cadence
from saltus.instruments.norms import Norms
from saltus.interventions.attention_bias import AttentionBias
from saltus.models.transformer import Decoder
from saltus.tasks.moving_window_sum import MovingWindowSum

SMALL = Experiment(
    task=MovingWindowSum(length=4), model=Decoder(width=8), steps=10, batch=2, seeds=(0, 1)
)
RATES = st.floats(0, 10)
COUNTS = st.integers(1, 99)


def mapping(kind=None, **fields):
    """Plain data: strategies that ran the package's own code would run its type checks as well."""
    named = {"kind": st.just(kind)} if kind else {}
    return st.fixed_dictionaries({**named, **fields})


EXPERIMENTS = mapping(
    name=st.sampled_from(["a", "0", "1e3", "no.2", "Z_-"]),
    study=st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])),
    arm=st.none() | st.sampled_from(["yes", "null", "1e3", "a: b", "- x", "ü", "#", ""]),
    scale=st.sampled_from([None, "quick", "paper", "authors"]),
    task=mapping("moving-window-sum", length=st.integers(4, 9), window=st.integers(1, 4)),
    model=mapping(
        "decoder",
        heads=st.sampled_from([1, 2, 4]),
        width=st.sampled_from([8, 64]),
        hidden=st.none() | COUNTS,
        attention=st.sampled_from(["softmax", {"kind": "norm-softmax", "statistic": "deviation"}]),
        norm=st.sampled_from(["pre", "post"]),
        initial_scale=RATES,
    ),
    optimizer=st.one_of(
        mapping("sgd", learning_rate=RATES, momentum=st.floats(0, 0.999)),
        mapping("adam", learning_rate=RATES, clip=st.none() | st.floats(0.1, 5)),
        mapping("adamw", learning_rate=RATES, schedule=mapping(warmup=st.integers(0, 9))),
    ),
    interventions=st.lists(
        st.one_of(
            mapping("attention-bias", factor=RATES, start=COUNTS),
            mapping("freeze", groups=st.just(["mlp", "blocks.*"])),
            mapping("transplant", source=st.just("donor.safetensors"), groups=st.just(["mlp"])),
        ),
        max_size=2,
    ),
    instruments=st.lists(
        mapping(
            "norms",
            cadence=st.one_of(
                mapping(every=COUNTS), mapping(per_decade=COUNTS), mapping(at=st.lists(COUNTS))
            ),
        ),
        max_size=2,
    ),
    steps=st.integers(1, 10**9),
    batch=COUNTS,
    seeds=st.lists(st.integers(0, 2**62), min_size=1, max_size=4, unique=True),
    vary=st.dictionaries(
        st.sampled_from(["optimizer.learning_rate", "model.initial_scale"]),
        st.lists(RATES, min_size=1, max_size=3),
    ),
    checkpoints=mapping(every=st.none() | COUNTS, at=st.lists(COUNTS)),
    engine=mapping(
        precision=st.sampled_from(["float32", "float64"]),
        chunk=st.just("auto") | COUNTS,
        compile=st.booleans(),
    ),
)


@given(data=EXPERIMENTS)
def test_yaml_and_python_are_the_same_thing(data):
    experiment = Experiment(**data)
    read = Experiment.from_yaml(experiment.to_yaml())
    assert read == experiment
    assert read.to_yaml() == experiment.to_yaml()
    assert Experiment.of(experiment.data()) == experiment


@given(data=EXPERIMENTS)
def test_members_are_the_grid_times_the_seeds_with_seeds_innermost(data):
    experiment = Experiment(**data)
    members = experiment.members()
    points = [{}]
    for path, values in experiment.vary.items():
        points = [point | {path: value} for point in points for value in values]
    expected = [(seed, point) for point in points for seed in experiment.seeds]
    assert [(member.seed, member.overrides) for member in members] == expected
    for member in members:
        assert member.experiment == experiment.override({"vary": {}, **member.overrides})


FLOWS = mapping(
    task=mapping("word-cooccurrence", vocabulary=st.integers(4, 64), unseen=st.integers(0, 9)),
    model=mapping("one-layer-attention", width=COUNTS, neurons=COUNTS, kappa=st.floats(0.01, 9)),
    optimizer=mapping(
        "gradient-flow",
        duration=st.floats(1, 1e6),
        first=st.none() | st.floats(1e-6, 0.5),
        clock=st.sampled_from(["time", "model"]),
        method=st.sampled_from(["dop853", "dopri5"]),
        rtol=st.floats(1e-12, 1e-2),
        weight_decay=RATES,
    ),
    instruments=st.lists(
        st.one_of(
            mapping("token-attention", tokens=st.lists(st.integers(0, 3), min_size=1)),
            mapping(
                "evaluation",
                task=st.none() | mapping("word-cooccurrence", vocabulary=st.just(64)),
                label=st.sampled_from(["evaluation", "unseen"]),
            ),
            mapping("two-phases", cadence=COUNTS),
        ),
        max_size=2,
    ),
    vary=st.dictionaries(
        st.sampled_from(["optimizer.weight_decay", "model.kappa"]),
        st.lists(st.floats(0.1, 5) | st.just("1e-3"), min_size=1, max_size=3),
    ),
    steps=COUNTS,
    examples=st.just(24),
    batch=st.just(24),
)


@given(data=FLOWS)
def test_so_they_are_where_a_flow_is_followed(data):
    if any(part.get("task") for part in data["instruments"]):
        data = data | {"task": {"kind": "word-cooccurrence"}}  # as long a vocabulary
    experiment = Experiment.of(data)
    read = Experiment.from_yaml(experiment.to_yaml())
    assert read == experiment and Experiment.of(experiment.data()) == experiment
    for member in experiment.members():
        assert member.experiment == experiment.override({"vary": {}, **member.overrides})


def test_a_member_carries_its_own_setting():
    grid = {"optimizer.learning_rate": (0.1, 0.2), "interventions.0.factor": (1, 5, 9)}
    bias = AttentionBias(factor=2)
    experiment = SMALL.model_copy(update={"interventions": (bias,)}).override({"vary": grid})
    rows = [
        (m.experiment.optimizer.learning_rate, m.experiment.interventions[0].factor, m.seed)
        for m in experiment.members()
    ]
    assert rows == [(r, f, s) for r in (0.1, 0.2) for f in (1, 5, 9) for s in (0, 1)]
    assert not any(m.experiment.vary for m in experiment.members())


def test_a_file_is_the_same_thing(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.to_yaml(), encoding="utf-8")
    assert Experiment.load(path) == Experiment.load(str(path)) == SMALL


def test_short_forms_mean_the_long_ones():
    short = {"task": "moving-window-sum", "model": "decoder", "steps": 10, "batch": 4, "seeds": 3}
    short["instruments"] = [{"kind": "norms", "cadence": 5}, "norms"]
    experiment = Experiment.of(short)
    assert experiment.task == MovingWindowSum() and experiment.model == Decoder()
    assert experiment.seeds == (0, 1, 2)
    assert experiment.instruments == (Norms(cadence=Cadence(every=5)), Norms())


def test_an_exponent_without_a_point_is_a_number_though_yaml_reads_a_word():
    text = SMALL.override({"optimizer.learning_rate": 0.5}).to_yaml().replace("0.5", "1e-4")
    assert Experiment.from_yaml(text).optimizer.learning_rate == 1e-4


def test_an_override_changes_its_field_and_nothing_else():
    changed = SMALL.override({"model.width": 16, "optimizer.learning_rate": 0.5, "seeds.0": 7})
    assert (changed.model.width, changed.optimizer.learning_rate) == (16, 0.5)
    assert changed.seeds == (7, 1)
    back = {"model.width": 8, "optimizer.learning_rate": 1e-3, "seeds": [0, 1]}
    assert changed.override(back) == SMALL


def test_an_experiment_is_frozen_with_all_its_parts():
    for part, field in [(SMALL, "steps"), (SMALL.model, "width"), (SMALL.engine, "device")]:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, field, getattr(part, field))


def test_positions_that_just_suffice_are_allowed():
    needed = SMALL.task.interface.positions
    assert SMALL.override({"model.positions": needed}).model.positions == needed


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_low_precision_is_for_gpus(precision):
    Engine(device="cuda", precision=precision)
    with pytest.raises(ValidationError, match=f"precision {precision} needs a GPU"):
        Engine(device="cpu", precision=precision)


@given(
    steps=st.integers(1, 300),
    at=st.lists(st.integers(0, 300)),
    every=st.none() | st.integers(1, 50),
    rescue=st.none() | st.integers(1, 50),
)
def test_checkpoints_keep_the_ends_and_what_was_asked_for(steps, at, every, rescue):
    checkpoints = Checkpoints(at=tuple(at), every=every, rescue=rescue)
    kept = {step for step in range(steps + 1) if checkpoints.keeps(step, steps)}
    asked = {0, steps, *at} | set(range(0, steps + 1, every) if every else ())
    assert kept == {step for step in asked if step <= steps}
    rescued = [step for step in range(steps + 1) if checkpoints.rescues(step, steps)]
    assert rescued == list(range(0, steps + 1, rescue or max(1, steps // 10)))
