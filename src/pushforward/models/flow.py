"""Normalizing flows: a base distribution pushed forward by a chain of invertible transforms.

    x = decode(z),  z ~ base
    log p(x) = log base(encode(x)) + sum_k log |det dT_k|

Likelihoods and samples are exact and both cost one pass. Decoding is a trajectory like any other: after the
k-th of n transforms the time is 1 - k/n, so noise stands at t = 1 and data at t = 0, and an edit by `send`
goes on from the edited value. There is nothing to integrate, hence solvers are accepted and ignored. A flow is a
Python sequence of its transforms, as its chain is.

The event has one shape throughout: transforms see any shape, and images need no flattening.

References:
    Rezende, Mohamed 2015, arXiv 1505.05770 (the name); Dinh, Krueger, Bengio 2014, arXiv 1410.8516.
"""

import copy
import math
from collections.abc import Sequence
from typing import TypeVar, overload

import torch

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.data.batch import Batch
from pushforward.models.audit import Audit, audit
from pushforward.models.base import Base
from pushforward.models.model import Model
from pushforward.solvers.state import Solver, State, Trajectory
from pushforward.transforms import (
    Chain,
    Coupling,
    Elementwise,
    Exp,
    Inverse,
    Logit,
    Permutation,
    Reshape,
    SoftClip,
    Spline,
    Steps,
    Tanh,
    Transform,
)
from pushforward.transforms.start import begin

_Model = TypeVar("_Model", bound=Model)


class NormalizingFlow(Model, Sequence[Transform]):
    """A chain of transforms over a base; a sequence of these transforms, whose slices are chains.

    Args:
        chain: data to noise, in the order in which data meet its transforms; one transform alone will do.
        base: the distribution of the noise; its shape is the event's.

    >>> from pushforward.models.base import Normal
    >>> from pushforward.transforms import DiagonalScale, Shift
    >>> flow = NormalizingFlow(Chain(Shift((2,)), DiagonalScale((2,))), Normal((2,)))
    >>> round(flow.log_prob(torch.zeros(1, 2)).item(), 4)
    -1.8379
    >>> [state.t[0].item() for state in flow.trajectory(1, seed=0)]
    [0.5, 0.0]
    >>> [type(transform).__name__ for transform in flow], len(flow[1:])
    (['Shift', 'DiagonalScale'], 1)
    """

    def __init__(self, chain: Transform, base: Base):
        super().__init__()
        self.chain = chain if isinstance(chain, Chain) else Chain(chain)
        self.base = base

    def decoding(
        self, z: Sample, context: Context = None, solver: Solver | None = None, draw: Draw | None = None
    ) -> Trajectory:
        """One state after each transform, from t = 1 down to 0; `x0` is `x` and `nfe` counts transforms."""
        context = self._given(z, context)
        for done, transform in enumerate(reversed(self.chain), start=1):
            z, _ = transform.decode(z, context)
            edited = yield State(z, z.new_full((len(z),), 1 - done / len(self.chain)), z, done)
            z = z if edited is None else edited
        return z

    def encode(self, x: Sample, context: Context = None, solver: Solver | None = None) -> Sample:
        return self.encode_and_ladj(x, context)[0]

    def encode_and_ladj(
        self, x: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        return self.chain.encode(x, self._given(x, context))

    def decode_and_ladj(
        self, z: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        return self.chain.decode(z, self._given(z, context))

    def encode_steps(self, x: Sample, context: Context = None) -> Steps:
        """(value, ladj so far) after each transform, from data to noise; `send` edits, as in `Chain.encode_steps`."""
        return self.chain.encode_steps(x, self._given(x, context))

    def decode_steps(self, z: Sample, context: Context = None) -> Steps:
        """(value, ladj so far) after each transform, from noise to data; `send` edits. `decoding` has times instead."""
        return self.chain.decode_steps(z, self._given(z, context))

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval of every number of data, as far as the first transforms tell; infinite if they do not."""
        return _bounds(self.chain, self.base)

    def audit(self, x: Sample, context: Context = None, seed: int = 0) -> Audit:
        """Whether the flow is what it claims to be, measured on these data; print the result."""
        return audit(self, x, context, seed)

    def __len__(self) -> int:
        return len(self.chain)

    def __bool__(self) -> bool:
        """A flow is true, as every module is, if it has no transform even."""
        return True

    @overload
    def __getitem__(self, index: int) -> Transform: ...
    @overload
    def __getitem__(self, index: slice) -> Chain: ...
    def __getitem__(self, index: int | slice) -> Transform | Chain:
        return self.chain[index]


def prepare(flow: _Model, batch: Batch | Sample) -> _Model:
    """A copy of an untrained flow whose shifts and scales start where these data want them.

    Data run through the chain once; each `Shift` met is set to centre what reaches it, each `DiagonalScale`
    to give it the base's standard deviation: s = log(std of the base / std of the data). Nothing else
    changes, the flow given least of all. Without it a diagonal that starts at 0 crawls to its place at the
    pace of the learning rate.

    Args:
        flow: any flow; those without shifts and scales come back as they are, as do models that integrate (`ffjord`),
            so that a loop over named flows needs no exception.
        batch: at least two events (the whole training split, if it fits) with their context; events alone will do.

    Returns:
        A new model of the same kind, sharing no parameters with the old.

    Raises:
        ConfigError: one event alone, which has no spread.

    References:
        The idea is Glow's actnorm (Kingma, Dhariwal 2018, arXiv 1807.03039), applied to NICE's diagonal.
    """
    batch = batch if isinstance(batch, Batch) else Batch(batch)
    if len(batch) < 2:
        raise ConfigError(explain("at least two events to start from", f"{len(batch)}", "Give a larger batch."))
    started = copy.deepcopy(flow)
    if not isinstance(started, NormalizingFlow):
        return started
    with torch.no_grad():
        begin(started.chain, batch.x, batch.context, float(torch.as_tensor(started.base.std).mean()))
    return started


def _bounds(chain: Chain, base: Base) -> tuple[float, float]:
    if len(chain) == 0:
        return base.low, base.high
    first, rest = chain[0], Chain(*chain[1:])
    match first:
        case Chain():
            return _bounds(first + rest, base)
        case Permutation() | Reshape() | Inverse(transform=Permutation() | Reshape()):
            return _bounds(rest, base)
        case Logit():
            return first.bounds
        case Inverse(transform=Elementwise(monotone=Exp())):
            return 0.0, math.inf
        case Inverse(transform=Elementwise(monotone=Tanh(bound=bound) | SoftClip(bound=bound))):
            return -bound, bound
        case Elementwise(monotone=Spline(tails="circular") as spline):
            return spline.low, spline.high
        case Coupling(monotone=Spline(tails="circular") as spline):  # what it keeps is bounded by the rest, if at all
            low, high = _bounds(rest, base)
            return min(spline.low, low), max(spline.high, high)
        case _:
            return -math.inf, math.inf
