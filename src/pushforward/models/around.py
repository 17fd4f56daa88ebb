"""Fields around fields: what guidance has in common.

A model is changed by wrapping its network; path and prediction stay, and so do parameters, solver and trace. Two
ways of changing the output m, both right for every row of the table because scale m = p x0 + q eps is linear and x_t
is the same for all:

    combine   sum_i w_i m_i with sum_i w_i = 1 is the same combination of denoisers, scores and velocities
    nudge     x0 + delta is eps - alpha delta / sigma, hence m + (p - q alpha / sigma) delta / scale

A likelihood p(y | x_t) adds its gradient to the score, which is the nudge

    delta = sigma**2 / alpha  grad log p(y | x_t).

The gradient vanishes with alpha, as x_t then says nothing of x0, and delta has a limit. `latest` is the time up to
which the quotient is computed as it stands (alpha = sigma / 100); later times take what stands over alpha from there.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward._typing import Sample, per_sample
from pushforward.models.diffusion import Diffusion
from pushforward.paths import Coefficients, Path, Prediction


def around(model: Diffusion, net: nn.Module | Callable[..., Tensor], first: float = 0.0) -> Diffusion:
    """The model with a network around its own, its span starting no earlier than `first`; all else is shared."""
    wrapped = Diffusion(
        net, model.path, model.prediction, shape=model.shape, solver=model.solver, trace=model.trace,
        data_mean=model.data_mean, data_var=model.data_var,
    )  # fmt: skip
    wrapped.base = model.base
    wrapped.span = (max(first, model.span[0]), model.span[1])
    wrapped.reach = (max(first, model.reach[0]), model.reach[1])
    wrapped.training = model.training  # and not `train`, which would change the modules that are shared
    return wrapped


def nudge(m: Sample, delta: Sample, c: Coefficients, prediction: Prediction) -> Sample:
    """The output for x0 + delta in place of x0, at equal x_t, [batch, *event]; delta must vanish where sigma does."""
    row = prediction.row(c)
    sigma = c.sigma.clamp(min=torch.finfo(c.sigma.dtype).tiny)
    return m + per_sample((row.p - row.q * c.alpha / sigma) / row.scale, m) * delta


def latest(path: Path) -> float:
    """The time at which alpha is a hundredth of sigma, 1 if it never is."""
    alpha = torch.tensor([0.01], dtype=torch.float64)
    return path.time_at(alpha, torch.ones_like(alpha)).nan_to_num(1.0).clamp(max=1.0).item()


def unscaled(x: Tensor, c: Coefficients, prediction: Prediction) -> Sample:
    """x_t from the input that a network is given."""
    return x / per_sample(prediction.input_scale(c), x)
