"""Norm dynamics: which way the parameters move, away from the origin or around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from saltus.errors import SaltusError
from saltus.instruments.base import AnyCadence, Cadence, Instrument, Needs, Reading
from saltus.instruments.captured import precise
from saltus.instruments.norm_policies import blocks, encoder_names, learned_of
from saltus.instruments.norms import members
from saltus.tasks.base import Task

Scalar = Float[Tensor, ""]
OF_MODULES = ("update-norm", "update-cosine", "radial-share", "descent-cosine", "growth/dot")


class NormDynamics(Instrument):
    """How the optimiser's step delta moves the parameters theta (2010.09697; M8 to M11, section 5
    of our spec, for one step instead of the way between two checkpoints).

    - `update-norm`, |delta|; `relative-update`, |delta| / |theta|, eta times the constant kappa of
      assumption 1;
    - `update-cosine`, cos(delta, theta): near 1 where dynamics are aligned, 0 where misaligned;
    - `radial-share`, (delta.theta / |theta|)^2 / |delta|^2, the share of the step's square that
      points along theta;
    - `descent-cosine`, cos(theta, -dL/dtheta), of the training gradient before clipping;
    - `growth/squares`, |delta|^2, and `growth/cross`, 2 theta.delta, which add up to what the step
      adds to |theta|^2 exactly (M10);
    - `growth/dot`, theta.delta, and `growth/boundary`, -|delta|^2 / 2: the norm grows where the dot
      is above the boundary.

    Gives `norm-dynamics/<quantity>`, scalars, `over` the encoder (M1's parameters) or all that is
    learned. Norm, cosines, radial share and dot also as `norm-dynamics/<quantity>/<module>` for
    every group of `saltus.models.groups`, block or parameter (per parameter, norm and dot are the
    plane of the paper's early versions, section 6.3); `per: none` leaves modules out. NaN where
    there is no direction, as of a step of 0 or a frozen module. The last reading is of the step
    that would follow. Refused under gradient flow, which has no steps.
    """

    kind: Literal["norm-dynamics"] = "norm-dynamics"
    over: Literal["encoder", "all"] = "encoder"
    per: Literal["none", "group", "block", "parameter"] = "group"
    cadence: AnyCadence = Cadence(every=50)

    def needs(self, task: Task) -> Needs:
        return Needs(update=True, gradients=True)

    def read(self, reading: Reading) -> dict[str, Tensor]:
        if not reading.update:
            raise SaltusError(
                f"instrument {self.kind}: it needs the update that follows, which training knows "
                "and so does a checkpoint of a run; this reading has none"
            )
        learned = learned_of(reading)
        names = encoder_names(learned) if self.over == "encoder" else list(learned)
        if not names:
            raise SaltusError(f"instruments: {self.kind}: the model has no encoder; allowed: all")
        single = {
            name: products(learned[name], reading.update[name], reading.gradients[name])
            for name in names
        }
        found = dynamics(together(single.values()))
        for module, own in self._modules(names).items():
            of_module = dynamics(together(single[name] for name in own))
            found |= {f"{quantity}/{module}": of_module[quantity] for quantity in OF_MODULES}
        return {f"{self.kind}/{name}": value for name, value in found.items()}

    def _modules(self, names: list[str]) -> Mapping[str, Iterable[str]]:
        if self.per == "group":
            return dict(members(names))
        if self.per == "block":
            return blocks(names)
        return {name: [name] for name in names} if self.per == "parameter" else {}


class Products(NamedTuple):
    """Inner products of parameters theta, a step delta and a gradient g; they add over tensors."""

    parameters: Scalar  # theta.theta
    update: Scalar  # delta.delta
    radial: Scalar  # theta.delta
    gradient: Scalar  # g.g
    pull: Scalar  # theta.g


def products(
    parameters: Float[Tensor, "*shape"],
    update: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
) -> Products:
    """Those of one tensor."""
    return Products(
        inner(parameters, parameters),
        inner(update, update),
        inner(parameters, update),
        inner(gradient, gradient),
        inner(parameters, gradient),
    )


def together(parts: Iterable[Products]) -> Products:
    """Those of tensors laid end to end."""
    first, *rest = parts
    for part in rest:
        first = Products(*(a + b for a, b in zip(first, part, strict=True)))
    return first


def dynamics(found: Products) -> dict[str, Scalar]:
    """The quantities of `NormDynamics` of one vector, from its inner products."""
    size, moved, slope = found.parameters.sqrt(), found.update.sqrt(), found.gradient.sqrt()
    cosine = found.radial / moved / size
    return {
        "update-norm": moved,
        "relative-update": moved / size,
        "update-cosine": cosine,
        "radial-share": cosine.square(),
        "descent-cosine": -found.pull / slope / size,
        "growth/squares": found.update,
        "growth/cross": 2 * found.radial,
        "growth/dot": found.radial,
        "growth/boundary": -found.update / 2,
    }


def inner(one: Float[Tensor, "*shape"], other: Float[Tensor, "*shape"]) -> Scalar:
    """The sum of products over all axes, axis after axis: as exact as a pairwise sum."""
    product = precise(one) * precise(other)
    while product.ndim:
        product = product.sum(-1)
    return product
