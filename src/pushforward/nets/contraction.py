"""Networks that bring points closer together: |g(x) - g(y)| <= L |x - y| with L < 1, by construction.

    g = W_n a W_{n-1} ... a W_1,      a(x) = x sigmoid(x) / 1.1, of slope at most 1,      |W_k| <= L^(1/n)

Each matrix is divided by what its spectral norm exceeds its share. The norm is bounded from above by Gram's
iteration: with G <- G^T G the Frobenius norm to the power 2^-k falls to the spectral norm faster than
geometrically. Unlike power iteration, which approaches from below and carries a vector from call to call, this is a
guarantee, has no state, and is the same function at every call and for every copy.

References:
    Behrmann et al. 2019, arXiv 1811.00995 (invertible residual networks).
    Chen, Behrmann, Duvenaud, Jacobsen 2019, arXiv 1906.02735 (the activation).
    Delattre, Barthelemy, Araujo, Allauzen 2023, arXiv 2305.16173 (Gram iteration).
"""

import itertools

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context
from pushforward.nets.conditioners import check_context
from pushforward.nets.sizes import check_sizes


class Contraction(nn.Module):
    """g(x) or g(x, context), [batch, features] to itself, of Lipschitz constant below 1 in x.

    Args:
        features: length of the vector.
        hidden, layers: hidden layers.
        context: length of a context vector the first layer is told (it may have any effect), 0 for none.
        lipschitz: L, above 0 and below 1. Near 1 the maps are strong and inverses slow.

    Raises:
        ConfigError: another L.
    """

    def __init__(
        self, features: int, hidden: int = 128, layers: int = 3, context: int = 0, lipschitz: float = 0.9
    ) -> None:
        super().__init__()
        check_sizes(hidden, context=context)
        if not 0 < lipschitz < 1:
            raise ConfigError(explain("a Lipschitz constant in (0, 1)", f"{lipschitz}", "0.9 suits most flows."))
        sizes = [features] + [hidden] * layers + [features]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.context = nn.Linear(context, sizes[1], bias=False) if context else None
        self.share = lipschitz ** (1 / len(self.linears))

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        check_context(context, self.context.in_features if self.context else 0)
        for k, linear in enumerate(self.linears):
            assert isinstance(linear, nn.Linear)
            weight = linear.weight * (self.share / spectral_bound(linear.weight).clamp_min(self.share))
            x = nn.functional.linear(x, weight, linear.bias)
            if k == 0 and self.context is not None and context is not None:
                x = x + self.context(context.to(x.dtype))
            x = nn.functional.silu(x) / 1.1 if k < len(self.linears) - 1 else x
        return x


def spectral_bound(weight: Tensor, rounds: int = 9) -> Tensor:
    """At least the largest singular value, and at most (smaller side)**(2**-rounds / 2) times it; differentiable.

    >>> spectral_bound(torch.diag(torch.tensor([3.0, 1.0])))
    tensor(3.)
    """
    gram = weight if weight.shape[0] >= weight.shape[1] else weight.mT
    log = torch.zeros((), dtype=weight.dtype, device=weight.device)
    for _ in range(rounds):
        norm = gram.norm().clamp_min(torch.finfo(weight.dtype).tiny)
        log, gram = 2 * (log + norm.log()), gram / norm
        gram = gram.mT @ gram
    return ((log + gram.norm().log()) / 2**rounds).exp()
