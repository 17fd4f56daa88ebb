"""Autoregression: each number of an event is changed by an amount computed from the numbers before it.

    z_i = g(x_i; m_i(x_<i, c))        g increasing in its first argument, m any causal network

The Jacobian is triangular: ladj is the sum of log g' over the numbers, and encoding is one call of m. Decoding
needs x_<i before x_i, in D steps one after the other, and there are two ways never to do D calls of m:

    walk      m computes each hidden unit once, when what it depends on is known: the D steps together cost
              the arithmetic of one call
    Jacobi    x <- g^-1(z; m(x)) for all numbers at once, from any start: after k rounds the first k levels are
              exact, and trained flows stand still after ten or so

Either way the answer is certified by a last full call of m, which gives ladj as well; and it is differentiable
as a function of z, of the parameters and of the context (`implicit.py`).

A masked autoregressive flow (MAF) encodes in one call; turned round by `Inverse`, it is the inverse one (IAF),
which decodes in one. A graph other than the chain gives any Bayesian network, two levels a coupling.

References:
    Kingma et al. 2016, arXiv 1606.04934 (IAF). Papamakarios, Pavlakou, Murray 2017, arXiv 1705.07057 (MAF).
    Song, Meng, Liao, Ermon 2021, arXiv 2002.03629 (Jacobi iterations for feedforward computation).
"""

from collections.abc import Generator
from typing import Literal, Protocol

import torch
from torch import Tensor

from pushforward._derivatives import refuse_vmap, transformed, whole
from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.implicit import solution
from pushforward.transforms.monotone import Monotone
from pushforward.transforms.reordering import put_back, reordered
from pushforward.transforms.transform import Transform

Method = Literal["auto", "walk", "jacobi"]


class Causal(Protocol):
    """What a network must offer: parameters for each number, from those before it.

    `order` says which number stands at each place, `sizes` how many places each level has. `placed` maps numbers
    in that order, [batch, n], to parameters [batch, n, k]; `walk` is a generator that yields the parameters of a
    level [batch, places, k] and is sent that level's numbers [batch, places], without gradients.
    """

    order: Tensor
    sizes: tuple[int, ...]

    def placed(self, x: Tensor, context: Context = None) -> Tensor:
        """Parameters [batch, n, k] of numbers [batch, n], both in `order`."""
        ...

    def walk(self, n: int, context: Context = None) -> Generator[Tensor, Tensor, None]:
        """The parameters of each level in turn, for a batch of `n`."""
        ...


