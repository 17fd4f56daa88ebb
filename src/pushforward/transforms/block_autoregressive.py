"""A whole flow as one network: block-triangular matrices with positive blocks on the diagonal (BNAF).

    h_0 = x,   h_l = tanh(W_l h_{l-1} + b_l),   f = W_n h_{n-1} + b_n,      z = (1 - a) x + a f

Number i owns `width` units of each hidden layer. Block (i, j) of W is anything for j < i, zero for j > i, and
positive on the diagonal, so z_i increases in x_i and does not see those behind it. The rest of x, with a in (0, 1)
learned, gives f, whose tanh units are bounded, all numbers as its range. Rows of W are normalised and scaled.

Parameters are stored in smaller units than they have in these formulas: weights that read m numbers in units of
40 / sqrt(m), all others of 5. All of W is of the order of 1 / sqrt(m), and what an update moves should be a share of
that; at Adam's usual rate of 2e-3 a network in units of 1 has hardly left its start after 1,000 updates (the authors
take 1e-2 for long runs).

dz_i/dx_i is a product of the diagonal blocks and the slopes of tanh, carried as logarithms from layer to layer:

    log J_l[i, p] = log sum_q exp( log W_l[i, p, i, q] + log J_{l-1}[i, q] ) + log tanh'

Decoding finds x_1, then x_2, and so on: what a unit hears from earlier numbers is summed up once, and the search
for x_i runs through the diagonal blocks alone, whose cost does not depend on the number of dimensions.

References:
    De Cao, Titov, Aziz 2019, arXiv 1904.04676.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.implicit import solution
from pushforward.transforms.inversion import invert
from pushforward.transforms.transform import Transform

_WEIGHT, _OTHER = 40.0, 5.0  # units of what is stored: of weights, times 1 / sqrt(inputs), and of all else


class BlockLinear(nn.Module):
    """W x + b, W of n x n blocks [rows, columns]: lower triangular, positive on the diagonal, rows normalised."""

    def __init__(self, n: int, rows: int, columns: int):
        super().__init__()
        self.n, self.rows, self.columns = n, rows, columns
        self.raw = nn.Parameter(torch.randn(n * rows, n * columns) / _WEIGHT)
        self.log_norm = nn.Parameter(torch.zeros(n * rows))
        self.bias = nn.Parameter((2 * torch.rand(n * rows) - 1) / (math.sqrt(columns) * _OTHER))

    def weight(self) -> tuple[Tensor, Tensor]:
        """W [n rows, n columns], and the logarithm of its diagonal blocks [n, rows, columns]."""
        place = torch.arange(self.n, device=self.raw.device)
        row, column = place.repeat_interleave(self.rows)[:, None], place.repeat_interleave(self.columns)
        raw = _WEIGHT / math.sqrt(self.raw.shape[1]) * self.raw
        full = torch.where(row == column, raw.clamp(max=20.0).exp(), torch.where(row > column, raw, 0.0))
        log_scale = _OTHER * self.log_norm - full.square().sum(1).log() / 2
        blocks = raw.clamp(max=20.0).unflatten(0, (self.n, self.rows)).unflatten(2, (self.n, self.columns))
        diagonal = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        return full * log_scale.exp()[:, None], diagonal + log_scale.unflatten(0, (self.n, self.rows))[..., None]


class BlockAutoregressive(Transform):
    """z = (1 - a) x + a f(x), f block-triangular with positive diagonal.

    Args:
        shape: the event's shape.
        width: hidden units each number owns in a layer.
        layers: hidden layers, at least one.
        context: length of a context vector the first layer is told, 0 for none.
        tolerance: largest error of a decoded number, relative to 1 + its size.

    Raises:
        ConfigError: no units or no layers.
    """

    def __init__(
        self, shape: tuple[int, ...], width: int = 8, layers: int = 2, context: int = 0, tolerance: float = 1e-5
    ):
        super().__init__()
        if min(width, layers) < 1:
            got = f"{width=}, {layers=}"
            raise ConfigError(explain("a hidden layer of a unit at least", got, "8 units in 2 layers are a start."))
        self.n, self.tolerance, self.length = math.prod(shape), tolerance, context
        sizes = [1] + [width] * layers + [1]
        self.linears = nn.ModuleList(BlockLinear(self.n, b, a) for a, b in itertools.pairwise(sizes))
        self.gate = nn.Parameter(torch.zeros(1))
        self.context = nn.Linear(context, self.n * width, bias=False) if context else None

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        z, each = self._flat(x.flatten(1), self._told(context))
        return z.reshape(x.shape), each.sum(1)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        wanted, told = z.flatten(1), self._told(context)
        with torch.no_grad():
            x = self._search(wanted, told)
        x, each = solution(lambda v: self._flat(v, told), x, wanted, self.n, self.tolerance)
        return x.reshape(z.shape), -each.sum(1)

    def _flat(self, x: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor]:
        """z and log dz_i/dx_i, each [batch, n]."""
        h, log_slope = x, x.new_zeros(len(x), self.n, 1)
        for k, (weight, log_diagonal) in enumerate(self._weights()):
            h = nn.functional.linear(h, weight, self._bias(k))
            h = h + told if k == 0 and told is not None else h
            log_slope = (log_diagonal + log_slope[:, :, None]).logsumexp(-1)
            if k < len(self.linears) - 1:
                log_slope = log_slope + _log_tanh_slope(h).unflatten(1, (self.n, -1))
                h = torch.tanh(h)
        return self._gated(x, h, log_slope.squeeze(-1))

    def _search(self, z: Tensor, told: Tensor | None) -> Tensor:
        """Number by number: what each layer hears from those before is summed up first."""
        weights = [(weight, log_diagonal.exp(), log_diagonal) for weight, log_diagonal in self._weights()]
        inputs = [z.new_zeros(len(z), weight.shape[1]) for weight, _, _ in weights]
        for i in range(self.n):
            heard = list[Tensor]()
            for k, (weight, _, log_diagonal) in enumerate(weights):
                rows = slice(i * log_diagonal.shape[1], (i + 1) * log_diagonal.shape[1])
                reach = i * log_diagonal.shape[2]
                sums = self._bias(k)[rows] + inputs[k][:, :reach] @ weight[rows, :reach].T
                heard.append(sums + told[:, rows] if k == 0 and told is not None else sums)

            def one(x: Tensor, i: int = i, heard: list[Tensor] = heard) -> tuple[Tensor, Tensor]:
                return self._one(x[:, None], i, heard, weights, None)

            x = invert(one, z[:, i], guess=z[:, i], tolerance=self.tolerance)
            self._one(x[:, None], i, heard, weights, inputs)
        return inputs[0]

    def _one(
        self, x: Tensor, i: int, heard: list[Tensor], weights: list[tuple[Tensor, ...]], inputs: list[Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """z_i and log dz_i/dx_i as functions of x_i [batch, 1]; `inputs` is where to keep the units' values."""
        h, log_slope = x, x.new_zeros(len(x), 1)
        for k, (_, diagonal, log_diagonal) in enumerate(weights):
            if inputs is not None:
                inputs[k][:, i * h.shape[1] : (i + 1) * h.shape[1]] = h
            h = heard[k] + h @ diagonal[i].T
            log_slope = (log_diagonal[i] + log_slope[:, None]).logsumexp(-1)
            if k < len(weights) - 1:
                log_slope, h = log_slope + _log_tanh_slope(h), torch.tanh(h)
        z, log_slope = self._gated(x, h, log_slope)
        return z[:, 0], log_slope[:, 0]

    def _gated(self, x: Tensor, f: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        gate = _OTHER * self.gate
        a, rest, share = torch.sigmoid(gate), logsigmoid(-gate), logsigmoid(gate)
        return (1 - a) * x + a * f, torch.logaddexp(rest.expand_as(log_slope), share + log_slope)

    def _weights(self) -> list[tuple[Tensor, Tensor]]:
        return [linear.weight() for linear in self.linears if isinstance(linear, BlockLinear)]

    def _bias(self, k: int) -> Tensor:
        return _OTHER * self.linears[k].get_parameter("bias")

    def _told(self, context: Context) -> Tensor | None:
        given = 0 if context is None else context.shape[-1]
        if given != self.length:
            fix = "Make the transform with context=..., or leave the context out."
            raise ShapeError(explain(f"a context of length {self.length}", f"{given}", fix))
        return None if self.context is None or context is None else self.context(context)


def _log_tanh_slope(a: Tensor) -> Tensor:
    """log tanh'(a), exact where tanh' rounds to 0."""
    return 2 * (math.log(2) + a - softplus(2 * a))
