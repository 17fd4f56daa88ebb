"""Reflow in closed form: ends are kept, lines straighten, and no convex cost of moving rises (Liu et al. 2022, 3.5).

For a coupling that is a mixture of joint normals (x0, eps) ~ sum_k w_k N(m_k, C_k) the rectified flow is known: given
the component, x_t and eps - x0 are normal together, and posterior weights of the components do the rest.
"""

import importlib.util
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion, FromTorch
from pushforward.objectives import Pairs, Regression, matched, pairs
from pushforward.paths import OptimalTransport, TimeDistribution
from pushforward.report import straightness
from pushforward.solvers import RK4

needs_pot = pytest.mark.skipif(importlib.util.find_spec("ot") is None, reason="POT is not installed (extra 'ot')")
SOLVER = RK4(steps=40)
COSTS = {
    "square": lambda d: d.square().sum(-1),
    "distance": lambda d: d.square().sum(-1).sqrt(),
    "to the fourth": lambda d: d.square().sum(-1).square(),
    "exponential": lambda d: (0.7 * d[..., 0]).exp() + (-0.4 * d[..., -1]).exp(),
}


class Rectified(torch.nn.Module):
    """E[eps - x0 | x_t] of a mixture of joint normals; all samples at one time, as fixed steps have it.

    Args:
        weights: [components].
        means: of (x0, eps), [components, 2 size].
        covariances: of (x0, eps), [components, 2 size, 2 size].
    """

    def __init__(self, weights, means, covariances):
        super().__init__()
        self.weights, (self.m0, self.m1) = weights, means.chunk(2, 1)
        size = self.m0.shape[1]
        self.c00, self.c01 = covariances[:, :size, :size], covariances[:, :size, size:]
        self.c11, self.shape = covariances[:, size:, size:], (size,)

    def forward(self, x, t, context=None):
        t = t[0].double()
        cross = self.c01 + self.c01.mT
        var = (1 - t) ** 2 * self.c00 + t**2 * self.c11 + t * (1 - t) * cross
        along = t * self.c11 - (1 - t) * self.c00 + (1 - t) * self.c01.mT - t * self.c01  # Cov(eps - x0, x_t)
        off = x[:, None] - ((1 - t) * self.m0 + t * self.m1)
        each = torch.distributions.MultivariateNormal(torch.zeros_like(self.m0), var)
        share = (self.weights.log() + each.log_prob(off)).softmax(1)
        slope = (self.m1 - self.m0) + torch.einsum("kij,nkj->nki", along @ torch.linalg.inv(var), off)
        return (share[..., None] * slope).sum(1)


def flow_of(weights, means, covariances):
    """The rectified flow, from the noise end's own law, and the exact law of each end."""
    weights, means, covariances = (torch.tensor(np.array(each)) for each in (weights, means, covariances))
    net = Rectified(weights, means, covariances)
    parts = torch.distributions.Categorical(weights)
    data, noise = (
        torch.distributions.MixtureSameFamily(parts, torch.distributions.MultivariateNormal(m, c))
        for m, c in ((net.m0, net.c00), (net.m1, net.c11))
    )
    return Diffusion(net, base=FromTorch(noise), solver=SOLVER), data, noise


def joint(c00, c11, c01):
    """The covariance of (x0, eps)."""
    c00, c11, c01 = np.array(c00), np.array(c11), np.array(c01)
    return np.block([[c00, c01], [c01.T, c11]])


def drawn(weights, means, covariances, n=20_000):
    """Stratified pairs of the coupling itself, [n, 2 size]."""
    size = len(means[0])
    u = torch.quasirandom.SobolEngine(size + 1, scramble=True, seed=3).draw(n, dtype=torch.float64)
    z = torch.special.ndtri(u[:, 1:].clamp(1e-9, 1 - 1e-9))
    k = torch.searchsorted(torch.tensor(weights, dtype=torch.float64).cumsum(0), u[:, 0].contiguous())
    k = k.clamp(max=len(weights) - 1)
    roots = torch.linalg.cholesky(torch.tensor(np.array(covariances)))
    return torch.tensor(np.array(means), dtype=torch.float64)[k] + torch.einsum("nij,nj->ni", roots[k], z)


