"""Flow maps: jumps that are the exact solution, on Gaussians whose maps are known; warm starts that change nothing."""

import gc
import weakref

import pytest
import torch

from gaussian import ExactMap, exact_jump, gaussian_log_prob, gaussian_model
from laws.zoo_nets import NETS, context, trained
from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward import paths
from pushforward._errors import ConfigError
from pushforward.models import Diffusion, FlowMap, guided, likelihood
from pushforward.models.straight import straightened
from pushforward.nets import MLP, Transformer, TwoTimes, two_times
from pushforward.solvers import RK4, Adaptive, Euler, Heun, Jumps, drain, grids


def exact(shape=(2,)):
    return FlowMap(ExactMap(0.3, 0.5, shape))


def points(n=6, shape=(2,), seed=0):
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moved(net, seed=0):
    """The net with no parameter left at zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net


def test_jumps_are_the_solution_and_compose():
    model, x = exact(), points()
    t, m, s = (torch.full((6,), each, dtype=torch.float64) for each in (0.9, 0.5, 0.2))
    torch.testing.assert_close(model.jump(x, t, s), exact_jump(x, t, s))
    torch.testing.assert_close(model.jump(model.jump(x, t, m), m, s), model.jump(x, t, s))
    torch.testing.assert_close(model.jump(model.jump(x, t, s), s, t), x)
    assert torch.equal(model.jump(x, t, t), x)
    torch.testing.assert_close(model.velocity(x, t), gaussian_model(paths.Linear(), paths.velocity).velocity(x, t))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_every_number_of_jumps_gives_the_same_samples(steps):
    model = exact()
    z = model.noise(8, seed=0)
    torch.testing.assert_close(model.sample(8, steps=steps, seed=0), 0.3 + 0.5 * z)
    assert [state.nfe for state in model.trajectory(8, steps=steps, seed=0)] == list(range(1, steps + 1))


def test_the_diagonal_is_a_diffusion_with_encodings_and_densities():
    model, x = exact(), 0.3 + 0.5 * points()
    torch.testing.assert_close(model.encode(x, solver=RK4(40)), (x - 0.3) / 0.5, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(model.encode(x, solver=Jumps(2)), (x - 0.3) / 0.5)
    careful = Adaptive(1e-7, 1e-7)
    torch.testing.assert_close(model.log_prob(x, solver=careful), gaussian_log_prob(x), rtol=1e-5, atol=1e-5)
    sample, log_prob = model.rsample_and_log_prob(5, seed=0)
    torch.testing.assert_close(log_prob, model.log_prob(sample), rtol=1e-3, atol=1e-3)
    euler = model.sample(5, solver=Euler(3), seed=0)
    assert torch.equal(euler, model.velocities.sample(5, solver=Euler(3), seed=0))


def test_a_trajectory_takes_edits_and_knows_where_it_goes():
    model, walk = exact(), exact().trajectory(4, steps=3, seed=0)
    first = next(walk)
    torch.testing.assert_close(first.x0, 0.3 + 0.5 * model.noise(4, seed=0), rtol=0.9, atol=0.9)
    pinned = walk.send(torch.zeros(4, 2, dtype=torch.float64))
    t = first.t
    torch.testing.assert_close(pinned.x, exact_jump(torch.zeros(4, 2, dtype=torch.float64), t, pinned.t))
    drain(walk)


def test_a_grid_of_ones_own():
    model, grid = exact(), grids.Times((1.0, 0.3, 0.0))
    times = [state.t[0].item() for state in model.trajectory(2, solver=Jumps(2, grid), seed=0)]
    assert times == pytest.approx([0.3, 0.0])


@pytest.mark.parametrize("renoise", [0.3, 1.0])
def test_fresh_noise_on_the_way_keeps_every_marginal(renoise):
    model = exact((1,))
    for state in model.trajectory(40_000, solver=Jumps(3, renoise=renoise), seed=0):
        t = state.t[0].item()
        assert state.x.mean().item() == pytest.approx((1 - t) * 0.3, abs=0.015)
        assert state.x.std().item() == pytest.approx(((1 - t) ** 2 * 0.25 + t**2) ** 0.5, abs=0.01)
    steady, fresh = (model.sample(100, solver=Jumps(3, renoise=r), seed=0) for r in (0.0, renoise))
    assert (steady - fresh).abs().mean() > 0.05
    halves = [model.sample(50, solver=Jumps(3, renoise=renoise), seed=0, first=first) for first in (0, 50)]
    assert torch.equal(torch.cat(halves), fresh)


@pytest.mark.parametrize("name", [name for name in NETS if "twice" not in name])
def test_told_a_second_time_a_net_says_the_same_until_it_is_trained(name):
    net = trained(NETS[name])
    told, x, t = two_times(net), points(3, net.shape), torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
    c = context(name, 3)
    for leap in (None, torch.zeros(3, dtype=torch.float64), t):
        assert torch.equal(told(x, t, c, leap=leap), net(x, t, c))
    assert set(map(id, told.parameters())).isdisjoint(map(id, net.parameters()))
    (told(x, t, c, leap=t) - x).square().mean().backward()
    new = [p for key, p in told.named_parameters() if key.endswith(("leap.second.weight", "enter.weight"))]
    assert any(p.grad.any() for p in new)
    moved(told)
    assert not torch.allclose(told(x, t, c, leap=t), told(x, t, c))
    torch.testing.assert_close(told(x, t, c, leap=0 * t), told(x, t, c))
    with pytest.raises((ConfigError, TypeError)):
        net(x, t, c, leap=t)


def test_what_is_told_twice_is_told_once():
    for net in (MLP((2,), hidden=8, layers=1), ExactLike()):
        told = two_times(net)
        assert two_times(told).state_dict().keys() == told.state_dict().keys()
    with pytest.raises(ValueError, match="a net with a `shape`"):
        TwoTimes(lambda x, t, context: x)


class ExactLike(torch.nn.Module):
    """Somebody else's net."""

    shape = (2,)

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x, t, context=None):
        return self.scale * x * t[:, None]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_any_diffusion_is_the_warm_start_of_a_flow_map(path, prediction):
    """u(x, t, s) is the teacher's velocity on the straight path, for every s."""
    net = moved(MLP((2,), hidden=8, layers=1).double())
    teacher = Diffusion(net, PATHS[path], PREDICTIONS[prediction])
    model, field = FlowMap.of(teacher), straightened(teacher)
    low, high = model.span
    t = torch.linspace(max(low, 0.05), high - 0.05, 6, dtype=torch.float64)
    x = points()
    torch.testing.assert_close(model.average(x, t, t / 3), field(x, t), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.velocity(x, t), field(x, t), rtol=1e-9, atol=1e-9)
    assert any(p is not q for p, q in zip(model.parameters(), teacher.parameters()))


