"""The experiments: matrices that are copied, then computed; components alone; sizes and laws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from saltus.experiment import Checkpoints, Experiment, Microscope
from saltus.instruments import AnyInstrument, Cadence
from saltus.instruments.activation_patching import ActivationPatching
from saltus.instruments.attention_map import AttentionMap
from saltus.instruments.copy_check import CopyCheck
from saltus.instruments.embedding_geometry import EmbeddingGeometry
from saltus.instruments.evaluation import Evaluation
from saltus.instruments.grid_attention import GridAttention
from saltus.instruments.head_ablation import HeadAblation
from saltus.instruments.linear_probe import LinearProbe
from saltus.instruments.position_shuffle import PositionShuffle
from saltus.interventions.transplant import Transplant
from saltus.models.encoder import Encoder
from saltus.models.transformer import Decoder
from saltus.studies.across import watching
from saltus.studies.study import Scale
from saltus.tasks.low_rank import LowRankTask
from saltus.tasks.matrix_completion import MatrixCompletion
from saltus.tasks.matrix_sequence import MatrixSequence
from saltus.training.optimizers import Adam
from saltus.training.schedules import Schedule

# What is trained alone while the rest stands at its final values (section 6.8 of our spec).
COMPONENTS = {
    "token": ("embeddings.token",),
    "position": ("embeddings.position",),
    "attention": ("attention",),
    "mlp": ("mlp",),
}
WIDTHS, DEPTHS = (64, 128, 256, 512, 1024), (6, 8, 12)


@dataclass(frozen=True)
class Moments:
    """Which arms and steps the claims look at."""

    plateau: str  # the arm that is read on its plateau
    leap: str  # the arm that leaps
    levels: tuple[int, ...]  # steps of the plateau arm at which it is measured on many matrices
    copied: int  # step of the plateau arm at which copying is checked
    before: int  # step of the leap arm: on its plateau
    after: int  # its last step


MOMENTS: dict[Scale, Moments] = {
    "quick": Moments("signed", "leap", (300, 400, 500), 500, 200, 1300),
    "paper": Moments("base", "base", tuple(range(1000, 10001, 1000)), 4000, 4000, 50000),
}
CHANGED = (
    "5 x 5 matrices of rank 1 for 7 x 7 of rank 2, depth 2, heads 4 and width 64 for 4, 8 and 768, "
    "batch 32 (`signed`: 64) for 256, hundreds of steps for 50,000, an initial deviation of 0.05 "
    "for 0.02. Arm `signed` keeps the paper's law, factors uniform on [-1, 1], with a learning "
    "rate of 1e-3 for 1e-4: it copies and stays on the plateau. Arm `leap`, and those that start "
    "from it, have factors of either -0.7 or 1, and a learning rate of 2e-3 after 50 steps of "
    "warm-up"
)


def recipe(scale: Scale) -> dict[str, Experiment]:
    """Arms by name; seeds count from 0 in each."""
    return paper() if scale == "paper" else quick()


def quick() -> dict[str, Experiment]:
    """What two cores train in three minutes."""
    moments = MOMENTS["quick"]
    small = Encoder(depth=2, heads=4, width=64, initial_deviation=0.05)
    signed = experiment(
        "signed", "quick", MatrixCompletion(rows=5, columns=5, rank=1), small, moments.copied
    ).model_copy(
        update={
            "optimizer": Adam(learning_rate=1e-3),
            "batch": 64,
            "seeds": tuple(range(5)),
            "instruments": (
                Evaluation(cadence=Cadence(every=20), samples=128),
                *on_the_plateau(moments),
            ),
        }
    )
    two_points = MatrixCompletion(rows=5, columns=5, rank=1, factors="two-point", low=-0.7)
    leap = experiment("leap", "quick", two_points, small, moments.after).model_copy(
        update={
            "instruments": (
                Evaluation(cadence=Cadence(every=40), samples=128),
                *across_the_leap(moments, every=100, probe=512, passes=128),
            ),
            "checkpoints": Checkpoints(at=(moments.before,), microscope=Microscope(every=4)),
        }
    )
    steps = {"token": 320, "position": 400, "attention": 320, "mlp": 120}
    gpt = experiment(
        "gpt",
        "quick",
        MatrixSequence(rows=4, columns=4, rank=1, decimals=1, limit=1),
        Decoder(depth=2, heads=2, width=64, initial_deviation=0.04),
        200,
    ).model_copy(
        update={
            "optimizer": Adam(learning_rate=1e-3),
            "seeds": tuple(range(4)),
            "instruments": gpt_instruments(20, Cadence(at=(100,))),
        }
    )
    return {"signed": signed, "leap": leap, **components(leap, steps), "gpt": gpt}


def paper() -> dict[str, Experiment]:
    """The paper's settings (sections 2 to 4 of our spec), 50,000 steps each."""
    moments, steps = MOMENTS["paper"], MOMENTS["paper"].after
    task, model = MatrixCompletion(), Encoder(positions=512)
    kept = (1000, 4000, 10000, 14000, 16000, 20000)
    base = experiment("base", "paper", task, model, steps).model_copy(
        update={
            "instruments": (
                Evaluation(cadence=Cadence(every=100)),
                *on_the_plateau(moments),
                *across_the_leap(moments, every=1000, probe=2048, passes=256),
                *elsewhere(),
            ),
            "checkpoints": Checkpoints(at=kept, microscope=Microscope()),
        }
    )
    light = (Evaluation(cadence=Cadence(every=100)),)

    def other(name: str, task: LowRankTask, model: Encoder = model) -> Experiment:
        found = experiment(name, "paper", task, model, steps)
        return found.model_copy(update={"instruments": light})

    probe = LinearProbe(targets=("row", "element", "svd"))
    deep = {
        f"depth-{depth}": other(
            f"depth-{depth}", task, model.model_copy(update={"depth": depth})
        ).model_copy(update={"instruments": (*light, probe)})
        for depth in DEPTHS
    }
    twelve = model.model_copy(update={"depth": 12, "heads": 12})
    mixture = MatrixCompletion(rank=1, sizes=(5, 7, 9))
    each = tuple(
        Evaluation(
            cadence=Cadence(every=500),
            task=MatrixCompletion(rows=size, columns=size, rank=1),
            label=f"size-{size}",
            samples=256,
        )
        for size in mixture.sizes
    )
    return {
        "base": base,
        **components(base, dict.fromkeys(COMPONENTS, steps)),
        **{
            f"width-{width}": other(
                f"width-{width}", task, model.model_copy(update={"width": width})
            )
            for width in WIDTHS
        },
        **deep,
        "probe": other("probe", task, twelve).model_copy(update={"instruments": (*light, probe)}),
        "larger": other("larger", MatrixCompletion(rows=10, columns=10, rank=3)),
        "mixture": other("mixture", mixture).model_copy(update={"instruments": (*light, *each)}),
        "gaussian": other("gaussian", MatrixCompletion(factors="gaussian")),
        "gpt": experiment(
            "gpt", "paper", MatrixSequence(), Decoder(depth=2, heads=2, width=256), 1000
        ).model_copy(
            update={
                "optimizer": Adam(learning_rate=1e-4),
                "instruments": gpt_instruments(20, Cadence(at=(200, 600))),
            }
        ),
    }


