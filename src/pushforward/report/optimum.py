"""How far a network is from the optimum of its own training, and whether it has its training set by heart.

The regression loss of a finite training set is lowest for one denoiser, known in closed form (`models.empirical`):
it answers with a mean of training events, weighted by how well each explains x_t. A network that reached it could only
repeat them, so at small noise a good network is *not* there. Two readings along the path, noise growing:

    gap        sqrt(E |D - D*|**2 / E |x0 - mean|**2)           on noised training events
    nearest    median distance from D(x_t) to the nearest training event,   on noised held-out events

D is the network's denoiser, D* the optimum. The gap is near 0 where there is so much noise that both say the mean, and
where the network has learned what can be told from x_t; it rises where the optimum picks single events. Held-out
events are some distance from the training set, and a network that generalises answers at that distance; one that
remembers answers on the training set, as the optimum does.

Values of levels are spread over their cells when trained on, hence D* has a normal of a cell's standard deviation
around each event, in place of the cell.

References: Yi et al. 2023 (arXiv 2310.06545), Kadkhodaie et al. 2023 (arXiv 2310.02557), Gu et al. 2023
(arXiv 2310.02664).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, Sample, Time
from pushforward.models import Diffusion, empirical
from pushforward.report import plots
from pushforward.report.distances import nearest_distances
from pushforward.report.page import Figure, Section, picture

if TYPE_CHECKING:
    from pushforward.data import Dataset

LARGEST = 2**24
"""Numbers in a training set up to which a report compares with its optimum."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A network beside the optimum of its training set, at several times.

    Args:
        times: t, rising.
        gap: of the network to the optimum, in standard deviations of the data.
        nearest, nearest_optimal: from the network's and the optimum's answers to the nearest training event.
        held_out: the same from held-out events themselves, to which those answers compare.
    """

    times: tuple[float, ...]
    gap: tuple[float, ...]
    nearest: tuple[float, ...]
    nearest_optimal: tuple[float, ...]
    held_out: float


@torch.no_grad()
def optimality_gap(
    model: Diffusion, data: "Dataset", times: int = 12, n: int = 256, seed: int = 0, conditional: bool = False
) -> Gap:
    """Compare a network with the optimal denoiser of its training set.

    Args:
        model: whose denoiser is asked; in the mode it is in.
        data: what it was trained on.
        times: how many, sigma / alpha rising evenly in its logarithm from 0.1 to 20.
        n: events noised at each time, of each part of the data; as many as there are, if fewer.
        seed: of the noise.
        conditional: whether the model takes the data's classes; the optimum then takes them too.

    Raises:
        ConfigError: fewer than two times, or a context that is not one class per event.
    """
    if times < 2 or (conditional and not _has_classes(data)):
        got = f"{times=}" if times < 2 else "a context of another kind"
        raise ConfigError(explain("two times or more, and classes as context if any", got, "Pass conditional=False."))
    optimum = _optimum(model, data, conditional)
    draw = Draw(seed, "report/optimum")
    train, held = data.train_batch(draw), data.held_out_batch(draw, min(n, len(data.held_out)))
    some = train.x[:n]
    spread = (some - train.x.mean(0)).square().mean().sqrt().item()

    def answers(x: Sample, context: Context, t: float) -> tuple[Tensor, Tensor]:
        x, given = x.to(model.device), context.to(model.device) if conditional and context is not None else None
        now = x.new_full((len(x),), t)
        x_t = model.path.mix(x, draw.normal(len(x), model.shape).to(x), now)
        return model.denoiser(x_t, now, given).cpu(), optimum.denoiser(x_t, now, given).cpu()

    marks = _times(model, times)
    first, rest = train.context, held.context
    known = [answers(some, None if first is None else first[:n], t) for t in marks]
    new = [answers(held.x, rest, t) for t in marks]
    return Gap(
        tuple(marks),
        tuple((a - b).square().mean().sqrt().item() / spread for a, b in known),
        tuple(nearest_distances(a, train.x.cpu()).median().item() for a, _ in new),
        tuple(nearest_distances(b, train.x.cpu()).median().item() for _, b in new),
        nearest_distances(held.x.cpu(), train.x.cpu()).median().item(),
    )


def gap_plot(gap: Gap) -> Drawing:
    """Two pictures side by side over t: the gap, and the distances to the nearest training event."""
    figure = Drawing(figsize=(7.2, 2.7), dpi=200, layout="constrained")
    figure.patch.set_alpha(0)
    left, right = figure.subplots(1, 2)
    left.plot(gap.times, gap.gap, color=plots.BLUE, linewidth=1.8)
    right.axhline(gap.held_out, color=plots.INK, linewidth=1.2, linestyle="--", label="held-out events")
    right.plot(gap.times, gap.nearest, color=plots.BLUE, linewidth=1.8, label="network's answers")
    right.plot(gap.times, gap.nearest_optimal, color=plots.ORANGE, linewidth=1.8, label="optimum's answers")
    right.legend(frameon=False, labelcolor=plots.INK, fontsize=8, loc="lower right")
    for axes, title in ((left, "gap to the optimum"), (right, "distance to the nearest training event")):
        axes.set_title(title, color=plots.INK, fontsize=9, loc="left")
        axes.set_xlabel("t", color=plots.INK, fontsize=9)
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.patch.set_alpha(0)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(plots.INK)
            spine.set_linewidth(0.6)
        axes.tick_params(colors=plots.INK, labelsize=8, width=0.6, labelcolor=plots.INK)
        axes.grid(True, color=plots.INK, linewidth=0.4, alpha=0.35)
    return figure


def optimum_section(model: Diffusion, data: "Dataset", seed: int = 0, conditional: bool = False) -> Section:
    """The network beside the optimum of its training set: what it has not learned, and what it has not by heart."""
    gap = optimality_gap(model, data, seed=seed, conditional=conditional)
    share, best = gap.nearest[0] / gap.held_out, gap.nearest_optimal[0] / gap.held_out
    caption = (
        "Left: distance of the network's denoiser from the one that is optimal for the training events, which can only "
        "repeat them, in standard deviations of the data. Right: median distance to the nearest training event, "
        f"starting from held-out events. At t = {gap.times[0]:.2g} the network's answers are {share:.2f} times as far "
        f"from the training events as held-out events are, the optimum's {best:.2f} times: "
        "near 1 is a network that generalises, near the optimum one that remembers."
    )
    drawn = picture(gap_plot(gap), "", "gap to the optimal denoiser and distance to training events against t")
    return Section("Memory", (Figure(caption, (drawn,)),))


def has_optimum(data: "Dataset", conditional: bool = False) -> bool:
    """Whether a report can afford the optimum of these data, and knows it."""
    return (
        data.stream is None
        and len(data.values) * math.prod(data.shape) <= LARGEST
        and (not conditional or _has_classes(data))
    )


def _optimum(model: Diffusion, data: "Dataset", conditional: bool) -> Diffusion:
    """The optimal model on the same path, around the middles of cells where values are levels."""
    values = data.values
    if data.scaling.levels is None:
        centres, std = data.scaling.to_model(values, None), 0.0
    else:
        low, middle, high = (data.scaling.to_model(values, torch.full(values.shape, u)) for u in (0.0, 0.5, 1.0))
        centres, std = middle, (high - low).mean().item() / math.sqrt(12)
    labels = data.context if conditional else None
    return empirical(centres.to(model.device), model.path, labels=labels, std=std)


def _has_classes(data: "Dataset") -> bool:
    context = data.context
    return context is not None and context.ndim == 1 and not context.is_floating_point()


def _times(model: Diffusion, count: int) -> list[float]:
    ratio = torch.logspace(math.log10(0.1), math.log10(20), count, dtype=torch.float64)
    t: Time = model.path.time_at(torch.ones_like(ratio), ratio).nan_to_num(1.0)
    return sorted(set(t.clamp(max(model.span[0], 1e-3), min(model.span[1], 1 - 1e-3)).tolist()))
