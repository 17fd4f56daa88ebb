"""The identity plus a function of few numbers, invertible for every value of the parameters.

    Planar      z = x + u h(w.x + b)                          ladj = log(1 + w.u h'(w.x + b))
    Sylvester   z = x + Q R h(R~ Q^T x + b)                   ladj = sum log(1 + R_ii R~_ii h'_i)
    Radial      z = x + beta (x - x0) / (alpha + r)           r = |x - x0|

Planar asks w.u > -1, because h' lies in (0, 1]: u is moved along w until it holds. Sylvester is planar for M
directions at once, orthonormal columns of Q (a product of Householder reflections) and upper triangular R and
R~ whose diagonals lie in (-1, 1). Radial asks alpha > 0 and beta > -alpha.

Inverses: planar moves points along u alone, so w.x solves one increasing equation of one number; Sylvester solves
M of them, the last first; radial solves a quadratic equation. For inference turn them round (`Inverse`): then
sampling is the formula and the density of samples needs no search.

References:
    Rezende, Mohamed 2015, arXiv 1505.05770 (planar, radial).
    van den Berg, Hasenclever, Tomczak, Welling 2018, arXiv 1803.05649 (Sylvester).
"""

import abc
import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, softplus

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.coupling import Conditioner
from pushforward.transforms.implicit import solution
from pushforward.transforms.inversion import invert
from pushforward.transforms.reflections import orthonormal
from pushforward.transforms.transform import Transform

Bend = Literal["tanh", "leaky_relu"]

_ONE = math.log(math.e - 1)  # softplus of it is 1
_MOST = 0.999  # how near to folding: slopes stay above 0.001


class Told(Transform, abc.ABC):
    """Parameters shared by all samples, to which a network of the context may add.

    Args:
        shape: the event's shape.
        size: how many parameters.
        conditioner: context -> [batch, size]; None where there is no context.
    """

    def __init__(self, shape: tuple[int, ...], size: int, conditioner: Conditioner | None = None):
        super().__init__()
        self.n = math.prod(shape)
        self.params = nn.Parameter(torch.randn(size) / math.sqrt(self.n))
        self.conditioner = conditioner

    @abc.abstractmethod
    def encode_flat(self, x: Tensor, params: Tensor) -> tuple[Tensor, PerSample]:
        """The map of flat events [batch, n], given parameters [1 or batch, size]."""

    @abc.abstractmethod
    def decode_flat(self, z: Tensor, params: Tensor) -> Tensor:
        """Its inverse, found or computed."""

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        z, ladj = self.encode_flat(x.flatten(1), self._told(x, context))
        return z.reshape(x.shape), ladj

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        params = self._told(z, context)
        x = self.decode_flat(z.flatten(1), params)
        return x.reshape(z.shape), -self.encode_flat(x, params)[1]

    def _told(self, x: Tensor, context: Context) -> Tensor:
        if (context is None) != (self.conditioner is None):
            wanted, got = ("no context", "one") if self.conditioner is None else ("a context", "none")
            fix = "Make the transform with a conditioner of the context, or leave the context out."
            raise ShapeError(explain(wanted, got, fix))
        if self.conditioner is None or context is None:
            return self.params[None]
        width = getattr(self.conditioner, "in_features", None)
        if width is not None and context.shape[1:] != (width,):
            fix = "Give as many numbers for each sample, or make the model with context=... of another length."
            raise ShapeError(explain(f"a context [batch, {width}]", f"one of shape {list(context.shape)}", fix))
        more = self.conditioner(context)
        if more.shape != (len(x), len(self.params)):
            fix = f"Build the conditioner with {len(self.params)} outputs."
            raise ShapeError(explain(f"{(len(x), len(self.params))} from the conditioner", f"{tuple(more.shape)}", fix))
        return self.params + more


