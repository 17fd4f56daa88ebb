"""Continuous normalizing flows: the path from noise to data is whatever a network learns, trained by likelihood.

    dx/dt = f(x, t),      log p(x(0)) = log base(x(1)) + integral over t of div f

A `Diffusion` integrates the same equation, so FFJORD is one whose network is its velocity, with no path behind it to
regress on: train it with `objectives.Likelihood`. What distinguishes it is the network and how derivatives are had.
"""

from pushforward.models.diffusion import Diffusion
from pushforward.nets.concat_squash import ConcatSquash
from pushforward.paths import Linear, velocity
from pushforward.solvers import RK4, Checkpointed, Exact, Hutchinson, Solver


def ffjord(
    shape: tuple[int, ...],
    hidden: int = 64,
    layers: int = 3,
    *,
    context: int = 0,
    probes: int = 0,
    seed: int = 0,
    solver: Solver | None = None,
) -> Diffusion:
    """FFJORD: a free-form velocity, whose memory in training is that of one call of the network.

    Args:
        shape: the event's shape.
        hidden, layers: of the network.
        context: length of a context vector, 0 for none.
        probes: random signs for the divergence (Hutchinson), or 0 for the exact one, which costs a product for each
            number of the event.
        seed: of those signs; fixed within a solve, and the same for every solve.
        solver: how to integrate; RK4 in 8 steps by default, a fixed discretisation that is trained as it is used.
            `Retraced` keeps nothing of its steps in training either, where RK4 keeps the states between calls;
            `Adaptive` is the choice for evaluation.

    References:
        Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud 2018, arXiv 1810.01367.

    >>> import torch
    >>> ffjord((2,), hidden=8).log_prob(torch.zeros(1, 2)).shape
    torch.Size([1])
    """
    net = ConcatSquash(shape, hidden, layers, context)
    trace = Checkpointed(Hutchinson(probes, seed) if probes else Exact())
    return Diffusion(net, Linear(), velocity, solver=RK4(steps=8) if solver is None else solver, trace=trace)