WIDE, TALL = [[4.0, 1.5], [1.5, 1.0]], [[0.6, -0.4], [-0.4, 2.0]]
NORMAL = ([1.0], [[1.0, -2.0, 0.0, 0.0]], [joint(TALL, WIDE, np.zeros((2, 2)))])
CROSSED = (
    [0.5, 0.3, 0.2],
    [[2.0, 2.0, 0.0, -3.0], [-2.0, 1.0, 3.0, 0.0], [0.0, -2.0, -2.0, 2.0]],
    [
        joint([[0.3, 0.1], [0.1, 0.5]], [[0.5, 0.0], [0.0, 0.5]], [[-0.2, 0.1], [0.1, -0.3]]),
        joint([[0.5, 0.0], [0.0, 0.2]], [[0.4, -0.1], [-0.1, 0.8]], [[0.1, 0.2], [-0.1, 0.1]]),
        joint([[0.4, -0.2], [-0.2, 0.4]], [[0.6, 0.2], [0.2, 0.4]], [[-0.3, 0.1], [0.0, -0.1]]),
    ],
)
COUPLINGS = {"normal": NORMAL, "three crossed modes": CROSSED}


@dataclass(frozen=True)
class At(TimeDistribution):
    """This time for every sample."""

    t: float

    def quantile(self, u, path, span=(0.0, 1.0)):
        return torch.full_like(u, self.t)


@pytest.mark.parametrize("name", COUPLINGS)
@pytest.mark.parametrize("t", [0.15, 0.8])
def test_what_reflow_minimises_is_the_rectified_velocity(name, t):
    """On the pairs of any coupling: no affine change of the exact velocity lowers the loss, up to the pairs' number."""
    model, ends = flow_of(*COUPLINGS[name])[0], drawn(*COUPLINGS[name])
    more = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)

    def moved(x, t, context=None):
        return model.net(x, t) + torch.cat([torch.ones_like(x[:, :1]), x], 1) @ more

    batch = Batch(ends[:, :2], eps=ends[:, 2:])
    Regression(times=At(t))(Diffusion(moved, shape=(2,)), batch, Draw(0)).mean().backward()
    assert more.grad.abs().max() < 0.03


@pytest.mark.parametrize("name", COUPLINGS)
def test_the_ends_keep_their_laws(name):
    """The density that the rectified flow carries from the noise's law is the data's, to the solver's error."""
    model, data, noise = flow_of(*COUPLINGS[name])
    ends = drawn(*COUPLINGS[name], n=16)
    x, eps = ends[:, :2], ends[:, 2:]
    torch.testing.assert_close(model.log_prob(x, solver=SOLVER), data.log_prob(x), rtol=0, atol=3e-4)
    found, ladj = model.decode_and_ladj(eps, solver=SOLVER)
    torch.testing.assert_close(noise.log_prob(eps) - ladj, data.log_prob(found), rtol=0, atol=3e-4)


@pytest.mark.parametrize("name", COUPLINGS)
def test_no_convex_cost_of_moving_rises(name):
    """Not one of four, and each falls by much more than the sum over 20,000 stratified pairs is off by."""
    before = drawn(*COUPLINGS[name])
    x0, eps = before[:, :2], before[:, 2:]
    model, _, _ = flow_of(*COUPLINGS[name])
    again = model.decode(eps[:4000], solver=RK4(steps=12))
    for cost in COSTS.values():
        paid, kept = cost(eps - x0), cost(eps[:4000] - again)
        assert kept.mean() < 0.97 * paid.mean()


def test_in_one_dimension_one_reflow_is_the_best_for_every_cost():
    """Paths of an ODE on a line do not cross: the coupling is the monotone one, quantile to quantile."""
    model, data, noise = flow_of(
        [0.4, 0.6], [[-2.0, 1.0], [1.5, -1.0]], [joint([[0.3]], [[0.5]], [[-0.3]]), joint([[0.6]], [[0.4]], [[-0.2]])]
    )
    eps = torch.linspace(-3, 3, 200, dtype=torch.float64)[:, None]
    x = model.decode(eps, solver=RK4(steps=120))

    def below(law, at):
        parts = law.component_distribution
        each = torch.special.ndtr((at - parts.loc[:, 0]) / parts.covariance_matrix[:, 0, 0].sqrt())
        return (each * law.mixture_distribution.probs).sum(1)

    torch.testing.assert_close(below(data, x), below(noise, eps), rtol=0, atol=1e-6)


