"""Runs with a plateau and a leap, written through the runs API without training anything."""

from __future__ import annotations

import numpy as np
import pytest

from saltus.report import StudyReport
from saltus.report.bars import bar_panel, bars
from saltus.report.compose import curve, figure, mark, panel, slope
from saltus.report.figure import Reference
from saltus.report.films import film, take
from saltus.report.heat_maps import heat_map, heat_maps
from saltus.report.scatters import scatter, scatters
from saltus.report.summaries import curve_against
from saltus.runs import Run, ShardWriter, create_run, open_run
from saltus.studies import Claim, Range, Study, amount, holds
from saltus.studies.loss_plateau import STUDY as REAL

STEPS = 60


@pytest.fixture
def make_run(tmp_path):
    """make_run(name, seeds=4, leap=30, broken=()) → Run with loss, accuracy and attention maps."""

    def make(name="baseline", seeds=4, leap=30, broken=(), overrides=None, changes=None) -> Run:
        experiment = REAL.recipe("quick")["baseline"].override(changes or {}).to_yaml()
        given = overrides or [{}] * seeds
        members = [{"seed": seed, "overrides": given[seed]} for seed in range(seeds)]
        places = [list(range(seeds))]
        path = create_run(tmp_path / "runs", name, experiment, members, places, {"revision": None})
        generator = np.random.default_rng(0)
        late = leap + np.arange(seeds) * 2
        with ShardWriter(path, 0) as writer:
            for step in range(STEPS + 1):
                solved = 1 / (1 + np.exp(-(step - late) / 1.5))
                values = {"loss/train": 2.628 - 1.328 * solved + generator.normal(0, 0.01, seeds)}
                for member in broken:
                    if step > 40:
                        values["loss/train"][member] = np.nan if step % 2 else np.inf
                if step % 5 == 0:
                    values["evaluation/accuracy"] = 0.1 + 0.9 * solved
                if step % 20 == 0:
                    maps = generator.uniform(0, 1, (seeds, 2, 6, 6))
                    values["attention-map/blocks.0"] = maps.astype(np.float32)
                writer.record(step, values)
            writer.flush()
            diverged = {int(member): 41 for member in broken}
            writer.status(
                state="running", step=STEPS, diverged=diverged, seconds=8.0, instrument_seconds=2.0
            )
        return open_run(path)

    return make


@pytest.fixture
def make_report(make_run):
    """A study of two arms, of which one was not run, with a claim of every verdict."""

    def make(**changes: str) -> StudyReport:
        def claim(number, arms, *quantities):
            words = changes.get("words", f"claim {number}")
            return Claim(number, words, words, words, words, arms, lambda _: quantities)

        claims = [
            claim(1, ("baseline",), amount("inside", [1.0, 1.1, 0.9], Range(0.0, 2.0))),
            claim(2, ("baseline",), amount("outside", [1.0, 1.1, 0.9], Range(low=5.0))),
            claim(3, ("baseline",), holds("across", [True, False, True])),
            claim(4, ("baseline",), amount("one seed", [1.0], Range(0.0, 2.0))),
            claim(5, ("missing",), amount("never", [1.0, 2.0], Range(0.0, 2.0))),
        ]
        recipe = REAL.recipe("quick")["baseline"]
        study = Study(
            name="a-study",
            title=changes.get("words", "Title"),
            paper=changes.get("words", "Paper"),
            question=changes.get("words", "Question?"),
            recipe=lambda scale: {"baseline": recipe, "missing": recipe},
            claims=lambda scale: claims,
            changed=changes.get("words", "smaller"),
            headline=("loss/train", "evaluation/accuracy", "never/recorded"),
        )
        arms = {changes.get("arm", "baseline"): make_run(broken=(1,))}
        known = {"baseline": next(iter(arms.values()))}
        findings = [claim.judge(known) for claim in claims]
        return StudyReport(study, "quick", findings, arms, seconds=161.0)

    return make


