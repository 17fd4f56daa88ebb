"""Matrices over the leading axis of an event: all numbers of a vector, or the channels of an image at each place.

    z[:, place] = W x[:, place],      ladj = places * log |det W|

Over an image this is the invertible 1x1 convolution. What is learned decides what W can be, and what its inverse and
determinant cost. Vectors are flat, so that weight decay leaves them alone; zeros give the identity (but for the order
and signs of an LU that starts random).

    class         W                                   log |det W|      W^-1
    Triangular    T, diagonal exp(s)                  sum s            by substitution
    LU            P L U, U's diagonal +-exp(s)        sum s            by substitution, twice
    Rotation      exp(A - A^T)                        0                W^T
    Householder   a product of reflections            0                W^T
    QR            Q R, R's diagonal exp(s)            sum s            R^-1 Q^T

Inverses are kept while nothing changes: in `eval()` and where no derivative by the weights is taken, W, its inverse
and determinant are computed once. What is kept stands beside a copy of the weights it came from and is used only if
that equals the weights of the moment, number by number, so no way of changing weights (an optimizer, a loaded file,
`weight.data`) leaves it stale; comparing costs n**2, inverting n**3. It is one immutable value behind one reference:
threads may share the transform, and it dies with it. It is in no file.

References:
    Kingma, Dhariwal 2018, arXiv 1807.03039 (1x1 convolutions, LU).
    Tomczak, Welling 2016, arXiv 1611.09630 (reflections).
    Hoogeboom, van den Berg, Welling 2019, arXiv 1901.11137 (QR).
"""

import abc
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pushforward._derivatives import transformed
from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.transform import Transform


class _Kept(NamedTuple):
    source: tuple[Tensor, ...]
    weight: Tensor
    inverse: Tensor
    log_det: Tensor


class Matrix(Transform, abc.ABC):
    """An invertible matrix over the leading axis.

    Args:
        n: length of the leading axis.

    Raises:
        ConfigError: `n` is below 1.
    """

    def __init__(self, n: int):
        super().__init__()
        if n < 1:
            raise ConfigError(explain("a leading axis of 1 or more", f"{n}", "Give the number of channels."))
        self.n = n
        self._kept: _Kept | None = None

    @abc.abstractmethod
    def weight(self) -> Tensor:
        """W, [n, n]."""

    @abc.abstractmethod
    def inverse(self) -> Tensor:
        """W^-1, [n, n]."""

    @abc.abstractmethod
    def log_det(self) -> Tensor:
        """log |det W|, one number."""

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        kept = self._keep()
        weight, log_det = (self.weight(), self.log_det()) if kept is None else (kept.weight, kept.log_det)
        return self._apply_to(x, weight), _each(log_det, x)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        kept = self._keep()
        inverse, log_det = (self.inverse(), self.log_det()) if kept is None else (kept.inverse, kept.log_det)
        return self._apply_to(z, inverse), _each(-log_det, z)

    def _apply_to(self, x: Sample, matrix: Tensor) -> Sample:
        if x.ndim < 2 or x.shape[1] != self.n:
            fix = "Build the matrix for the first axis of the event."
            raise ShapeError(explain(f"events of leading axis {self.n}", f"a tensor {tuple(x.shape)}", fix))
        return x @ matrix.T if x.ndim == 2 else (matrix @ x.flatten(2)).reshape(x.shape)

    def _keep(self) -> _Kept | None:
        weights = (*self.parameters(), *self.buffers())
        learning = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
        if self.training or learning or torch.compiler.is_compiling() or transformed():
            self._kept = None
            return None
        kept = self._kept
        if kept is None or not all(map(_same, kept.source, weights)):
            with torch.inference_mode(False), torch.no_grad():
                source = tuple(weight.clone() for weight in weights)
                kept = _Kept(source, self.weight(), self.inverse(), self.log_det())
            self._kept = kept
        return kept

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}


