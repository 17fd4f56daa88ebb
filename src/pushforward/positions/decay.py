"""Biases that fall with the distance d = |i - j|, and extrapolate because of it.

    ALiBi           -m_h d                                  m_h = 2**(-8 h / H), nothing trained
    KERPLE, log     -r_h ln(1 + s_h d)                      r, s > 0 trained
    KERPLE, power   -r_h d**s_h                             0 < s <= 2; ALiBi is s = 1
    FIRE            f_h(psi(d) / psi(max(L, i)))            psi(x) = ln(|c x| + 1), f a network of one hidden layer

KERPLE's are the conditionally positive definite kernels: sum_ij w_i w_j b(i - j) >= 0 for any weights with sum 0. FIRE
measures the distance as a part of the query's position, so it is no function of the distance alone once i > L.

Distances are formed before anything is rounded: a slope times an absolute position in bfloat16 would leave far keys
with few different biases.

References: Press et al. 2022, ALiBi, arXiv 2108.12409; Chi et al. 2022, KERPLE, arXiv 2205.09921; Li et al. 2024, FIRE,
arXiv 2310.04418.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward.positions.distance import widest
from pushforward.positions.position import Biases, Properties, Toeplitz

LEAST = 0.01
"""The smallest value of a parameter of KERPLE."""


@dataclass(frozen=True, slots=True)
class ALiBi(Toeplitz):
    """A straight slope per head, symmetric; with a causal mask the published one.

    Args:
        heads: heads of attention.

    References:
        Press et al. 2022, arXiv 2108.12409.

    >>> ALiBi(heads=2).bias(torch.tensor([2]), torch.arange(3))
    tensor([[[-0.1250, -0.0625, -0.0000]],
            [[-0.0078, -0.0039, -0.0000]]], dtype=torch.float64)
    """

    heads: int

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise ConfigError(explain("at least one head", str(self.heads), "Give the number of heads."))

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, toeplitz=True, linear_attention=False)

    def by_distance(self, distance: Tensor) -> Tensor:
        d = distance.abs().to(widest(distance.device))
        slopes = torch.tensor(alibi_slopes(self.heads), dtype=d.dtype, device=d.device)
        return -slopes.view(-1, *(1,) * d.ndim) * d


def alibi_slopes(heads: int) -> tuple[float, ...]:
    """2**(-8 h / heads) for a power of two; else those of the power below, then every other one of the power above.

    >>> alibi_slopes(4)
    (0.25, 0.0625, 0.015625, 0.00390625)
    """
    power = 1 << (heads.bit_length() - 1)
    slopes = tuple(2 ** (-8 * h / power) for h in range(1, power + 1))
    return slopes if power == heads else slopes + alibi_slopes(2 * power)[::2][: heads - power]


class KERPLE(nn.Module, Toeplitz):
    """A trained decay per head.

    Args:
        heads: heads of attention.
        kernel: "log" or "power".

    References:
        Chi et al. 2022, arXiv 2205.09921: r starts uniform on (0, 2), s on (0, 1); both are kept above 0.01.
    """

    def __init__(self, heads: int, kernel: Literal["log", "power"] = "log") -> None:
        super().__init__()
        if kernel not in ("log", "power"):
            raise ConfigError(explain("kernel 'log' or 'power'", repr(kernel), "Choose one of the two."))
        self.kernel = kernel
        self.r = nn.Parameter(2 * torch.rand(heads))
        self.s = nn.Parameter(torch.rand(heads))

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, toeplitz=True, linear_attention=False)

    def by_distance(self, distance: Tensor) -> Tensor:
        d = distance.abs().to(torch.promote_types(self.r.dtype, torch.float32))
        r, s = (p.clamp(min=LEAST).view(-1, *(1,) * d.ndim).to(d.dtype) for p in (self.r, self.s))
        return -r * (torch.log1p(s * d) if self.kernel == "log" else d ** s.clamp(max=2))


class FIRE(nn.Module, Biases):
    """A trained function of the distance as a part of the query's position.

    Args:
        heads: heads of attention.
        hidden: size of the hidden layer of f.
        threshold: L at the start: up to this position of the query the distance alone counts.

    References:
        Li et al. 2024, arXiv 2310.04418 (hidden 32, threshold 512).
    """

    def __init__(self, heads: int, hidden: int = 32, threshold: float = 512.0) -> None:
        super().__init__()
        self.threshold = threshold
        self.network = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, heads))
        self.c = nn.Parameter(torch.tensor(0.1))
        self.multiple = nn.Parameter(torch.tensor(1.0))

    @property
    def properties(self) -> Properties:
        return Properties(linear_attention=False)

    def bias(self, pos_q: Tensor, pos_k: Tensor) -> Tensor:
        """[*batch, heads, queries, keys]; the hidden layer is held for every pair."""
        part = self.part(pos_q, pos_k).to(self.c.dtype)
        return self.network(part.unsqueeze(-1)).movedim(-1, -3)

    def part(self, pos_q: Tensor, pos_k: Tensor) -> Tensor:
        """psi(|i - j|) / psi(max(L, i)): what f is applied to, in [0, 1] for keys in the past."""
        wide = torch.promote_types(self.c.dtype, torch.float32)
        c, longest = self.c.to(wide), (self.multiple * self.threshold).abs().to(wide)
        d = (pos_q.unsqueeze(-1) - pos_k.unsqueeze(-2)).to(wide)
        whole = torch.maximum(pos_q.to(wide), longest).unsqueeze(-1)
        return torch.log1p((c * d).abs()) / (torch.log1p((c * whole).abs()) + 1e-6)