def experiment(
    arm: str, scale: Scale, task: LowRankTask, model: Encoder | Decoder, steps: int
) -> Experiment:
    """One arm without instruments: the paper's optimiser at paper scale, the leap's at quick."""
    quick = scale == "quick"
    fast = Adam(learning_rate=2e-3, schedule=Schedule(warmup=50))
    return Experiment(
        name=f"matrix-completion-{scale}-{arm}",
        study="matrix-completion",
        arm=arm,
        scale=scale,
        task=task,
        model=model,
        optimizer=fast if quick else Adam(learning_rate=1e-4),
        steps=steps,
        batch=32 if quick else 256,
        evaluation_batch=64,
        seeds=tuple(range(6 if quick else 4)),
    )


def components(donor: Experiment, steps: dict[str, int]) -> dict[str, Experiment]:
    """One component trained from a fresh start, the rest frozen at the donor's last values."""
    every = donor.instruments[0]
    return {
        f"only-{name}": donor.model_copy(
            update={
                "name": donor.name.replace(str(donor.arm), f"only-{name}"),
                "arm": f"only-{name}",
                "interventions": (
                    Transplant(
                        source=Path(f"arm:{donor.arm}@last"),
                        groups=groups,
                        outside=True,
                        freeze=True,
                        member="next seed",
                    ),
                ),
                "instruments": (every,),
                "steps": steps[name],
                "checkpoints": Checkpoints(),
            }
        )
        for name, groups in COMPONENTS.items()
    }


