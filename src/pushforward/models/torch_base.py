"""Any distribution of torch as a base.

Those with a quantile function are sampled by it, each draw a function of its address; the others from torch's own
generator, seeded for each block of draws and put back after.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final, cast

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.models.base import Base

_ROWS: Final = 256
"""Samples drawn from one seed, where torch's own generator must be seeded."""


@dataclass(frozen=True)
class FromTorch(Base):
    """Any `torch.distributions.Distribution` without a batch shape.

    Those with a quantile function are sampled by it. Others are sampled from torch's own generator, seeded for each
    draw and put back after: the same numbers every time, but such a base is not for several threads. Its parameters
    stay where they are: the base has no device, and no weights that a model would count among its own. Outside its
    support its density is 0.

    Args:
        distribution: its event shape is the base's; wrap independent numbers in `Independent`.

    Raises:
        ConfigError: it has a batch shape, or no density over the numbers of its event: counts, points of a simplex.

    >>> from torch.distributions import Independent, Laplace
    >>> FromTorch(Independent(Laplace(torch.zeros(3), 1.0), 1)).sample(2, Draw(0)).shape
    torch.Size([2, 3])
    """

    distribution: Distribution
    shape: tuple[int, ...] = field(default=(), init=False)
    std: float | Tensor = field(default=1.0, init=False)
    within: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.distribution.batch_shape:
            fix = "Wrap it: Independent(distribution, 1)."
            raise ConfigError(explain("no batch shape", f"{tuple(self.distribution.batch_shape)}", fix))
        object.__setattr__(self, "shape", tuple(self.distribution.event_shape))
        object.__setattr__(self, "std", _deviation(self.distribution))
        object.__setattr__(self, "within", _within(self.distribution))

    @property
    def has_rsample(self) -> bool:
        """By the quantile function or torch's own; or if there is no parameter to have a derivative by."""
        if self.distribution.has_rsample or self._by_quantile(torch.full(self.shape, 0.5)) is not None:
            return True
        return not self.log_prob(self.sample(1, Draw(0))).requires_grad

    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        found = self._by_quantile(draw.uniform(n, self.shape).clamp(3e-8, 1 - 6e-8))
        return self._by_generator(n, draw) if found is None else found

    def _by_quantile(self, u: Tensor) -> Tensor | None:
        inner = self.distribution
        while isinstance(inner, Independent):
            inner = inner.base_dist
        try:
            return inner.icdf(u)
        except NotImplementedError:
            return None

    def _by_generator(self, n: int, draw: Draw) -> Tensor:
        drawn = self.distribution.rsample if self.distribution.has_rsample else self.distribution.sample
        first, last = draw.first // _ROWS, (draw.first + max(n, 1) - 1) // _ROWS
        blocks: list[Tensor] = []
        with torch.random.fork_rng(devices=[]):
            for block in range(first, last + 1):
                torch.manual_seed(draw.key(block))
                blocks.append(drawn(torch.Size((_ROWS,))))
        start = draw.first - first * _ROWS
        return torch.cat(blocks)[start : start + n]

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        if self.within is None:
            return self.distribution.log_prob(z)
        inside = cast(Any, self.distribution.support).check(z.detach())
        there = torch.where(inside.reshape(-1, *(1,) * len(self.shape)), z, self.within.to(z))
        none = torch.where(z.detach().isnan().flatten(1).any(1), math.nan, -math.inf)
        return torch.where(inside, self.distribution.log_prob(there), none.to(z))


def _within(distribution: Distribution) -> Tensor | None:
    """A point of a support that is not the whole line; None where it is, or is not known.

    Raises:
        ConfigError: a support without volume.
    """
    try:
        each: Any = distribution.support
    except NotImplementedError:
        return None
    while isinstance(each, constraints.independent):
        each = cast(Any, each).base_constraint
    if getattr(each, "is_discrete", False) or each is constraints.simplex:
        fix = "A flow needs noise with a density; dequantise whole numbers (transforms.UniformDequantization)."
        got = f"a {type(distribution).__name__} on {each}"
        raise ConfigError(explain("a distribution with a density over all numbers of its event", got, fix))
    if each is constraints.real:
        return None
    with torch.random.fork_rng():
        return distribution.sample().detach()


def _deviation(distribution: Distribution) -> float:
    try:
        std = distribution.variance.mean().sqrt().item()
    except NotImplementedError:
        return 1.0
    return std if 0 < std < math.inf else 1.0
