"""Likelihoods and their errors, against closed forms."""

import itertools
import math

import pytest
import torch

from laws.zoo_paths import PATHS, PREDICTIONS
from models.exact import MEAN, MEANS, STDS, VAR, WEIGHTS, Correlated, Mixture, mixture_log_prob
from pushforward import paths
from pushforward.models import Diffusion, Normal, NormalizingFlow, likelihood
from pushforward.models.likelihood import student
from pushforward.solvers import (
    RK4,
    Adaptive,
    ByDimension,
    Euler,
    Exact,
    Heun,
    Hutchinson,
    HutchPlus,
    Solver,
    drain,
)
from pushforward.transforms import Chain, DiagonalScale, Shift

POINTS = torch.tensor([-1.3, -0.9, -0.3, 0.0, 0.5, 1.2], dtype=torch.float64)[:, None]
STABLE_DIFFUSION = paths.Discrete.scheduled("scaled_linear", 0.00085, 0.012)
TIGHT = Adaptive(rtol=1e-9, atol=1e-9)
GRID = sorted({*itertools.product(PATHS, ["eps", "velocity"]), *itertools.product(["linear", "vp"], PREDICTIONS)})


def mixture(path=None, prediction=paths.velocity, shape=(1,), matched=True, **kwargs):
    path = paths.Linear() if path is None else path
    moments = {"data_mean": MEAN, "data_var": VAR} if matched else {}
    return Diffusion(Mixture(path, prediction, shape), path, prediction, **moments, **kwargs)


@pytest.mark.parametrize(("path", "prediction"), GRID, ids=["-".join(pair) for pair in GRID])
def test_within_1e_4_nats_of_a_mixture_on_every_path(path, prediction):
    model = mixture(PATHS[path], PREDICTIONS[prediction])
    found = likelihood(model, POINTS, solver=Adaptive(1e-6, 1e-6), check=False)
    exact = mixture_log_prob(POINTS, found.alpha, found.sigma)
    torch.testing.assert_close(found.log_prob, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prediction", ["eps", "v", "velocity", "score", "edm"])
def test_it_is_the_density_of_the_data_where_the_velocity_is_infinite(prediction):
    """The variance-preserving velocity is infinite at t = 0, where samples must stop short; likelihoods need not."""
    model = mixture(paths.VP(), PREDICTIONS[prediction])
    found = likelihood(model, POINTS, solver=Adaptive(1e-6, 1e-6))
    assert (model.span[0], model.reach[0], found.alpha, found.sigma) == (0.001, 0.0, 1.0, 0.0)
    torch.testing.assert_close(found.log_prob, mixture_log_prob(POINTS), rtol=0, atol=1e-5)


def test_a_step_is_worth_the_same_on_every_path():
    """One curve whatever the path: equally many steps, nearly equal numbers."""
    found = [likelihood(mixture(PATHS[p], paths.eps), POINTS, solver=RK4(20)).log_prob for p in ("vp", "cosine")]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=2e-3)


@pytest.mark.parametrize("trace", [Hutchinson(probes=8), Hutchinson(probes=16, seed=3), HutchPlus(4, 12)])
def test_intervals_cover_what_they_promise(trace):
    net = Correlated()
    x = net.draw(1000)
    found = likelihood(Diffusion(net), x, solver=RK4(8), trace=trace, check=False, chunk=1000)
    low, high = found.interval(0.95)
    covered = ((low <= net.log_prob(x)) & (net.log_prob(x) <= high)).double().mean().item()
    assert 0.93 <= covered <= 0.97
    spread = (found.log_prob - net.log_prob(x)).square().mean().sqrt().item()
    assert spread == pytest.approx(found.error.mean().item(), rel=0.12)
    assert found.columns == trace.probes
    # the columns cost one solve: 8 steps of 4 calls
    assert found.nfe == net.calls == 32


def test_without_random_columns_there_is_no_interval_to_speak_of():
    net = Correlated(size=3)
    x = net.draw(4)
    exact = likelihood(Diffusion(net), x, trace=Exact())
    assert exact.columns == 0
    assert (exact.error == 0).all()
    assert all(torch.equal(end, exact.log_prob) for end in exact.interval())
    single = likelihood(Diffusion(net), x, trace=Hutchinson(probes=1))
    assert single.error.isnan().all()


@pytest.mark.parametrize("solver", [RK4(20), Heun(40), Euler(200), Adaptive(1e-4, 1e-4)])
def test_the_solvers_error_is_at_most_what_is_said_of_it(solver):
    found = likelihood(mixture(), POINTS, solver=solver)
    off = (found.log_prob - mixture_log_prob(POINTS)).abs()
    assert (off <= (2 if isinstance(solver, Euler) else 1) * found.solver_error + 1e-6).all()
    assert found.solver_error.max() < 60 * off.max()
    assert (
        "ten times" in found.coarser if isinstance(solver, Adaptive) else f"{solver.steps // 2} steps" in found.coarser
    )


