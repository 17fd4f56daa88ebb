"""Exact likelihood: the velocity field of a mixture is known, so its log-density can be checked to the digit.

A diffusion model is any function (x, t, context) with a shape. Here it is no network but the formula of the
velocity E[alpha' x0 + sigma' eps | x_t] for a mixture of two normals; `log_prob` integrates its divergence.
"""

import math

import torch

import pushforward as pf

torch.set_default_dtype(torch.float64)
centres = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
std = 0.5
path = pf.paths.Linear()


def velocity(x: torch.Tensor, t: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
    """Each centre's velocity, weighted by how likely that centre is."""
    alpha, sigma, alpha_dot, sigma_dot = (c[:, None, None] for c in path.coefficients(t))
    off = x[:, None] - alpha * centres
    variance = alpha**2 * std**2 + sigma**2
    weights = (-off.square().sum(-1, keepdim=True) / (2 * variance)).softmax(1)
    growth = (alpha_dot * alpha * std**2 + sigma_dot * sigma) / variance
    return (weights * (alpha_dot * centres + growth * off)).sum(1)


def log_density(x: torch.Tensor) -> torch.Tensor:
    """The mixture's own log-density, [batch]."""
    squares = (x[:, None] - centres).square().sum(-1)
    return (-squares / (2 * std**2)).logsumexp(1) - math.log(2 * 2 * math.pi * std**2)


model = pf.Diffusion(velocity, path, prediction=pf.paths.velocity, shape=(2,))
x = torch.tensor([[-2.0, 0.0], [0.0, 0.0], [1.5, 0.6], [3.0, -1.0]])
found = model.log_prob(x, solver=pf.solvers.RK4(steps=60))
for point, ours, exact in zip(x.tolist(), found.tolist(), log_density(x).tolist()):
    print(f"log p({point[0]:+.1f}, {point[1]:+.1f})   model {ours:+.5f}   exact {exact:+.5f}")
error = (found - log_density(x)).abs().max().item()
print(f"largest error: {error:.1e} nats")
assert error < 1e-5
