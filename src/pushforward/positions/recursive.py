"""Encodings that are followed from one position to the next.

    Recurrent    p_0 is trained,  p_{k+1} = tanh(W p_k + b),                x + p_pos
    Floater      p(t) = p(0) + integral from 0 to t of h(p, s) ds,          q + p^q, k + p^k, v + p^v

Each reaches any position with the parameters of one step. Floater is a neural ODE: h is a network of two layers that
are told the time, position i lies at time i `step`, and three trajectories that share h are added to queries, keys
and values of every head (its authors put no term on the tokens). With h = 0 the encoding is constant.

Positions are whole or fractional: the trajectory is followed from one whole position to the next and, for a fraction,
from the whole position below it, so that what a token gets does not depend on which others are asked for. The cost
is that of the largest position.

Reference: Liu et al. 2020, Learning to Encode Position for Transformer with Continuous Dynamical Model,
arXiv 2003.09229.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._typing import Heads, Tokens
from pushforward.positions.distance import check_whole, reach, widest
from pushforward.positions.position import Embeds, Properties, Rotates, Rotation, Values


class Moment(Protocol):
    """Where a trajectory is."""

    @property
    def x(self) -> Tensor:
        """The state, [batch, *event]."""
        ...


class Follows(Protocol):
    """What can follow a field: any solver of `pushforward.solvers`, or an object with this one method."""

    def trajectory(
        self, field: Callable[[Tensor, Tensor], Tensor], x: Tensor, start: float, end: float
    ) -> Iterable[Moment]:
        """States from `start` to `end` of dx/dt = field(x [batch, *event], t [batch]); the last is the end."""
        ...


class Recurrent(nn.Module, Embeds):
    """A recurrent network that runs over the positions: p_{k+1} = tanh(W p_k + b), added to the tokens.

    Args:
        width: size of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(width) * 0.02)
        self.step = nn.Linear(width, width)

    @property
    def properties(self) -> Properties:
        return Properties(fractional=False)

    def embed(self, x: Tokens, pos: Tensor) -> Tokens:
        """x + p_pos.

        Raises:
            ShapeError: positions are negative or not whole.
        """
        check_whole(pos, "Floater")
        path: list[Tensor] = [self.start]
        for _ in range(reach(pos, "Recurrent")):
            path.append(torch.tanh(self.step(path[-1])))
        return x + torch.stack(path)[pos]


class Floater(nn.Module, Rotates, Values):
    """FLOATER: biases of queries, keys and values that follow a neural ODE over the positions.

    Args:
        heads: heads of attention.
        features: size of one head.
        solver: what follows the ODE from one position to the next, for example `solvers.RK4(steps=5)`, which takes
            the steps of its authors.
        step: time from one position to the next.
        hidden: size of the hidden layer of h; None is heads * features.

    References:
        Liu et al. 2020, arXiv 2003.09229 (step 0.01, Runge-Kutta steps of 0.002).
    """

    def __init__(
        self, heads: int, features: int, solver: Follows, step: float = 0.01, hidden: int | None = None
    ) -> None:
        super().__init__()
        width = heads * features
        self.heads, self.solver, self.step = heads, solver, step
        self.start = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3, width)))
        self.inner = nn.Linear(width + 1, hidden or width)
        self.outer = nn.Linear((hidden or width) + 1, width)
        for layer in (self.inner, self.outer):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def properties(self) -> Properties:
        return Properties(linear_attention=False)

    def slope(self, p: Tensor, t: Tensor) -> Tensor:
        """h(p, t), [batch, width]: both layers are told the time. Computed in the dtype of p."""

        def layer(own: nn.Linear, x: Tensor) -> Tensor:
            return nn.functional.linear(torch.cat([x, t[:, None].to(x.dtype)], -1), own.weight.to(p), own.bias.to(p))

        return layer(self.outer, torch.relu(layer(self.inner, p)))

    def path(self, pos: Tensor, which: slice) -> Tensor:
        """p at these positions for queries, keys, values (0, 1, 2), [which, *batch, heads, tokens, features].

        It is followed in the widest dtype, so that low precision rounds the parameters alone.

        Raises:
            ShapeError: a position is negative.
        """
        whole = pos.floor().long() if pos.is_floating_point() else pos
        path = [self.start[which].to(widest(pos.device))]
        for k in range(reach(whole, "Floater")):
            path.append(_end(self.solver, self.slope, path[-1], self.step * k, self.step * (k + 1)))
        p = torch.stack(path, 1)[:, whole]
        if pos.is_floating_point():
            p = self._onward(p, whole, (pos - whole).to(p.dtype))
        return p.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def _onward(self, p: Tensor, whole: Tensor, fraction: Tensor) -> Tensor:
        """From whole positions on by a fraction each, all at once: dp/ds = r h(p, t + s r) for s from 0 to 1."""
        length = (self.step * fraction).expand(p.shape[:-1]).flatten()
        begin = (self.step * whole).expand(p.shape[:-1]).flatten()

        def slope(x: Tensor, s: Tensor) -> Tensor:
            return length[:, None] * self.slope(x, begin + s * length)

        return _end(self.solver, slope, p.flatten(0, -2), 0.0, 1.0).view(p.shape)

    def rotation(self, pos_q: Tensor, pos_k: Tensor, features: int, dtype: torch.dtype) -> Rotation:
        """A shift: q + p^q, k + p^k.

        Raises:
            ConfigError: a head has another size.
        """
        if features * self.heads != self.start.shape[-1]:
            raise ConfigError(explain(
                f"heads of {self.start.shape[-1] // self.heads} features", f"{features}",
                f"Make Floater({self.heads}, {features}, ...).",
            ))  # fmt: skip
        if pos_k is pos_q:
            p_q, p_k = self.path(pos_q, slice(0, 2)).to(dtype)
        else:
            p_q, p_k = self.path(pos_q, slice(0, 1))[0].to(dtype), self.path(pos_k, slice(1, 2))[0].to(dtype)
        return lambda q, k: (q + p_q, k + p_k)

    def value(self, v: Heads, weights: Tensor, pos_q: Tensor, pos_k: Tensor) -> Heads:
        return weights @ self.path(pos_k, slice(2, 3))[0].to(weights.dtype)


def _end(solver: Follows, field: Callable[[Tensor, Tensor], Tensor], x: Tensor, start: float, end: float) -> Tensor:
    for state in solver.trajectory(field, x, start, end):
        x = state.x
    return x