def test_one_pass_knows_the_density_of_its_samples():
    """flow_matching#62: likelihood while sampling."""
    model = mixture(shape=(2, 3), solver=TIGHT).double()
    x, log_prob = model.rsample_and_log_prob(5, seed=0)
    torch.testing.assert_close(log_prob, model.log_prob(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(log_prob.double(), mixture_log_prob(x.double()), rtol=0, atol=1e-3)


def test_gradients_flow_when_they_are_enabled():
    """flow_matching#59: gradients were None with enable_grad. Here against differences, through one pass."""
    size = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    model = Diffusion(lambda x, t, context: torch.sin(x) * size, shape=(2,), solver=RK4(10))
    z = torch.linspace(-1.5, 1.5, 6, dtype=torch.float64).reshape(3, 2)

    def free_energy():
        x, ladj = model.decode_and_ladj(z)
        return (model.base.log_prob(z) - ladj + x.square().sum(1) / 2).mean()

    (slope,) = torch.autograd.grad(free_energy(), size)
    with torch.no_grad():
        ends = []
        for h in (1e-4, -1e-4):
            size += h
            ends.append(free_energy())
            size -= h
    assert slope.item() == pytest.approx(((ends[0] - ends[1]) / 2e-4).item(), rel=1e-6)
    x, log_prob = model.rsample_and_log_prob(3, seed=0)
    assert x.requires_grad
    assert log_prob.requires_grad
    with torch.no_grad():
        assert not model.rsample_and_log_prob(3, seed=0)[1].requires_grad
    assert not model.sample(3, seed=0).requires_grad


def test_the_density_integrates_to_one_with_the_solver_nobody_chose():
    """flow_matching#55: with its default solver, Euler, the density did not."""
    line = torch.linspace(-3, 3, 301, dtype=torch.float64)[:, None]
    mass = likelihood(mixture(), line).log_prob.exp().sum() * (line[1] - line[0])
    assert mass.item() == pytest.approx(1.0, abs=1e-4)


def test_the_exact_trace_works_on_images():
    """flow_matching's exact mode raises IndexError on anything but vectors."""
    x = torch.linspace(-1.2, 1.2, 36, dtype=torch.float64).reshape(3, 2, 3, 2)
    found = likelihood(mixture(shape=(2, 3, 2)), x, solver=RK4(60), trace=Exact(chunk=5))
    torch.testing.assert_close(found.log_prob, mixture_log_prob(x), rtol=0, atol=1e-3)


def test_probes_cost_an_adaptive_solver_no_steps():
    """Probes drawn anew in every call make it take tens of times more: the field it sees is noise."""
    solver = Adaptive(1e-5, 1e-5)
    calls = []
    for trace in (Exact(), Hutchinson(probes=1), Hutchinson(probes=16)):
        net = Correlated()
        model = Diffusion(net)
        found = likelihood(model, net.draw(4), solver=solver, trace=trace, check=False)
        assert net.calls == found.nfe
        calls.append(found.nfe)
    assert max(calls) <= 1.5 * calls[0] < 150


def test_parts_of_a_batch_see_the_probes_of_the_whole():
    net = Correlated()
    x, trace, solver = net.draw(7), Hutchinson(probes=3, seed=5), RK4(4)
    whole = likelihood(Diffusion(net), x, solver=solver, trace=trace)
    split = likelihood(Diffusion(net), x, solver=solver, trace=trace, chunk=3)
    last = likelihood(Diffusion(net), x[5:], solver=solver, trace=trace, first=5)
    for name in ("log_prob", "error", "solver_error", "z"):
        torch.testing.assert_close(getattr(split, name), getattr(whole, name))
        torch.testing.assert_close(getattr(last, name), getattr(whole, name)[5:])
    assert (whole.log_prob - likelihood(Diffusion(net), x, solver=solver, trace=Hutchinson(3)).log_prob).abs().min() > 0


def test_context_goes_with_its_events():
    model = Diffusion(lambda x, t, context: x * context[:, None], shape=(2,))
    x, context = torch.zeros(5, 2), torch.arange(5.0)
    found = likelihood(model, x, context, solver=RK4(40), chunk=2)
    torch.testing.assert_close(found.log_prob, 2 * context - math.log(2 * math.pi), rtol=1e-5, atol=1e-5)


def test_the_dimension_decides():
    small, large = Correlated(size=4), Correlated(size=6)
    trace = ByDimension(limit=5, above=Hutchinson(probes=3))
    assert likelihood(Diffusion(small, trace=trace), small.draw(2), check=False).columns == 0
    assert likelihood(Diffusion(large, trace=trace), large.draw(2), check=False).columns == 3


def test_a_flow_of_transforms_has_no_errors():
    flow = NormalizingFlow(Chain(Shift((2,)), DiagonalScale((2,))), Normal((2,)))
    x = torch.randn(4, 2)
    found = likelihood(flow, x)
    assert torch.equal(found.log_prob, flow.log_prob(x))
    assert (found.error == 0).all()
    assert (found.solver_error == 0).all()
    assert not found.log_prob.requires_grad


def test_solvers_that_cannot_carry_the_divergence_are_named():
    class Jump(Solver):
        def trajectory(self, field, x, *args, **kwargs):
            yield x

        def __repr__(self):
            return "Jump()"

    with pytest.raises(ValueError, match=r"Expected a Runge-Kutta or adaptive solver for a likelihood; got Jump\(\)"):
        likelihood(mixture(), POINTS, solver=Jump())
    # as a model's own, chosen for samples, it is replaced
    torch.testing.assert_close(mixture(solver=Jump()).log_prob(POINTS), mixture_log_prob(POINTS), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("level", "degrees", "expected"), [
    (0.95, 1, 12.7062), (0.95, 2, 4.3027), (0.95, 7, 2.3646), (0.99, 10, 3.1693), (0.9, 30, 1.6973),
])  # fmt: skip
def test_students_quantiles(level, degrees, expected):
    """Any statistical table."""
    assert student(level, degrees) == pytest.approx(expected, abs=5e-5)
    assert student(level, 0) == math.inf


def test_matched_noise_is_the_datas_own_at_the_last_time():
    """Stable Diffusion's chain keeps 6.8 % of the data at its end, which a base of mean 0 does not know."""
    plain = mixture(STABLE_DIFFUSION, paths.eps, matched=False, solver=Adaptive(1e-6, 1e-6))
    model = plain.matched(MEAN, VAR)
    c = STABLE_DIFFUSION.coefficients(torch.zeros(1, dtype=torch.float64))
    exact = mixture_log_prob(POINTS, c.alpha, c.sigma)
    # what is left is the skewness of the data, of which alpha**3 stays
    assert (plain.log_prob(POINTS) - exact).abs().max() > 3e-3
    assert (model.log_prob(POINTS) - exact).abs().max() < 2e-4
    vp = plain.on(paths.VP(), paths.v)
    for moved in (model.on(vp.path, paths.v), vp.matched(torch.full((1,), MEAN), torch.tensor(VAR))):
        assert (moved.log_prob(POINTS) - exact).abs().max() < 2e-4
    x = plain.matched(3.0, 0.0).noise(20_000, seed=0)
    assert x.mean().item() == pytest.approx(3 * 0.06827, abs=0.02)


def test_matched_noise_takes_a_mean_for_each_number():
    mean = torch.arange(6.0).reshape(2, 3)
    model = Diffusion(lambda x, t, context: 0 * x, STABLE_DIFFUSION, paths.v, shape=(2, 3), data_mean=mean)
    noise = model.noise(4000, seed=1)
    torch.testing.assert_close(noise.mean(0), mean * 0.06811, rtol=0, atol=0.06)
    assert noise.dtype == torch.get_default_dtype()


@pytest.mark.parametrize(("matched", "expected"), [(False, 0.0040), (True, 0.00143)])
def test_the_floor_of_deterministic_samplers_falls_with_matched_noise(matched, expected):
    """W1 to a mixture on Stable Diffusion's chain, exact eps, however many steps: .0040 from N(0, 1), .0014 matched.

    What is left is the jump from the chain's first noise level, sigma = 0.029, to the data.
    """
    model = mixture(STABLE_DIFFUSION, paths.eps, matched=matched)
    n = 4000
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    normal = torch.special.ndtri(u)[:, None]
    z = normal * model.base.std + model.base.mean if matched else normal
    with torch.no_grad():
        x = drain(Heun(400).trajectory(model.velocity, z, start=1.0, end=0.0))
        x = model.denoiser(x, torch.zeros(n, dtype=torch.float64))
    assert (x.flatten().sort().values - _quantiles(u)).abs().mean().item() == pytest.approx(expected, abs=0.00006)


def _quantiles(u):
    weights, means, stds = (torch.tensor(each, dtype=torch.float64) for each in (WEIGHTS, MEANS, STDS))
    low, high = torch.full_like(u, -4.0), torch.full_like(u, 4.0)
    for _ in range(50):
        middle = (low + high) / 2
        below = (weights * torch.special.ndtr((middle[:, None] - means) / stds)).sum(1) < u
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
