"""The identity plus a contraction: a residual network that can be inverted.

    z = x + g(x),      |g(x) - g(y)| <= L |x - y|,  L < 1
    x <- z - g(x)      converges to the inverse from anywhere, by a factor L each time
    ladj = log det(1 + J) = sum_k (-1)^(k+1) tr(J^k) / k,      J = dg/dx

`ExactDet` has the determinant of the whole Jacobian: n products with J, right for small events. `Roulette` has
an unbiased estimate for any: signs v with E[v^T J^k v] = tr(J^k); the series is cut at a random length, and terms
beyond the first few are divided by the probability of getting that far. Its noise is a `Draw`: the same address, the
same numbers; `redrawn` gives a flow (that shares the parameters) another address, for the next step of training.
The gradient of the estimate is estimated by itself,

    d log det(1 + J) = tr( sum_k (-J)^k dJ ),

which costs the memory of one product however long the series.

References:
    Behrmann et al. 2019, arXiv 1811.00995. Chen, Behrmann, Duvenaud, Jacobsen 2019, arXiv 1906.02735.
"""

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._derivatives import refuse_vmap, wrapped
from pushforward._errors import PushforwardError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.chain import Chain, Inverse
from pushforward.transforms.coupling import Conditioner
from pushforward.transforms.implicit import solution
from pushforward.transforms.transform import Transform


class LogDet(abc.ABC):
    """A way to get log det(1 + dg/dx); a frozen dataclass."""

    @abc.abstractmethod
    def of(self, g: Tensor, x: Tensor) -> PerSample:
        """The log-determinant per sample, given g [batch, n] computed from x [batch, n] with a graph."""


@dataclass(frozen=True)
class ExactDet(LogDet):
    """The determinant of the whole Jacobian, n backward passes."""

    def of(self, g: Tensor, x: Tensor) -> PerSample:
        keep = torch.is_grad_enabled()
        eye = torch.eye(g.shape[1], dtype=g.dtype, device=g.device)
        rows = [_product(g, x, row.expand_as(g), keep) for row in eye]
        return torch.linalg.slogdet(torch.stack(rows, 1) + eye).logabsdet


@dataclass(frozen=True)
class Roulette(LogDet):
    """An unbiased estimate: the first terms of the series always, then one more with probability `more` each time.

    Args:
        draw: the address of the signs and of the length.
        always: how many terms are always there.
        more: probability of each further term, above 0 and below 1.
    """

    draw: Draw
    always: int = 2
    more: float = 0.5

    def of(self, g: Tensor, x: Tensor) -> PerSample:
        signs = self.draw.of("signs").signs(len(x), tuple(x.shape[1:]), x.dtype).to(x.device)
        length, chance = self._length(), 1.0
        power, total, weighted = signs, g.new_zeros(len(g)), signs
        for k in range(1, length + 1):
            chance *= self.more if k > self.always else 1.0
            power = -_product(g, x, power, keep=False).detach()
            total = total - (power * signs).sum(1) / (k * chance)
            weighted = weighted + power / chance
        if not torch.is_grad_enabled():
            return total
        slope = (_product(g, x, weighted, keep=True) * signs).sum(1)
        return total + slope - slope.detach()

    def _length(self) -> int:
        u, length = self.draw.of("length").uniform(64).tolist(), self.always
        for each in u:
            if each >= self.more:
                break
            length += 1
        return length


class Residual(Transform):
    """z = x + g(x), g a contraction.

    Args:
        contraction: g(x) or g(x, context), flat events to flat events, of Lipschitz constant below 1 in x
            (`nets.Contraction`). Above 1 decoding will not converge, and says so.
        log_det: how ladj is had; the exact one by default.
        rounds: iterations at most.
        tolerance: largest error of a decoded number, relative to 1 + its size.

    >>> layer = Residual(lambda x: 0.5 * torch.sin(x))
    >>> x = torch.randn(4, 2)
    >>> torch.allclose(layer.decode(layer.encode(x)[0])[0], x, atol=1e-5)
    True
    """

    def __init__(
        self, contraction: Conditioner, log_det: LogDet | None = None, rounds: int = 2000, tolerance: float = 1e-5
    ):
        super().__init__()
        self.contraction, self.rounds, self.tolerance = contraction, rounds, tolerance
        self.log_det = ExactDet() if log_det is None else log_det

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        flat = x.flatten(1)
        g, ladj = self._with_ladj(flat, context)
        return (flat + g).reshape(x.shape), ladj

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        refuse_vmap(z, context)
        flat = z.flatten(1)
        with torch.no_grad():
            x = self._search(flat, context)
        x, _ = solution(lambda v: (v + self._g(v, context), torch.zeros_like(v)), x, flat, self.rounds, self.tolerance)
        return x.reshape(z.shape), -self._with_ladj(x, context)[1]

    def drawn(self, draw: Draw) -> "Residual":
        """The same map, sharing the parameters, with its estimate at another address."""
        if not isinstance(self.log_det, Roulette):
            return self
        estimate = Roulette(draw, self.log_det.always, self.log_det.more)
        return Residual(self.contraction, estimate, self.rounds, self.tolerance)

    def _with_ladj(self, x: Tensor, context: Context) -> tuple[Tensor, PerSample]:
        keep = torch.is_grad_enabled()
        if wrapped(x) and not x.requires_grad:
            fix = "Call the model on the whole batch, or take torch.func.grad within torch.vmap."
            got = "torch.func, which gives none to what is inside"
            raise PushforwardError(explain("gradients, for the ladj of a residual", got, fix))
        with torch.enable_grad():
            at = x if x.requires_grad else x.detach().requires_grad_()
            g = self._g(at, context)
        with torch.set_grad_enabled(keep):
            ladj = self.log_det.of(g, at)
        return (g, ladj) if keep else (g.detach(), ladj.detach())

    def _g(self, x: Tensor, context: Context) -> Tensor:
        return self.contraction(x) if context is None else self.contraction(x, context)

    def _search(self, z: Tensor, context: Context) -> Tensor:
        x, eps = z - self._g(z, context), 2 * torch.finfo(z.dtype).eps
        lost = ~x.isfinite().all(1, keepdim=True)  # its noise or context is no number: the sample is none
        for _ in range(self.rounds):
            new = z - self._g(x, context)
            still = bool((((new - x).abs() <= eps * (1 + new.abs())) | lost).all())
            x = new
            if still:
                break
            ran = ~(x.isfinite() | lost).all(1)
            if bool(ran.any()):
                got = f"{int(ran.sum())} of {len(x)} samples that ran away"
                raise PushforwardError(explain("a contraction", got, "Bound the network, as nets.Contraction does."))
        return x.masked_fill(lost, torch.nan)


def redrawn(transform: Transform, draw: Draw) -> Transform:
    """The same transform, sharing its parameters, with every estimate in it at an address of its own under `draw`."""
    match transform:
        case Residual():
            return transform.drawn(draw)
        case Inverse():
            return Inverse(redrawn(transform.transform, draw))
        case Chain():
            return Chain(*(redrawn(member, draw.of(str(k))) for k, member in enumerate(transform)))
        case _:
            return transform


def _product(g: Tensor, x: Tensor, vector: Tensor, keep: bool) -> Tensor:
    """The vector times dg/dx; `keep` makes it differentiable."""
    if not g.requires_grad:
        return torch.zeros_like(x)
    options = {"retain_graph": True, "create_graph": keep, "allow_unused": True, "materialize_grads": True}
    return torch.autograd.grad(g, x, vector, **options)[0]