def test_of_normals_the_second_reflow_changes_nothing():
    """Pairs of a linear flow lie on lines that do not cross: the flow along them is straight, with the same ends."""
    first = flow_of(*NORMAL)[0]
    made = pairs(first, 512, SOLVER)
    made = Pairs(made.x.double(), made.eps.double())
    bent = straightness(first, SOLVER, n=512)
    mean = torch.tensor(NORMAL[1][0][:2], dtype=torch.float64)
    linear = torch.linalg.lstsq(made.eps, made.x - mean).solution.mT  # x0 = mean + linear eps
    cov = torch.tensor(np.array([TALL, WIDE]))
    torch.testing.assert_close(linear @ cov[1] @ linear.mT, cov[0], rtol=0, atol=1e-5)
    assert (linear - linear.mT).abs().max() > 0.05  # and not the optimal map, which is symmetric

    def along(x, t, context=None):
        eye, t = torch.eye(2, dtype=torch.float64), t[:, None, None]
        eps = torch.linalg.solve((1 - t) * linear + t * eye, (x - (1 - t[..., 0]) * mean)[..., None])
        return ((eye - linear) @ eps)[..., 0] - mean

    second = Diffusion(along, shape=(2,), base=first.base, solver=SOLVER)
    losses = Regression()(second, Batch(made.x, eps=made.eps), Draw(0))
    assert losses.max() < 1e-9
    assert straightness(second, SOLVER, n=512).relative < 1e-9 < bent.relative
    torch.testing.assert_close(second.decode(made.eps, solver=SOLVER), made.x, rtol=0, atol=1e-5)


def moved(made):
    """The mean squared length of the lines."""
    return (made.eps - made.x).square().sum(1).mean().item()


@needs_pot
def test_matched_among_more_events_lines_are_shorter_and_ends_the_same():
    """Towards W2**2 of the normals, 2 (1 - 0.5)**2 in the plane, from above: few points cannot be matched as well."""
    x = 0.5 * Draw(2).normal(1024, (2,))
    made = {among: matched(x, OptimalTransport(), 3, among=among) for among in (1, 16, 128, 1024)}
    costs = [moved(each) for each in made.values()]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == pytest.approx(0.5, abs=0.06)
    assert costs[0] > 2.3  # alone, an event has nothing to choose from
    for each in made.values():
        assert torch.equal(each.x, x)
        assert each.eps.std().item() == pytest.approx(1, abs=0.05)
    again = matched(x[:128], OptimalTransport(), 3, among=128)  # a block is a function of its events, seed and number
    assert torch.equal(again.eps, made[128].eps[:128])
    assert not torch.equal(matched(x[:128], OptimalTransport(), 4, among=128).eps, again.eps)


@needs_pot
def test_matched_classes_are_not_mixed():
    """Two classes far apart each get the whole of the noise, in blocks of their own where there are enough of them."""
    label = torch.arange(600) % 2
    x = Draw(2).normal(600, (2,)) + 6.0 * label[:, None]
    made, careless = (matched(x, OptimalTransport(), 0, given, among=300) for given in (label, None))
    assert torch.equal(made.context.sort().values, label.sort().values)
    for each in (0, 1):
        mine = made.context == each
        assert torch.equal(made.x[mine], x[label == each])
        assert made.eps[mine].mean(0).abs().max() < 0.15
        assert mine.nonzero().flatten().diff().max() == 1
    assert careless.eps[careless.x[:, 0] > 3].mean() > 0.4  # matched together, a class gets the side next to it
    with pytest.raises(ValueError, match="among=0"):
        matched(x, OptimalTransport(), among=0)


def test_pairs_are_data_whatever_graph_made_them():
    weight = torch.ones(2, requires_grad=True)
    made = Pairs(torch.ones(3, 2) * weight, torch.zeros(3, 2) + weight)
    assert not made.x.requires_grad
    assert not made.eps.requires_grad