def on_the_plateau(moments: Moments) -> tuple[AnyInstrument, ...]:
    """Levels on 1024 matrices and the copy check, also on matrices without low rank."""
    size = (5, 5) if moments.plateau == "signed" else (7, 7)
    full = MatrixCompletion(rows=size[0], columns=size[1], factors="entries", rank=1)
    checked = Cadence(at=(1000, moments.copied, 14000))
    return (
        Evaluation(cadence=Cadence(at=moments.levels), samples=1024, label="levels"),
        CopyCheck(cadence=checked),
        CopyCheck(cadence=checked, task=full, label="copy-check-full-rank"),
    )


def across_the_leap(
    moments: Moments, every: int, probe: int, passes: int
) -> tuple[AnyInstrument, ...]:
    """Heads, embeddings, patching and probes, on the plateau and at the end; some in between."""
    ends, often = Cadence(at=(moments.before,)), Cadence(every=every)
    return (
        Evaluation(cadence=ends, samples=1024, label="many"),
        GridAttention(cadence=often, samples=128),
        HeadAblation(cadence=ends, samples=passes),
        HeadAblation(
            cadence=ends, samples=passes, mode="batch-mean", label="head-ablation-batch-mean"
        ),
        ActivationPatching(cadence=ends, samples=passes),
        EmbeddingGeometry(cadence=often),
        PositionShuffle(cadence=ends),
        LinearProbe(cadence=ends, train=probe),
        AttentionMap(cadence=often),
        *watching(every // 2, "bidirectional"),
    )


def elsewhere() -> tuple[AnyInstrument, ...]:
    """Other laws, ranks and sizes at inference (section 2.4 of our spec; the grids are ours)."""
    last = Cadence(at=())
    laws = {
        "gaussian": MatrixCompletion(factors="gaussian", scale=0.5),
        "laplace": MatrixCompletion(factors="laplace", scale=0.25),
        **{f"rank-{rank}": MatrixCompletion(rank=rank) for rank in (1, 3, 4)},
        **{f"rows-{rows}": MatrixCompletion(rows=rows) for rows in (5, 6, 8, 9)},
        **{f"columns-{columns}": MatrixCompletion(columns=columns) for columns in (5, 6, 8, 9)},
        **{
            f"masked-{share}": MatrixCompletion(mask_probability=share / 100)
            for share in range(10, 61, 5)
        },
    }
    return tuple(
        Evaluation(cadence=last, task=task, label=f"on-{name}", samples=1024)
        for name, task in laws.items()
    )


def gpt_instruments(every: int, maps: Cadence) -> tuple[AnyInstrument, ...]:
    """Accuracy of what the GPT writes, split by what the prompt shows, and its attention."""
    return (Evaluation(cadence=Cadence(every=every)), AttentionMap(cadence=maps))