class Autoregressive(Transform):
    """z_i = g(x_i; m_i(x_<i)): MAF with an affine g, a neural spline flow with a spline.

    Args:
        monotone: g, and how many parameters it reads.
        conditioner: m, causal (`nets.MaskedDense`); it sees the event laid out flat.
        method: how to decode: "walk", whose time is known beforehand, or "jacobi", whose time depends on the flow;
            "auto" tries Jacobi where the samples are no more than the levels, which are 16 or more, and walks if
            numbers do not stand still after a quarter of the rounds.
        tolerance: largest error of a decoded number, relative to 1 + its size; checked by a call of m.

    Raises:
        ConfigError: no such method. (From `decode`: PushforwardError, if the tolerance is not met.)

    >>> from pushforward.nets import MaskedDense
    >>> from pushforward.transforms.monotone import Affine
    >>> layer = Autoregressive(Affine(), MaskedDense(3, 2, hidden=16, zero_output=False))
    >>> x = torch.randn(5, 3)
    >>> torch.allclose(layer.decode(layer.encode(x)[0])[0], x, atol=1e-5)
    True
    """

    def __init__(self, monotone: Monotone, conditioner: Causal, method: Method = "auto", tolerance: float = 1e-5):
        super().__init__()
        if method not in ("auto", "walk", "jacobi"):
            raise ConfigError(explain("'auto', 'walk' or 'jacobi'", repr(method), "'auto' suits most flows."))
        self.monotone, self.conditioner, self.tolerance = monotone, conditioner, tolerance
        self.method: Method = method
        self._looked_at: tuple[Tensor, int, int] | None = None

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        run = self._run()
        z, ladj = self._placed(self._in_order(x, run), context)
        return self._back(z, x, run), ladj.sum(1)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        refuse_vmap(z, context)
        run = self._run()
        wanted = self._in_order(z, run)
        with torch.no_grad():
            x = self._search(wanted, context).T.contiguous().T  # as `_in_order` lays numbers out
        levels = len(self.conditioner.sizes)
        x, ladj = solution(lambda v: self._placed(v, context), x, wanted, levels, self.tolerance)
        return self._back(x, z, run), -ladj.sum(1)

    def _placed(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        params = self.conditioner.placed(x, context)
        if params.shape != (*x.shape, self.monotone.size):
            wanted = f"parameters of shape {(*x.shape, self.monotone.size)}"
            fix = f"Build the conditioner with {self.monotone.size} output(s) for each number."
            raise ShapeError(explain(wanted, f"{tuple(params.shape)}", fix))
        if params.stride(0) != 1:
            x = x.contiguous()
        return self.monotone.encode(x, params)

    def _search(self, z: Tensor, context: Context) -> Tensor:
        levels = len(self.conditioner.sizes)
        if self.method == "jacobi":
            return self._jacobi(z, context, levels)[0]
        if self.method == "auto" and max(16, len(z)) <= levels and bool(z.isfinite().all()):
            x, still = self._jacobi(z, context, levels // 4)
            if still:
                return x
        return self._walk(z, context)

    def _walk(self, z: Tensor, context: Context) -> Tensor:
        """Level by level, each hidden unit computed once."""
        walk = self.conditioner.walk(len(z), context)
        params, known = next(walk), list[Tensor]()
        parts = z.split(self.conditioner.sizes, 1)
        for part in parts:
            known.append(self.monotone.decode(part, params)[0])
            if len(known) < len(parts):
                params = walk.send(known[-1])
        return torch.cat(known, 1)

    def _jacobi(self, z: Tensor, context: Context, rounds: int) -> tuple[Tensor, bool]:
        """All numbers at once, until they stand still, and whether they do; exact after as many rounds as levels."""
        x, eps, still = torch.zeros_like(z), 4 * torch.finfo(z.dtype).eps, False
        nowhere = torch.zeros_like(z, dtype=torch.bool)
        for _ in range(rounds):
            found = self.monotone.decode(z, self.conditioner.placed(x, context))[0]
            new = found.nan_to_num(0.0, 1e6, -1e6)  # what is not known yet may be anything but would spoil the rest
            still, nowhere = bool(((new - x).abs() <= eps * (1 + new.abs())).all()), found.isnan()
            x = new
            if still:
                break
        return x.masked_fill(nowhere.any(1, keepdim=True), torch.nan), still

    def _in_order(self, x: Sample, run: int) -> Tensor:
        """[batch, n], lying in memory along the batch."""
        rows = x.flatten(1).T
        if whole():
            return reordered(rows, self.conditioner.order).T
        if not run:
            return rows.index_select(0, self.conditioner.order).T
        rows = rows.contiguous()
        return (rows if run > 0 else rows.flip(0)).T

    def _back(self, x: Tensor, like: Sample, run: int) -> Sample:
        if run < 0:
            x = x.T.flip(0).T
        elif not run and transformed():  # torch.vmap copies to places one sample after another
            x = x.T.index_select(0, self.conditioner.order.argsort()).T
        elif not run:
            x = put_back(x.T, self.conditioner.order).T
        return x if x.shape == like.shape else x.reshape(like.shape)

    def _run(self) -> int:
        """1 where each number stands at its own place, -1 where they stand the other way round, 0 for other orders.

        Looked at once, for as long as nobody changes the order.
        """
        order, looked_at = self.conditioner.order, self._looked_at
        if torch.compiler.is_compiling() or transformed() or order.is_inference():
            return 0
        if looked_at is None or looked_at[0] is not order or looked_at[1] != order._version:
            own = torch.arange(len(order), device=order.device)
            run = 1 if torch.equal(order, own) else -1 if torch.equal(order, own.flip(0)) else 0
            self._looked_at = looked_at = order, order._version, run
        return looked_at[2]
