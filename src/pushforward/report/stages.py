"""Reflow stage by stage: what each bought, and whether another pays.

    bend        S / (S + C), the share of the kinetic energy that detours cost; 0 for straight paths
    transport   C = E |x0 - eps|^2, which no reflow raises in theory
    bits        of held-out data, less those of the first stage; the error is that of two independent means, so it is
                on the safe side where both were measured on the same events
    one, many   energy distance of samples to held-out data, with one network call and with as many as one likes

All but bits are of the straight path, whatever the model's own: nothing could be compared on two.

Another reflow no longer pays where quality has fallen (the student's many-step distance is above the one before by
more than twice their error), where the bend is below a hundredth, or where one call is already as good as many. What is
left to gain then is between the walk and the data, which reflow does not touch.

Reference: Liu et al. 2022 (arXiv 2209.03003), section 2.2 and 3.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tqdm import tqdm

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward.models import Diffusion
from pushforward.report.bits import bits_per_dim
from pushforward.report.compare import contexts, draw_samples, shown
from pushforward.report.distances import energy_distance
from pushforward.report.estimate import Estimate
from pushforward.report.page import Table
from pushforward.report.straightness import Straightness, on_lines, straightness
from pushforward.solvers import RK4, ByDimension, Hutchinson

if TYPE_CHECKING:
    from pushforward.data import Dataset

MANY: Final = 32
STRAIGHT: Final = 0.01
HEADER: Final = ("Stage", "Bend", "Transport cost", "Bits", "One call", f"{MANY} calls")


@dataclass(frozen=True, slots=True)
class Stage:
    """One model on the way.

    Args:
        name: what it is called.
        paths: how straight its paths are, and how far they carry.
        bits: per dimension, less those of the first stage; None where they were not measured.
        one, many: energy distances of its samples to held-out data.
    """

    name: str
    paths: Straightness
    bits: Estimate | None
    one: Estimate
    many: Estimate


@dataclass(frozen=True, slots=True)
class Stages:
    """The models in the order in which they were made, at least one."""

    each: tuple[Stage, ...]

    @property
    def table(self) -> Table:
        """A line for each; without bits where there are none."""
        rows = [(s.name, f"{s.paths.relative:.2%}", s.paths.transport, s.bits or "", s.one, s.many) for s in self.each]
        scored = any(s.bits is not None for s in self.each)
        kept = [i for i, name in enumerate(HEADER) if scored or name != "Bits"]
        caption = (
            f"Bend is the share of the kinetic energy that detours cost, "
            f"{'bits are per dimension and less those of the first stage, ' if scored else ''}"
            "and the last columns are energy distances to held-out data; ± one standard error."
        )
        return Table(tuple(HEADER[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows), caption)

    def __str__(self) -> str:
        """The table as text."""
        table = self.table
        rows = [table.header, *(tuple(map(str, row)) for row in table.rows)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(table.header))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)

    @property
    def pays(self) -> bool:
        """Whether another reflow of the last stage promises anything."""
        return not (self._fell() or self._is_straight() or self._one_is_enough())

    def advice(self) -> str:
        """What to do next, in words."""
        last = self.each[-1]
        if self._fell():
            return (
                f"Quality fell: {last.many} at {MANY} calls, {self.each[-2].many} before. "
                f"Go on from {self.each[-2].name}, or reflow with real pairs, more pairs and more steps."
            )
        if self._is_straight():
            return f"Another reflow does not pay: the paths are straight (bend {last.paths.relative:.2%}). Distil it."
        if self._one_is_enough():
            return f"Another reflow does not pay: one call ({last.one}) is as good as {MANY} ({last.many})."
        return (
            f"Another reflow may pay: {last.paths.relative:.1%} of the energy is lost to detours, and one call is at "
            f"{last.one} where {MANY} are at {last.many}."
        )

    def _fell(self) -> bool:
        return len(self.each) > 1 and _above(self.each[-1].many, self.each[-2].many)

    def _is_straight(self) -> bool:
        return self.each[-1].paths.relative < STRAIGHT

    def _one_is_enough(self) -> bool:
        return not _above(self.each[-1].one, self.each[-1].many)


def stages(
    models: Mapping[str, Diffusion],
    data: "Dataset",
    n: int = 512,
    seed: int = 0,
    conditional: bool = False,
    scored: int = 256,
    progress: bool = False,
) -> Stages:
    """Measure a model and what reflow made of it, one after the other.

    Args:
        models: by name, the first of all first.
        data: whose held-out events samples are compared with.
        n: samples and paths of each, at least 3.
        seed: of everything random.
        conditional: whether the models are given the data's classes.
        scored: held-out events whose likelihood is integrated; 0 for no bits.
        progress: show on a terminal how far it is.

    Raises:
        ConfigError: no model, or too few samples.
    """
    if not models or n < 3:
        raise ConfigError(explain("a model and n of 3 or more", f"{len(models)} models, n={n}", "Give more."))
    held = data.held_out_batch(Draw(seed, "report")).x.cpu()
    context, found, first = contexts(data, n, seed) if conditional else None, list[Stage](), None
    with tqdm(total=3 * len(models), desc="measuring", disable=shown(progress), leave=False) as bar:
        for name, model in models.items():
            given = None if context is None else context.to(model.device)
            bar.set_postfix_str(f"{name}, bits")
            bits = _bits(model, data, scored, seed, conditional) if scored and model.base.has_density else None
            first = bits if first is None else first
            bar.update()
            bar.set_postfix_str(f"{name}, samples")
            straight = on_lines(model)
            sets = draw_samples(straight, data, (1, MANY), n, seed, conditional)
            few, many = (energy_distance(each.x, held) for each in sets)
            bar.update()
            bar.set_postfix_str(f"{name}, paths")
            paths = straightness(straight, RK4(steps=12), n, seed, given)
            found.append(Stage(name, paths, _less(bits, first), few, many))
            bar.update()
    return Stages(tuple(found))


def _bits(model: Diffusion, data: "Dataset", n: int, seed: int, conditional: bool) -> Estimate:
    trace = ByDimension(above=Hutchinson(probes=2))
    return bits_per_dim(model, data, min(n, len(data.held_out)), RK4(steps=10), trace, seed, conditional)


def _less(bits: Estimate | None, first: Estimate | None) -> Estimate | None:
    """The difference; that of the first stage from itself is 0."""
    if bits is None or first is None:
        return None
    return Estimate(0.0) if bits is first else Estimate(bits.value - first.value, math.hypot(bits.error, first.error))


def _above(one: Estimate, other: Estimate) -> bool:
    """Whether a number is above another by more than twice the error of their difference."""
    return one.value - other.value > 2 * math.hypot(one.error, other.error)
