"""Continuous normalizing flows: the path from noise to data is whatever a network learns, trained by likelihood.

    dx/dt = f(x, t),      log p(x(0)) = log base(x(1)) + integral over t of div f

A `Diffusion` integrates the same equation, so FFJORD is one whose network is its velocity, with no path behind it to
regress on: train it with `objectives.Likelihood`. What distinguishes it is the network and how derivatives are had. The
solver decides what training keeps in memory, besides the insides of one call of the network (for `Retraced` of eight),
and how often it calls the network for a step there, and then for its gradient:

    solver                 keeps                       its gradient                     calls
    RK4(8), the default    the states between calls    of the steps taken               4 + 4
    Retraced(8)            one pair of states          of the steps taken               8 + 16
    Adjoint(RK4(8))        one state                   of the ODE, solved backwards     4 + 4
    Adjoint(Adaptive())    one state                   of the ODE, solved backwards     6 + 6
"""

from pushforward.models.diffusion import Diffusion
from pushforward.models.named import numbers
from pushforward.nets.concat_squash import ConcatSquash
from pushforward.paths import Linear, velocity
from pushforward.solvers import RK4, Checkpointed, Exact, Frugal, Hutchinson, Solver


def ffjord(
    shape: tuple[int, ...],
    hidden: int = 64,
    layers: int = 3,
    *,
    context: int = 0,
    classes: int = 0,
    probes: int = 0,
    seed: int = 0,
    solver: Solver | None = None,
) -> Diffusion:
    """FFJORD: a free-form velocity, whose memory in training is that of one call of the network and of the states.

    With `solver=Retraced(steps=8)` it is that of one call alone, however many steps there are, and the gradient stays
    exact; with `solver=Adjoint(Adaptive())` too, by the adjoint method of Chen et al., with any solver.

    Args:
        shape: the event's shape.
        hidden, layers: of the network.
        context: length of a context vector, 0 for none.
        classes: number of classes instead; no context, or index `classes`, then means "no class".
        probes: random signs for the divergence (Hutchinson), or 0 for the exact one, which costs a product for each
            number of the event.
        seed: of those signs; fixed within a solve, and the same for every solve.
        solver: how to integrate; RK4 in 8 steps by default, a fixed discretisation that is trained as it is used.
            The module's table has the choices for training; `Adaptive` is the choice for evaluation.

    Raises:
        ConfigError: an event of no numbers, or both context and classes.

    References:
        Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud 2018, arXiv 1810.01367.
        Chen, Rubanova, Bettencourt, Duvenaud 2018, arXiv 1806.07366 (continuous flows and the adjoint).

    >>> import torch
    >>> ffjord((2,), hidden=8).log_prob(torch.zeros(1, 2)).shape
    torch.Size([1])
    """
    numbers(shape)
    net = ConcatSquash(shape, hidden, layers, context, classes)
    trace = Hutchinson(probes, seed) if probes else Exact()
    if not isinstance(solver, Frugal):  # whose graphs are of one call or step anyway
        trace = Checkpointed(trace)
    return Diffusion(net, Linear(), velocity, solver=RK4(steps=8) if solver is None else solver, trace=trace)