class Planar(Told):
    """z = x + u h(w.x + b): space pushed along u by a wave front across w.

    Args:
        shape: the event's shape.
        bend: h, "tanh" or "leaky_relu" (slope 0.2 below 0).
        conditioner: context -> [batch, 2 n + 1], added to the parameters (w, u, b).

    Raises:
        ConfigError: another bend.
    """

    def __init__(self, shape: tuple[int, ...], bend: Bend = "tanh", conditioner: Conditioner | None = None):
        super().__init__(shape, 2 * math.prod(shape) + 1, conditioner)
        if bend not in ("tanh", "leaky_relu"):
            raise ConfigError(explain("a bend 'tanh' or 'leaky_relu'", repr(bend), "Choose one of the two."))
        self.bend = bend

    def encode_flat(self, x: Tensor, params: Tensor) -> tuple[Tensor, PerSample]:
        w, u, b, push = self._split(params)
        h, slope = self._h((w * x).sum(1, keepdim=True) + b)
        return x + u * h, torch.log1p(push * slope).squeeze(1)

    def decode_flat(self, z: Tensor, params: Tensor) -> Tensor:
        w, u, b, push = self._split(params)

        def along(a: Tensor) -> tuple[Tensor, Tensor]:
            h, slope = self._h(a + b)
            return a + push * h, torch.log1p(push * slope)

        wanted = (w * z).sum(1, keepdim=True)
        a = invert(along, wanted, guess=wanted)
        return z - u * self._h(a + b)[0]

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """w, u (moved so that w.u > -1), b, and w.u."""
        w, u, b = params.split([self.n, self.n, 1], 1)
        raw = (w * u).sum(1, keepdim=True)
        push = _MOST * (softplus(raw + _ONE) - 1)
        return w, u + (push - raw) * w / (w.square().sum(1, keepdim=True) + 1e-12), b, push

    def _h(self, a: Tensor) -> tuple[Tensor, Tensor]:
        if self.bend == "tanh":
            return torch.tanh(a), torch.exp(2 * (math.log(2) - softplus(2 * a) + a))
        return leaky_relu(a, 0.2), torch.where(a > 0, 1.0, 0.2)


class Radial(Told):
    """z = x + beta (x - x0) / (alpha + |x - x0|): space drawn to a point, or driven away from it.

    Args:
        shape: the event's shape.
        conditioner: context -> [batch, n + 2], added to the parameters (x0, raw alpha, raw beta).
    """

    def __init__(self, shape: tuple[int, ...], conditioner: Conditioner | None = None):
        super().__init__(shape, math.prod(shape) + 2, conditioner)

    def encode_flat(self, x: Tensor, params: Tensor) -> tuple[Tensor, PerSample]:
        centre, alpha, beta = self._split(params)
        away = x - centre
        r = away.square().sum(1, keepdim=True).clamp_min(1e-30).sqrt()
        across = beta / (alpha + r)
        along = alpha * beta / (alpha + r).square()
        ladj = (self.n - 1) * torch.log1p(across) + torch.log1p(along)
        return x + across * away, ladj.squeeze(1)

    def decode_flat(self, z: Tensor, params: Tensor) -> Tensor:
        centre, alpha, beta = self._split(params)
        away = z - centre
        s = away.square().sum(1, keepdim=True).clamp_min(1e-30).sqrt()
        half = 0.5 * (alpha + beta - s)  # r**2 + (alpha + beta - s) r - s alpha = 0
        root = (half.square() + s * alpha).sqrt()
        r = torch.where(half > 0, s * alpha / (half + root), root - half)  # no difference of equals
        return centre + away / (1 + beta / (alpha + r))

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        centre, raw_alpha, raw_beta = params.split([self.n, 1, 1], 1)
        alpha = softplus(raw_alpha + _ONE)
        return centre, alpha, _MOST * alpha * (softplus(raw_beta + _ONE) - 1)


