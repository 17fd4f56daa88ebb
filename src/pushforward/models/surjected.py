"""A flow behind surjections: whole numbers, absolute values, sets, with the likelihoods that can be had.

Transforms may stand between them; what they gain is their ladj.

    z_0 = x,   (z_k, gain_k) = encode_k(z_{k-1}, draw),     log p(x) >= E[ log p_flow(z) + sum_k gain_k ]

with equality if every surjection is exact. With K draws of the noise the bound is

    E log 1/K sum_j exp( log p_flow(z^j) + sum_k gain_k^j ),

which rises to log p(x) as K grows (Burda et al. 2015, arXiv 1509.00519).
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import nn

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw, fresh_seed
from pushforward._typing import Context, PerSample, Sample
from pushforward.models.audit import Audit, Finding
from pushforward.models.conditioning import fitted
from pushforward.models.diffusion import Diffusion
from pushforward.models.flow import NormalizingFlow
from pushforward.models.model import Model
from pushforward.transforms.surjection import Surjection
from pushforward.transforms.transform import Transform

_CLOSE: Final = 1e-5


class Surjected(nn.Module):
    """Surjections, then a flow.

    Not a `Model`, as three of a model's words would not be true of it:

        encode               is drawn and not computed: two calls differ, so decode(encode(x)) = x is no test of it,
                             and the likelihood that follows is a bound on average, of no one density
        decode_and_ladj      has no ladj: a cell of volume goes to one point, or one point to several
        shape                is one for data and noise in a model; `Slice` drops numbers, and events have another
                             shape before it than after

    What remains true has a model's names: `sample`, `audit`, `log_prob` where it is exact. `bound` is there for all.
    (A flow of whole numbers that has to be a model: train it on a data set of levels, whose `Scaling` spreads them.)

    Args:
        surjections: in the order in which data meet them, transforms among them.
        flow: the distribution of what they hand on.

    Raises:
        ConfigError: a member that is neither.

    >>> from pushforward.models import real_nvp
    >>> from pushforward.transforms import UniformDequantization
    >>> flow = real_nvp((2,), couplings=2, hidden=8, support=(0.0, 1.0))
    >>> model = Surjected([UniformDequantization(4)], flow)
    >>> bool((model.sample(5, seed=0) <= 3).all()), model.exact
    (True, False)
    """

    def __init__(self, surjections: Sequence[Surjection | Transform], flow: Model):
        super().__init__()
        for each in surjections:
            if not isinstance(each, Surjection | Transform):
                fix = "Put networks inside of these."
                raise ConfigError(explain("surjections and transforms", f"a {type(each).__name__}", fix))
        self.surjections, self.flow = nn.ModuleList(surjections), flow

    @property
    def exact(self) -> bool:
        """Whether `bound` is log p(x) itself."""
        return not self._vague()

    def bound(self, x: Sample, context: Context = None, draws: int = 1, seed: int | None = None) -> PerSample:
        """A lower bound on log p(x) in nats, on average over the draw; log p(x) itself if `exact`. [batch]

        Args:
            x: data; whole numbers of any type where a surjection takes them.
            context: handed to every member.
            draws: K, of the noise; more are tighter.
            seed: of the noise; from torch's default generator if None.

        Raises:
            ConfigError: no draw.
        """
        if draws < 1:
            raise ConfigError(explain("one draw or more", f"{draws}", "1 is the usual bound."))
        context = fitted(self.flow, context, len(x))
        address = Draw(fresh_seed() if seed is None else seed, "bound", device=str(x.device))
        each = torch.stack([self._once(x, address.at(k), context) for k in range(draws)])
        return each.logsumexp(0) - math.log(draws)

    def log_prob(self, x: Sample, context: Context = None) -> PerSample:
        """log p(x) in nats, [batch], where every surjection is exact; draws then change nothing.

        Raises:
            ConfigError: some surjection is not exact.
        """
        if not self.exact:
            fix = "Ask for bound(x, draws=16), a lower bound on average."
            raise ConfigError(explain("surjections whose likelihood is exact", f"a {self._vague()[0]}", fix))
        return self.bound(x, context, seed=0)

    @torch.no_grad()
    def sample(self, n: int, context: Context = None, seed: int | None = None, first: int = 0) -> Sample:
        """`n` new events; sample i depends on (seed, first + i) alone."""
        seed, context = fresh_seed() if seed is None else seed, fitted(self.flow, context, n)
        x = self.flow.sample(n, context, seed=seed, first=first)
        for k, member in reversed(list(enumerate(self._members()))):
            x = _back(member, x, Draw(seed, f"surjection/{k}", first=first, device=str(x.device)), context)
        return x

    @torch.no_grad()
    def audit(self, x: Sample, context: Context = None, seed: int = 0) -> Audit:
        """The flow's audit on what the surjections make of these data, and whether they hand back what they were given.

        Surjections draw in one direction and lose in the other, so x itself need not come back: that encoding what was
        decoded gives z again, with the same draws, is true of all. Neither the bound's gap nor what symmetry a
        surjection takes for granted (`Absolute`, `Sort`) is looked at.

        Raises:
            ConfigError: a flow without an audit.
        """
        if not isinstance(self.flow, NormalizingFlow | Diffusion):
            fix = "Audit what it follows: model.flow.velocities.audit(...), say."
            raise ConfigError(explain("a flow with an audit", f"a {type(self.flow).__name__}", fix))
        looked_at = copy.deepcopy(self).eval()
        start = Draw(seed, "audit", device=str(x.device))
        z = x.to(next((weight.dtype for weight in self.parameters()), x.dtype))
        worst, name = 0.0, ""
        for k, member in enumerate(looked_at._members()):
            draw = start.of(str(k))
            z = _there(member, z, draw, context)[0]
            again = _there(member, _back(member, z, draw, context), draw, context)[0]
            worst, name = max((worst, name), ((again - z).abs().max().item(), type(member).__name__))
        found = self.flow.audit(z, context, seed)
        words = "come back" if worst <= _CLOSE else f"do not come back from {name}: are data of the kind that it takes?"
        return replace(found, findings=(Finding("surjections", worst, _CLOSE, words), *found.findings))

    def _once(self, x: Sample, draw: Draw, context: Context) -> PerSample:
        x = x if x.is_floating_point() else x.to(next((w.dtype for w in self.parameters()), torch.get_default_dtype()))
        total = x.new_zeros(len(x))
        for k, member in enumerate(self._members()):
            x, gain = _there(member, x, draw.of(str(k)), context)
            total = total + gain
        return self.flow.log_prob(x, context) + total

    def _members(self) -> list[Surjection | Transform]:
        return [each for each in self.surjections if isinstance(each, Surjection | Transform)]

    def _vague(self) -> list[str]:
        """The names of those whose likelihood is a bound."""
        return [type(each).__name__ for each in self._members() if isinstance(each, Surjection) and not each.exact]


def _there(member: Surjection | Transform, x: Sample, draw: Draw, context: Context) -> tuple[Sample, PerSample]:
    return member.encode(x, draw, context) if isinstance(member, Surjection) else member.encode(x, context)


def _back(member: Surjection | Transform, z: Sample, draw: Draw, context: Context) -> Sample:
    return member.decode(z, draw, context) if isinstance(member, Surjection) else member.decode(z, context)[0]
