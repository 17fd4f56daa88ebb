"""Sets of samples, and what the distances say of them.

Distances between finite sets of samples are never exactly what they would be for infinitely many, so each stands
above its *floor*: the same distance from as many training events to the same held-out events, what a perfect
sampler would get. Models that integrate are sampled at several numbers of network calls, from the same noise. Where a
path blows the data up (VE, EDM) they are followed on the straight path: a step along the tangent in the path's own time
flies past the data, and a few of them say nothing of the model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from pushforward._random import Draw
from pushforward._typing import Context, Sample
from pushforward.models import Diffusion, FlowMap, Model, NormalizingFlow
from pushforward.models.straight import walk
from pushforward.report.bits import bits_per_dim
from pushforward.report.classifier import Judge
from pushforward.report.distances import (
    energy_distance,
    frechet_distance,
    median_bandwidths,
    mmd,
    nearest_distances,
)
from pushforward.report.estimate import Estimate
from pushforward.report.straightness import on_lines
from pushforward.solvers import RK4, Euler, Hutchinson, Jumps, Solver

if TYPE_CHECKING:
    from pushforward.data import Dataset


_MANY_TIMES: Final = 2.0


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of a model, and what they cost.

    Args:
        title: what they are called on the page.
        calls: network calls per sample; a normalizing flow takes one pass.
        x: the samples in model units, on the CPU, [n, *event].
        context: what they were conditioned on, or None.
    """

    title: str
    calls: int
    x: Sample
    context: Context = None


@dataclass(frozen=True, slots=True)
class Row:
    """What the distances say of one set of samples.

    Args:
        title: which samples.
        calls: what they cost; None for real data.
        energy, mmd, frechet: the distances to held-out data, the last in the judge's features.
        nearest: the median distance to the nearest training event.
    """

    title: str
    calls: int | None
    energy: Estimate
    mmd: Estimate
    frechet: Estimate
    nearest: float


def shown(progress: bool) -> bool | None:
    """tqdm's `disable`: bars are for terminals, and for those who ask."""
    return None if progress else True


def is_conditional(model: Model, data: "Dataset") -> bool:
    """Whether the data have classes and one of the model's networks was made for some."""
    return data.context is not None and any(bool(getattr(m, "classes", 0)) for m in model.modules())


def solver_for(calls: int, model: Diffusion) -> Solver:
    """Euler for one call or an odd number, `walk` for an even number from four: what `calls` network calls buy best."""
    even = calls >= 4 and calls % 2 == 0
    return walk(model.path, model.prediction, calls // 2) if even else Euler(steps=calls)


def _blows_up(model: Diffusion) -> bool:
    """Whether noise is many times as large as the data."""
    return model.path.coefficients(torch.tensor([model.span[1]], dtype=torch.float64)).sigma.item() > _MANY_TIMES


def jumps_of(model: FlowMap, calls: int) -> Solver:
    """The model's own way of jumping, so many times: fresh noise in between where it knows jumps to data alone."""
    return replace(model.solver, steps=calls) if isinstance(model.solver, Jumps) else Jumps(calls)


def draw_samples(
    model: Model,
    data: "Dataset",
    calls: Sequence[int],
    n: int,
    seed: int = 0,
    conditional: bool = False,
    chunk: int = 256,
) -> tuple[Samples, ...]:
    """`n` samples per number of network calls, all from the same noise; one set if the model does not integrate."""
    context = contexts(data, n, seed) if conditional else None
    if not isinstance(model, Diffusion | FlowMap):
        x, spent = _sampled(model, n, None, seed, context, chunk)
        spent = 1 if isinstance(model, NormalizingFlow) else spent  # its states are transforms
        return (Samples("samples", spent, x, context),)
    sets: list[Samples] = []
    if isinstance(model, Diffusion) and _blows_up(model):
        model = on_lines(model)
    for each in calls:
        solver = jumps_of(model, each) if isinstance(model, FlowMap) else solver_for(each, model)
        x, spent = _sampled(model, n, solver, seed, context, chunk)
        sets.append(Samples(f"{spent} network call{'s' if spent > 1 else ''}", spent, x, context))
    return tuple(sets)


def compare(sets: Sequence[Samples], data: "Dataset", critic: Judge, seed: int = 0) -> tuple[Row, ...]:
    """A row per set of samples, and last the floor: as many training events in place of samples."""
    draw = Draw(seed, "report")
    count = min(len(sets[0].x), len(data.values))
    held, train = data.held_out_batch(draw).x.cpu(), data.train_batch(draw).x.cpu()
    widths, features = median_bandwidths(held, held), critic.features(held)

    def row(title: str, calls: int | None, x: Tensor, near: Tensor) -> Row:
        frechet = frechet_distance(critic.features(x), features, min(20, len(x) // 2, len(held) // 2))
        nearest = float(nearest_distances(near, train).median())
        return Row(title, calls, energy_distance(x, held), mmd(x, held, widths), frechet, nearest)

    floor = row("floor: real data", None, train[:count], held)
    return (*(row(s.title, s.calls, s.x, s.x) for s in sets), floor)


def likelihood(model: Model, data: "Dataset", seed: int = 0, conditional: bool = False) -> Estimate | None:
    """Held-out bits per dimension; models that integrate in many dimensions estimate the divergence by probes.

    None where samples start from what has no density.
    """
    if not model.base.has_density:
        return None
    if not isinstance(model, Diffusion | FlowMap):
        return bits_per_dim(model, data, seed=seed, conditional=conditional)
    trace = Hutchinson() if math.prod(data.shape) > 8 else None
    n = min(len(data.held_out), 512)
    return bits_per_dim(model, data, n, RK4(steps=10), trace, seed, conditional)


def contexts(data: "Dataset", n: int, seed: int = 0) -> Tensor:
    """Contexts of training events drawn at random, [n, ...]."""
    assert data.context is not None
    rows = (Draw(seed, "report/context").uniform(n) * len(data.context)).long()
    return data.context[rows]


@torch.no_grad()
def _sampled(
    model: Model, n: int, solver: Solver | None, seed: int, context: Context, chunk: int
) -> tuple[Tensor, int]:
    """Samples on the CPU and the calls they took."""
    parts: list[Tensor] = []
    calls = 0
    for first in range(0, n, chunk):
        size = min(chunk, n - first)
        part = None if context is None else context[first : first + size].to(model.device)
        x = z = model.noise(size, seed, first, part)
        for state in model.decoding(z, part, solver, Draw(seed, "solver", first=first, device=str(model.device))):
            x, calls = state.x, state.nfe
        parts.append(x.cpu())
    return torch.cat(parts), calls