@pytest.fixture
def composed():
    """Figures of everything that a study can compose, from six seeds at logarithmic times."""
    generator = np.random.default_rng(0)
    times = np.geomspace(0.1, 1000, 40)
    losses = np.exp(-times / generator.uniform(5, 50, (6, 4, 1)))
    sizes = np.array([0.01, 0.02, 0.04])
    over = {"x_label": "time τ", "x_log": True}
    ends = generator.uniform(5, 20, 6)

    def figures(arms):
        kinds = [(f"I{n + 1} {arms['baseline'].name}", times, losses[:, n]) for n in range(4)]
        total = curve("total", times, losses.mean(axis=1), 6, x_log=True)
        marks = [mark("all right", ends), mark("T₁", [*ends[:5] * 2, np.nan])]
        yield figure("Loss, by class", [
            panel("", [*kinds, total], "nats", levels=[("R*", 0.5)], marks=marks, **over),
        ])  # fmt: skip
        limit = Reference("limit", times, np.exp(-times / 20), 0)
        yield figure("Scores", [
            panel("M", [("M[1,2]", times, losses[:, 0])], references=[limit], **over),
            panel("errors", [("error", sizes, sizes * generator.uniform(1, 2, (6, 1)))],
                  "relative", x_label="step size η", x_log=True, log=True, dots=True,
                  references=[slope("slope 1", 1, (0.01, 0.01), (0.01, 0.04))]),
        ])  # fmt: skip
        if "absent" in arms:
            yield figure(arms["missing"].name, [])

    return figures


@pytest.fixture
def kinds():
    """A figure of every kind: heat maps (small, large, with gaps), scatters, bars, a film."""
    generator = np.random.default_rng(0)
    layers = [f"layer {layer}" for layer in range(4)]
    lost = np.exp(generator.normal(-4, 1.5, (6, 4, 8)))
    change = generator.normal(0, 0.3, (5, 4, 8))
    change[:, 1, 3] = np.nan
    values = np.linspace(-1.5, 1.5, 31)
    tokens = np.stack([np.sign(values), np.abs(values)], axis=1)
    cells = generator.normal(0, 1, (14, 2))
    columns = [f"column {cell % 7}" for cell in range(14)]

    def moving(seed):
        steps = 100 * seed + np.arange(100, 200, 10)
        shares = np.linspace(0, 1, len(steps))
        maps = shares[:, None, None, None] * np.eye(6) + 0.1 * generator.uniform(size=(10, 2, 6, 6))
        frames = [scatter("", tokens * share, values=values) for share in shares]
        places = [scatter("", cells * share, kinds=columns) for share in shares]
        loss = panel("Training loss", [(f"seed {seed}", steps, 2 - shares[None])])
        who = f"seed {seed}"
        clouds = [(steps, scatters("Tokens", frames, who, unit="value", diverging=True)),
                  (steps, scatters("Positions", places, who))]  # fmt: skip
        signed = maps - 0.4
        return take(
            who, [("blocks.0", steps, maps), ("blocks.1", steps, signed)], clouds, loss=loss
        )

    ablated = {"row heads": [0.3, 0.4, 0.2], "every head of the first two layers": [0.9, 1.1, 1.0]}
    levels = [("intact", 0.01), ("plateau", 1.2)]
    methods = {"encoder": ablated, "nuclear norm": {"row heads": [0.5], "none": [0.01, 0.02]}}
    return [
        heat_maps("Ablated heads", [heat_map("uniform", lost, layers, x_label="head"),
                                    heat_map("mean", lost / 2, layers)], unit="MSE", log=True),
        heat_maps("Patched heads", [heat_map("change", change, layers)], diverging=True),
        heat_maps("Norms", [heat_map("nuclear norm", lost[0, :, :2], layers,
                                     ["the encoder's", "regularised least squares"])]),
        heat_maps("Samples", [heat_map(f"sample {n}", generator.normal(size=(25, 25)))
                              for n in range(2)], diverging=True),
        scatters("Tokens", [scatter(f"step {step}", tokens * step, values=values, y_label="second")
                            for step in (1, 2, 3)], "seed 0", unit="value", diverging=True),
        scatters("Positions", [scatter("t-SNE", cells, kinds=columns)], "seed 0"),
        bars("Sets", [bar_panel("masked", ablated, "MSE", levels=levels),
                      bar_panel("by method", methods, "MSE", log=True)]),
        figure("Against p", [curve_against("masked", [0.1, 0.5], {"encoder": lost[:, 0, :2]},
                                           x_label="mask probability", log=True)]),
        film("The leap", [moving(0), moving(3)]),
    ]  # fmt: skip
