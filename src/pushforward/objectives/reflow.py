"""Reflow: train again on the pairs that a trained flow makes, and the paths straighten.

The flow carries noise eps to x0 = decode(eps). Those pairs are a coupling whose straight lines cross less than
independent pairs' do, so a flow regressed on them is straighter and needs fewer steps. Pairs may also start from real
data, (x0, encode(x0)): their data end is exact, which keeps quality from eroding. The noise end is always eps of the
line x_t = alpha x0 + sigma eps, whatever the scale of the model's own noise (`ends.py`).

    S(flow) = E int_0^1 |(eps - x0) - v_t|**2 dt        the straightness, 0 when one Euler step is exact

A first flow is straight already if its own pairs were `matched` among many events.

References: Liu et al. 2022 (arXiv 2209.03003); Tong et al. 2023 (arXiv 2302.00482) for optimal plans, and
Mousavi-Hosseini et al. 2025 (arXiv 2509.25519) for plans among more than a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.data.order import order
from pushforward.models.model import Model
from pushforward.objectives.ends import Ends
from pushforward.paths import Coupling
from pushforward.paths.coupling import groups
from pushforward.solvers import Solver


@dataclass(frozen=True, slots=True)
class Pairs:
    """Matched ends of trajectories, served as a data set.

    Args:
        x: the data ends, [pairs, *event].
        eps: the noise ends, [pairs, *event], in units of eps.
        context: what each pair is conditioned on, or None.
    """

    x: Tensor
    eps: Tensor
    context: Tensor | None = None

    def __post_init__(self) -> None:
        if self.x.shape != self.eps.shape or len(self.x) == 0:
            raise ShapeError(
                f"Expected as many data as noise ends, at least one; got {tuple(self.x.shape)} and "
                f"{tuple(self.eps.shape)}. Make them with objectives.pairs(model, n)."
            )
        for name in ("x", "eps"):  # data, whatever graph made them
            object.__setattr__(self, name, getattr(self, name).detach())

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one event."""
        return tuple(self.x.shape[1:])

    def __len__(self) -> int:
        return len(self.x)

    def __add__(self, other: "Pairs") -> "Pairs":
        """Both sets in one: sampled pairs and pairs that start from real data mix this way."""
        if (self.context is None) != (other.context is None):
            raise ShapeError("Expected pairs that both have a context, or neither; got one of each. Drop it or add it.")
        both = None if self.context is None or other.context is None else torch.cat([self.context, other.context])
        return Pairs(torch.cat([self.x, other.x]), torch.cat([self.eps, other.eps]), both)

    def batches(self, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Endless batches; each epoch is a fresh order, a function of the draw alone. Rank r gets its slice of each."""
        for _, rows in order(len(self), size, draw, start, rank, world):
            yield Batch(self.x[rows], None if self.context is None else self.context[rows], self.eps[rows])


@torch.no_grad()
def pairs(
    model: Model,
    n: int,
    solver: Solver | None = None,
    seed: int = 0,
    context: Tensor | None = None,
    batch: int = 1024,
    progress: bool = False,
) -> Pairs:
    """`n` pairs of noise and the sample the model carries it to. Pair i depends on (seed, i) alone."""
    samples, noises, ends = list[Tensor](), list[Tensor](), Ends.of(model)
    for first in tqdm(range(0, n, batch), desc="pairs", disable=not progress, leave=False):
        count = min(batch, n - first)
        part = None if context is None else context[first : first + count]
        z = model.noise(count, seed, first, part)
        samples.append(model.decode(z, part, solver))
        noises.append(ends.eps(samples[-1], z))
    return Pairs(torch.cat(samples), torch.cat(noises), context)


@torch.no_grad()
def matched(
    x: Tensor, coupling: Coupling, seed: int = 0, context: Tensor | None = None, among: int = 4096,
    progress: bool = False,
) -> Pairs:  # fmt: skip
    """Data and the noise that a coupling gives them, `among` events at a time: straighter lines than batches have.

    The plan that moves few points least differs from the one that moves whole distributions least, and the network
    averages over the difference. Among 4,096 points it is a fraction of that among 256; each is solved once, before
    training, and no batch waits for it. An event keeps its noise: repeat those of a small data set, so that each is
    seen with several. Classes are never mixed, and as many events of one as possible are matched at once.

    Args:
        x: events in the model's units, [n, *event].
        coupling: how they are paired; `paths.OptimalTransport()`.
        seed: of the noise.
        context: what each event is conditioned on, [n, *context], or None.
        among: how many are matched at once; the cost of a plan grows with the square, and more.
        progress: show how far it is.

    Raises:
        ConfigError: `among` below 1.

    >>> from pushforward.paths import Independent
    >>> matched(torch.zeros(8, 2), Independent(), among=4).eps.shape
    torch.Size([8, 2])
    """
    if among < 1:
        raise ConfigError(explain("1 event or more to be matched at once", f"among={among}", "4096 is usual."))
    rows = torch.cat(groups(context, len(x)))
    ends: list[Tensor] = []
    for block, these in enumerate(tqdm(rows.split(among), desc="matching", disable=not progress, leave=False)):
        given = None if context is None else context[these]
        ends.append(coupling.pair(x[these], given, Draw(seed, "matched", block)).to(x))
    return Pairs(x[rows], torch.cat(ends), None if context is None else context[rows])


@torch.no_grad()
def pairs_from(model: Model, x: Tensor, solver: Solver | None = None, context: Tensor | None = None) -> Pairs:
    """Pairs whose data ends are the given (real) events, and whose noise the model encodes them to."""
    return Pairs(x, Ends.of(model).eps(x, model.encode(x, context, solver)), context)