class Triangular(Matrix):
    """W = T: a number is mixed with those before it (or after it) only.

    Args:
        n: length of the leading axis.
        upper: mix with those after instead.

    >>> Triangular(2).encode(torch.tensor([[1.0, 2.0]]))
    (tensor([[1., 2.]], grad_fn=...), tensor([0.], grad_fn=...))
    """

    def __init__(self, n: int, upper: bool = False):
        super().__init__(n)
        self.upper = upper
        self.mixing, self.log_diagonal = _zeros(n * (n - 1) // 2), _zeros(n)

    def weight(self) -> Tensor:
        return _triangle(self.n, self.mixing, self.upper) + self.log_diagonal.exp().diag()

    def inverse(self) -> Tensor:
        return torch.linalg.solve_triangular(self.weight(), _eye(self.mixing, self.n), upper=self.upper)

    def log_det(self) -> Tensor:
        return self.log_diagonal.sum()


class LU(Matrix):
    """W = P L U: any invertible matrix, but for the order P and the signs, which stay as they start.

    Args:
        n: length of the leading axis.
        seed: start at a random rotation, the same for the same seed; None starts at the identity.

    >>> layer = LU(3, seed=0)
    >>> bool((layer.weight() @ layer.weight().T - torch.eye(3)).abs().max() < 1e-5)
    True
    """

    order: Tensor
    signs: Tensor

    def __init__(self, n: int, seed: int | None = None):
        super().__init__(n)
        start = torch.eye(n, dtype=torch.float64) if seed is None else _rotation(n, seed)
        order, lower, upper = torch.linalg.lu(start)
        rows, columns = torch.tril_indices(n, n, -1)
        diagonal = upper.diagonal()
        self.register_buffer("order", order.argmax(1))
        self.register_buffer("signs", diagonal.sign().to(torch.int8))
        dtype = torch.get_default_dtype()
        self.lower = nn.Parameter(lower[rows, columns].to(dtype))
        self.upper = nn.Parameter(upper[columns, rows].to(dtype))
        self.log_diagonal = nn.Parameter(diagonal.abs().log().to(dtype))

    def weight(self) -> Tensor:
        lower, upper = self._factors()
        return (lower @ upper).index_select(0, self.order)

    def inverse(self) -> Tensor:
        lower, upper = self._factors()
        half = torch.linalg.solve_triangular(lower, _eye(lower, self.n), upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, half, upper=True).index_select(1, self.order)

    def log_det(self) -> Tensor:
        return self.log_diagonal.sum()

    def _factors(self) -> tuple[Tensor, Tensor]:
        lower = _triangle(self.n, self.lower, upper=False) + _eye(self.lower, self.n)
        return lower, _triangle(self.n, self.upper, upper=True) + (self.signs * self.log_diagonal.exp()).diag()


class Rotation(Matrix):
    """W = exp(A - A^T): any rotation, learned in a flat space.

    Args:
        n: length of the leading axis.
    """

    def __init__(self, n: int):
        super().__init__(n)
        self.angles = _zeros(n * (n - 1) // 2)

    def weight(self) -> Tensor:
        a = _triangle(self.n, self.angles, upper=True)
        return torch.linalg.matrix_exp(a - a.T)

    def inverse(self) -> Tensor:
        return self.weight().T

    def log_det(self) -> Tensor:
        return self.angles.new_zeros(())


class Householder(Matrix):
    """W = H_1 ... H_r S, reflections H = 1 - 2 v v^T / |v|**2 and signs S that make zeros the identity.

    v_k is 0 before place k and 1 there, so n reflections reach any orthogonal matrix but for signs.

    Args:
        n: length of the leading axis.
        reflections: r, from 1 to n; n if None.

    Raises:
        ConfigError: another number of reflections.
    """

    def __init__(self, n: int, reflections: int | None = None):
        super().__init__(n)
        self.reflections = n if reflections is None else reflections
        if not 1 <= self.reflections <= n:
            raise ConfigError(explain(f"1 to {n} reflections", f"{reflections}", "More would add nothing."))
        self.vectors = _zeros(_below(n, self.reflections).shape[1])

    def weight(self) -> Tensor:
        return _reflect(self.n, self.reflections, self.vectors)

    def inverse(self) -> Tensor:
        return self.weight().T

    def log_det(self) -> Tensor:
        return self.vectors.new_zeros(())


class QR(Matrix):
    """W = Q R: any invertible matrix but for signs; well conditioned where the diagonal of R is.

    Args:
        n: length of the leading axis.
    """

    def __init__(self, n: int):
        super().__init__(n)
        self.vectors, self.mixing, self.log_diagonal = _zeros(n * (n - 1) // 2), _zeros(n * (n - 1) // 2), _zeros(n)

    def weight(self) -> Tensor:
        return _reflect(self.n, self.n, self.vectors) @ self._r()

    def inverse(self) -> Tensor:
        return torch.linalg.solve_triangular(self._r(), _reflect(self.n, self.n, self.vectors).T, upper=True)

    def log_det(self) -> Tensor:
        return self.log_diagonal.sum()

    def _r(self) -> Tensor:
        return _triangle(self.n, self.mixing, upper=True) + self.log_diagonal.exp().diag()


def convolution(channels: int, seed: int = 0) -> LU:
    """Glow's invertible 1x1 convolution: an LU over the channels that starts at a random rotation."""
    return LU(channels, seed)


def _zeros(n: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(n))


def _eye(like: Tensor, n: int) -> Tensor:
    return torch.eye(n, dtype=like.dtype, device=like.device)


def _triangle(n: int, entries: Tensor, upper: bool) -> Tensor:
    """The strict triangle that holds these entries."""
    rows, columns = torch.tril_indices(n, n, -1, device=entries.device)
    places = (columns, rows) if upper else (rows, columns)
    return entries.new_zeros(n, n).index_put(places, entries)


def _below(n: int, columns: int, device: torch.device | None = None) -> Tensor:
    return torch.tril_indices(n, columns, -1, device=device)


def _reflect(n: int, reflections: int, vectors: Tensor) -> Tensor:
    rows, columns = _below(n, reflections, vectors.device)
    v = vectors.new_zeros(n, reflections).index_put((rows, columns), vectors)
    product = torch.linalg.householder_product(_square(v), 2 / (1 + v.square().sum(0)))
    signs = torch.where(torch.arange(n, device=v.device) < reflections, -1.0, 1.0).to(v.dtype)
    return product * signs


def _square(v: Tensor) -> Tensor:
    return torch.nn.functional.pad(v, (0, v.shape[0] - v.shape[1]))


def _rotation(n: int, seed: int) -> Tensor:
    q, r = torch.linalg.qr(Draw(seed, "transforms/rotation").normal(n, (n,), torch.float64))
    return q * r.diagonal().sign()  # makes it uniform over all orthogonal matrices


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def _each(log_det: Tensor, x: Sample) -> PerSample:
    return (log_det * math.prod(x.shape[2:])).expand(len(x))