class Sylvester(Told):
    """z = x + Q R h(R~ Q^T x + b) with h = tanh: planar for several directions at once.

    Args:
        shape: the event's shape.
        directions: M, from 1 to the size of the event.
        conditioner: context -> [batch, size], added to the parameters: M reflections of n, twice the M (M + 1) / 2
            entries of R and R~, M offsets.

    Raises:
        ConfigError: an impossible M.
    """

    def __init__(self, shape: tuple[int, ...], directions: int = 4, conditioner: Conditioner | None = None):
        n, m = math.prod(shape), directions
        if not 1 <= m <= n:
            raise ConfigError(explain(f"from 1 to {n} directions", f"{m}", "The size of the event is the most."))
        super().__init__(shape, m * n + m * (m + 1) + m, conditioner)
        self.m = m

    def encode_flat(self, x: Tensor, params: Tensor) -> tuple[Tensor, PerSample]:
        q, r, r_in, b = self._split(params)
        inside = (q.mT @ x[..., None]).squeeze(-1)
        moved, ladj = self._within(inside, r, r_in, b)
        return x + (q @ (moved - inside)[..., None]).squeeze(-1), ladj.sum(1)

    def decode_flat(self, z: Tensor, params: Tensor) -> Tensor:
        q, r, r_in, b = self._split(params)
        wanted = (q.mT @ z[..., None]).squeeze(-1)
        with torch.no_grad():
            found = self._solve(wanted, r, r_in, b)
        inside, _ = solution(lambda p: self._within(p, r, r_in, b), found, wanted, self.m, 1e-5)
        return z + (q @ (inside - wanted)[..., None]).squeeze(-1)

    def _within(self, p: Tensor, r: Tensor, r_in: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """p + R h(R~ p + b), and the log-diagonal of its Jacobian, which is upper triangular."""
        a = (r_in @ p[..., None]).squeeze(-1) + b
        slope = torch.exp(2 * (math.log(2) - softplus(2 * a) + a))
        diagonal = (r.diagonal(dim1=-2, dim2=-1) * r_in.diagonal(dim1=-2, dim2=-1)) * slope
        return p + (r @ torch.tanh(a)[..., None]).squeeze(-1), torch.log1p(diagonal)

    def _solve(self, wanted: Tensor, r: Tensor, r_in: Tensor, b: Tensor) -> Tensor:
        """The last number first: each is one equation once those behind it are known."""
        p, h = torch.zeros_like(wanted), torch.zeros_like(wanted)
        for i in reversed(range(self.m)):
            rest = (r_in[..., i, i + 1 :] * p[..., i + 1 :]).sum(-1) + b[..., i]
            behind = (r[..., i, i + 1 :] * h[..., i + 1 :]).sum(-1)
            out, slope = r[..., i, i], r_in[..., i, i]

            def one(v: Tensor, out: Tensor = out, slope: Tensor = slope, rest: Tensor = rest) -> tuple[Tensor, Tensor]:
                a = slope * v + rest
                gain = out * slope * torch.exp(2 * (math.log(2) - softplus(2 * a) + a))
                return v + out * torch.tanh(a), torch.log1p(gain)

            p[..., i] = invert(one, wanted[..., i] - behind, guess=wanted[..., i] - behind)
            h[..., i] = torch.tanh(slope * p[..., i] + rest)
        return p

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n, m, half = self.n, self.m, self.m * (self.m + 1) // 2
        reflections, r, r_in, b = params.split([m * n, half, half, m], 1)
        q = orthonormal(reflections.unflatten(1, (m, n)), m)
        return q, self._upper(r), self._upper(r_in), b

    def _upper(self, entries: Tensor) -> Tensor:
        """An upper triangular matrix with its diagonal in (-1, 1)."""
        row, column = torch.triu_indices(self.m, self.m, device=entries.device)
        entries = torch.where(row == column, _MOST * torch.tanh(entries), entries)
        full = entries.new_zeros(len(entries), self.m, self.m)
        return full.index_put((torch.arange(len(entries), device=row.device)[:, None], row, column), entries)