def test_a_warm_start_keeps_context_noise_and_likelihood():
    net = moved(Transformer((1, 4, 4), width=16, layers=1, heads=2, classes=3)).double()
    teacher = Diffusion(net)
    model, labels = FlowMap.of(teacher), torch.tensor([0, 1, 2])
    assert torch.equal(model.noise(3, seed=0), teacher.noise(3, seed=0))
    follow = Heun(steps=5)
    assert torch.equal(model.sample(3, labels, follow, 0), teacher.sample(3, labels, follow, 0))
    x = points(3, (1, 4, 4))
    torch.testing.assert_close(model.log_prob(x, labels, follow), teacher.log_prob(x, labels, follow))
    assert not torch.equal(model.sample(3, labels, seed=0), model.sample(3, labels.flip(0), seed=0))


def test_a_guided_teacher_starts_one_that_samples_like_it():
    net = moved(MLP((2,), hidden=8, layers=1, classes=3)).double()
    teacher = guided(Diffusion(net), 2.0)
    model, labels = FlowMap.of(teacher), torch.tensor([0, 1, 2])
    euler = Euler(steps=4)
    assert torch.equal(model.sample(3, labels, euler, 0), teacher.sample(3, labels, euler, 0))


def test_a_flow_map_made_of_another_gets_the_critic_that_is_asked_for():
    torch.manual_seed(0)
    first = FlowMap.of(Diffusion(MLP((2,), hidden=8, layers=1)))
    for each in first.parameters():
        torch.nn.init.normal_(each, std=0.3)
    again, x, t = FlowMap.of(first, critic=True), torch.randn(5, 2), torch.rand(5)
    assert FlowMap.of(first).critic is None
    torch.testing.assert_close(again.critic.velocity(x, t), first.velocity(x, t))
    assert not set(map(id, again.critic.parameters())) & set(map(id, again.net.parameters()))


def test_only_flow_maps_jump():
    with pytest.raises(ValueError, match="a flow map to jump along"):
        gaussian_model(paths.Linear(), paths.velocity).sample(2, solver=Jumps(1))
    with pytest.raises(ValueError, match="a renoise of 0 to 1"):
        Jumps(1, renoise=2.0)
    with pytest.raises(ValueError, match="a solver of a fixed number of steps"):
        exact().sample(2, solver=Adaptive(), steps=3)
    with pytest.raises(ValueError, match=r"Reshape it to \[batch, 2\]"):
        exact().jump(torch.zeros(4, 3), torch.ones(4), torch.zeros(4))


def test_steps_are_short_for_the_same_solver_with_so_many():
    model = gaussian_model(paths.Linear(), paths.velocity, solver=Heun(steps=7))
    assert torch.equal(model.sample(3, steps=4, seed=0), model.sample(3, solver=Heun(steps=4), seed=0))
    assert torch.equal(model.sample(3, solver=Euler(9), steps=4, seed=0), model.sample(3, solver=Euler(4), seed=0))


def test_derivatives_along_the_map_are_exact():
    """Both partial derivatives obey their equations: d/ds X = v(X, s) and (d/dt + v d/dx) X = 0."""
    model, x = exact(), points()
    t, s = torch.linspace(0.5, 0.9, 6, dtype=torch.float64), torch.linspace(0.1, 0.4, 6, dtype=torch.float64)
    jump, ahead = torch.func.jvp(lambda s: model.jump(x, t, s), (s,), (torch.ones_like(s),))
    torch.testing.assert_close(ahead, model.velocity(jump, s))
    slope = model.velocity(x, t)
    still = torch.func.jvp(lambda x, t: model.jump(x, t, s), (x, t), (slope, torch.ones_like(t)))[1]
    torch.testing.assert_close(still, torch.zeros_like(x), rtol=0, atol=1e-12)


def test_sampling_leaves_no_cycles():
    gc.collect()
    gc.disable()
    try:
        model = exact()
        x = model.sample(4, steps=2, seed=0)
        walk = model.trajectory(4, steps=3, seed=0)
        next(walk)
        gone = [weakref.ref(thing) for thing in (model, model.net, x)]
        del model, x, walk
        assert [ref() for ref in gone] == [None] * 3
    finally:
        gc.enable()


def test_a_likelihood_and_its_errors_are_those_of_the_diagonal():
    x = 0.3 + 0.5 * points()
    found = likelihood(exact(), x)
    torch.testing.assert_close(found.log_prob, gaussian_log_prob(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.log_prob, likelihood(exact().velocities, x).log_prob)
