"""The continuity equation holds for exact fields, on every path and prediction, and for no other."""

import itertools

import pytest
import torch

from laws.zoo_oracles import ORACLES, events
from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward import models, nets, paths
from pushforward.models import Diffusion, guided, residual

GRID = list(itertools.product(PATHS, PREDICTIONS))


def queries(n=6):
    return 0.7 * events(n, seed=3), torch.linspace(0.1, 0.9, n, dtype=torch.float64)


@pytest.mark.parametrize(("path", "prediction"), GRID, ids=["-".join(pair) for pair in GRID])
def test_it_vanishes_for_an_exact_mixture(path, prediction):
    model = ORACLES["mixture"](PATHS[path], PREDICTIONS[prediction])
    assert residual(model, *queries()).relative.max() < 1e-9


@pytest.mark.parametrize(
    ("path", "prediction"), [*((path, "v") for path in PATHS), *(("linear", prediction) for prediction in PREDICTIONS)]
)
def test_it_does_not_vanish_for_another_field(path, prediction):
    """The output of each row bent by a part in twenty."""
    path, prediction = PATHS[path], PREDICTIONS[prediction]
    net = ORACLES["mixture"](path, prediction).net
    bent = Diffusion(lambda x, t, c: net(x, t, c) * (1 + 0.05 * torch.sin(3 * x)), path, prediction, shape=(2,))
    left = residual(bent, *queries())
    assert left.relative.median() > 1e-3
    torch.testing.assert_close(left.norm, left.vector.norm(dim=1))


def test_by_differences_it_is_the_same():
    """d/dt s + grad (div u + u . s) of a field that is none, by central differences of its own score and velocity."""
    torch.manual_seed(0)
    net = nets.MLP((2,), hidden=16, layers=1).double()
    torch.nn.init.normal_(net.leave.weight)
    model, (x, t), h = Diffusion(net, paths.Cosine()), queries(), 1e-4
    instant = 1e-6  # the time embedding is quick
    steps = h * torch.eye(2, dtype=torch.float64)

    def outflow(x):
        spread = sum((model.velocity(x + d, t) - model.velocity(x - d, t))[:, i] / (2 * h) for i, d in enumerate(steps))
        return spread + (model.velocity(x, t) * model.score(x, t)).sum(1)

    rate = (model.score(x, t + instant) - model.score(x, t - instant)) / (2 * instant)
    gradient = torch.stack([(outflow(x + d) - outflow(x - d)) / (2 * h) for d in steps], 1)
    torch.testing.assert_close(residual(model, x, t).vector, rate + gradient, rtol=1e-4, atol=1e-4)


def test_exploding_noise_obeys_the_heat_equation():
    """The same residual from its other form: d/dt s = sigma sigma' grad (div s + |s|**2)."""
    path = paths.VE(0.1, 5.0)
    net = ORACLES["mixture"](path, paths.score).net
    model = Diffusion(lambda x, t, c: net(x, t, c) + torch.sin(x), path, paths.score, shape=(2,))
    x, t = queries()
    c = path.coefficients(t)

    def heat(x, t, factor):
        def inner(x):
            jacobian = torch.func.jacfwd(lambda x: model.score(x[None], t[None])[0])(x)
            return jacobian.trace() + model.score(x[None], t[None])[0].square().sum()

        return factor * torch.func.grad(inner)(x)

    rate = torch.func.jvp(lambda t: model.score(x, t), (t,), (torch.ones_like(t),))[1]
    expected = rate - torch.func.vmap(heat)(x, t, c.sigma * c.sigma_dot)
    torch.testing.assert_close(residual(model, x, t).vector, expected, rtol=1e-8, atol=1e-8)


def test_probes_have_the_right_mean_and_are_exact_for_independent_coordinates():
    x, t = queries()
    net = ORACLES["mixture"](paths.Linear(), paths.v).net
    bent = Diffusion(lambda x, t, c: net(x, t, c) + torch.sin(x.flip(1)), paths.Linear(), paths.v, shape=(2,))
    exact = residual(bent, x, t).vector
    few, many = (residual(bent, x, t, probes=k, seed=1).vector for k in (4, 400))
    assert (many - exact).norm() < 0.5 * (few - exact).norm()
    assert (many - exact).norm() < 0.1 * exact.norm()
    plain = models.gaussian(torch.tensor([0.3, -1.0]), torch.tensor([0.5, 0.1]))
    assert residual(plain, x, t, probes=1).relative.max() < 1e-9


def test_guidance_leaves_the_equation():
    """A guided field belongs to no path of densities, which is why its log_prob is not the tilted density."""
    model, context = ORACLES["mixture"](paths.Cosine(), paths.v), torch.tensor([0, 1, 0, 1, 0, 1])
    assert residual(guided(model, 1.0), *queries(), context).relative.max() < 1e-9
    assert residual(guided(model, 3.0), *queries(), context).relative.max() > 1e-2


def test_where_the_score_is_infinite_it_is_refused():
    with pytest.raises(ValueError, match="score is finite"):
        residual(models.ring(), torch.zeros(1, 2), torch.zeros(1))
