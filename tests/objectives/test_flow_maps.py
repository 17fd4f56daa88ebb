"""Flow-map objectives on Gaussians, where every map is known: what each of them minimises is the exact map."""

from dataclasses import dataclass, replace

import pytest
import torch

from gaussian import ExactMap, exact_jump, gaussian_model
from pushforward import paths
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion, FlowMap
from pushforward.objectives import (
    Composition,
    DistributionMatching,
    Eulerian,
    FlowMapMatching,
    Interval,
    Intervals,
    Lagrangian,
    Shrinking,
    few_steps,
)

MEAN, STD = 0.3, 0.5


@dataclass(frozen=True)
class At(Intervals):
    """These two times for every sample."""

    t: float
    s: float

    def sample(self, n, draw, span=(0.0, 1.0)):
        return Interval(torch.full((n,), self.t), torch.full((n,), self.s))


def moments():
    """Four pairs (x0, eps) with the moments of all: what is quadratic in them has its exact mean."""
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    return Batch(MEAN + STD * signs[:, :1], eps=signs[:, 1:])


def slope_at(objective, offsets=(0.0, 0.0, 0.0), step=0):
    """The gradient of the mean loss at the exact map plus these offsets."""
    net = ExactMap(MEAN, STD)
    with torch.no_grad():
        net.offsets.copy_(torch.tensor(offsets))
    objective(FlowMap(net), moments(), Draw(0, step=step)).mean().backward()
    return net.offsets.grad


TEACHER = gaussian_model(paths.Linear(), paths.velocity, MEAN, STD, (1,))
MAP = FlowMap(ExactMap(MEAN, STD))
EXACT = {
    "MeanFlow from data": FlowMapMatching(Eulerian("jvp")),
    "Eulerian": FlowMapMatching(Eulerian(), teacher=TEACHER),
    "Eulerian, a teacher on another path": FlowMapMatching(
        Eulerian(), teacher=gaussian_model(paths.Cosine(), paths.v, MEAN, STD, (1,))
    ),
    "Lagrangian": FlowMapMatching(Lagrangian(), teacher=TEACHER),
    "Lagrangian from data": FlowMapMatching(Lagrangian()),
    "shortcut": FlowMapMatching(Composition(0.5)),
    "progressive": FlowMapMatching(Composition(0.5, "teacher", "teacher"), teacher=MAP),
    "trajectory": FlowMapMatching(Composition(None, "teacher"), teacher=MAP),
    "consistency": FlowMapMatching(Composition(Shrinking(), "teacher"), teacher=MAP),
    "direct": FlowMapMatching(Composition(1.0, "teacher"), teacher=MAP),
    "damped": FlowMapMatching(Eulerian(), damping=1.0),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("times", [(0.9, 0.2), (1.0, 0.0), (0.6, 0.6), (0.35, 0.3)])
def test_the_gradient_vanishes_at_the_exact_map(name, times):
    objective = replace(EXACT[name], intervals=At(*times))
    assert slope_at(objective).abs().max() < 1e-11
    if objective.teacher is not None:
        assert slope_at(objective, (0.2, -0.3, 0.1)).abs().max() > 1e-2


def test_finite_differences_are_the_derivative_to_second_order():
    for rule in (Eulerian, Lagrangian):
        exact = FlowMapMatching(rule("jvp"), At(0.8, 0.1), TEACHER)
        about = replace(exact, rule=rule("difference"))
        far = (0.2, -0.3, 0.1)
        torch.testing.assert_close(slope_at(about, far), slope_at(exact, far), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first", ["line", "teacher"])
def test_the_share_leads_from_mean_flow_to_the_whole_solution(first):
    """k -> 0 is the Eulerian rule, with an error of order k; k = 1 is the teacher's own average."""
    teacher, far, at = (None if first == "line" else MAP), (0.2, -0.3, 0.1), At(0.9, 0.1)
    limit = slope_at(FlowMapMatching(Eulerian("jvp"), at, teacher), far)
    gaps = [
        (slope_at(FlowMapMatching(Composition(k, first), at, teacher), far) - limit).abs().max() for k in (0.04, 0.02)
    ]
    assert gaps[0] / gaps[1] == pytest.approx(2.0, rel=0.1)
    assert slope_at(FlowMapMatching(Composition(1.0, "teacher"), at, MAP)).abs().max() < 1e-12


def test_consistency_from_data_is_biased_by_order_of_the_share():
    biases = [slope_at(FlowMapMatching(Composition(k, "line"), At(0.9, 0.0))).abs().max() for k in (0.08, 0.04, 0.02)]
    assert biases[0] > 1e-3
    assert biases[0] / biases[1] == pytest.approx(2.0, rel=0.2)
    assert biases[1] / biases[2] == pytest.approx(2.0, rel=0.1)


def test_a_diffusion_walks_its_legs_by_heun():
    """The student of a teacher that takes n steps is off by order n**-2."""
    slopes = [
        slope_at(FlowMapMatching(Composition(1.0, "teacher", steps=n), At(1.0, 0.0), TEACHER)).abs().max()
        for n in (8, 16)
    ]
    assert slopes[0] / slopes[1] == pytest.approx(4.0, rel=0.25)


def test_the_warm_up_leads_from_the_velocity_to_the_derivative():
    at, far = At(0.9, 0.1), (0.2, -0.3, 0.1)
    rule = Eulerian("jvp", warmup=10)
    begun, half, done = (slope_at(FlowMapMatching(rule, at), far, step) for step in (0, 5, 20))
    torch.testing.assert_close(half, (begun + done) / 2)
    torch.testing.assert_close(done, slope_at(FlowMapMatching(Eulerian("jvp"), at), far))
    velocity = Diffusion(ExactMap(MEAN, STD))
    batch = moments()
    t = torch.full((4,), 0.9)
    wanted = (MAP.average(0.1 * batch.x + 0.9 * batch.eps, t, t - 0.8) - (batch.eps - batch.x)).square().mean(1)
    found = FlowMapMatching(rule, At(0.9, 0.1))(FlowMap(velocity.net), batch, Draw(0))
    torch.testing.assert_close(found, wanted)


def test_distribution_matching_moves_nothing_when_all_agree():
    """An exact student and an exact critic: the student's gradient is 0 at every sample; off the map it points back."""
    critic = gaussian_model(paths.Linear(), paths.velocity, MEAN, STD, (1,))

    def slope(teacher, steps=1):
        net = ExactMap(MEAN, STD)
        model = FlowMap(net, critic=critic)
        DistributionMatching(teacher, steps=steps)(model, Batch(moments().x.repeat(64, 1)), Draw(0)).mean().backward()
        return net.offsets.grad

    for steps in (1, 3):
        assert slope(TEACHER, steps).abs().max() < 1e-12
    higher = gaussian_model(paths.Linear(), paths.velocity, MEAN + 0.2, STD, (1,))
    assert slope(higher)[0] > 0.1  # a smaller u(x, 1, 0) is a larger sample


def test_distribution_matching_trains_each_network_by_its_own_term():
    model = FlowMap.of(Diffusion(Affine()), critic=True)
    batch, objective = Batch(torch.zeros(8, 1)), DistributionMatching(TEACHER.float(), every=2)
    objective(model, batch, Draw(0, step=1)).mean().backward()
    assert not any(p.grad.any() for p in model.net.parameters())
    assert any(p.grad.any() for p in model.critic.parameters())
    TEACHER.double()


class Affine(torch.nn.Module):
    """u = A x + B, with A and B small functions of both times: enough for every map between Gaussians."""

    shape = (1,)

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(2, 24), torch.nn.Tanh(), torch.nn.Linear(24, 24),
                                         torch.nn.Tanh(), torch.nn.Linear(24, 2))  # fmt: skip

    def forward(self, x, t, context=None, leap=None):
        leap = torch.zeros_like(t) if leap is None else leap
        a, b = self.inner(torch.stack([t, t - leap], 1)).unbind(1)
        return a[:, None] * x + b[:, None]


def trained(objective, steps=300, critic=None, seed=0, lr=1e-2, batch=512):
    torch.manual_seed(seed)
    model = FlowMap(Affine(), critic=critic)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        draw = Draw(seed, "train", step)
        x = MEAN + STD * draw.of("data").normal(batch, (1,))
        optimizer.zero_grad()
        objective(model, Batch(x), draw).mean().backward()
        optimizer.step()
        schedule.step()
    return model


def error(model):
    """The mean squared error of jumps between all times."""
    n = 512
    draw = Draw(1)
    t, s = draw.of("t").uniform(n), draw.of("s").uniform(n)
    t, s = torch.maximum(t, s), torch.minimum(t, s)
    x = (1 - t)[:, None] * MEAN + ((1 - t) ** 2 * STD**2 + t**2).sqrt()[:, None] * draw.of("x").normal(n, (1,))
    with torch.no_grad():
        return (model.jump(x, t, s) - exact_jump(x, t, s)).square().mean().item()


FROM_DATA = {
    "mean flow": few_steps.mean_flow(),
    "mean flow by differences": replace(few_steps.mean_flow(), rule=Eulerian("difference")),
    "lagrangian": few_steps.lagrangian(),
    "shortcut": few_steps.shortcut(),
}
FROM_A_TEACHER = {
    "mean flow": few_steps.mean_flow,
    "eulerian": few_steps.eulerian,
    "lagrangian": few_steps.lagrangian,
    "consistency trajectory": few_steps.consistency_trajectory,
    "direct": few_steps.direct,
}


@pytest.mark.parametrize("name", FROM_DATA)
def test_training_on_data_finds_the_map(name):
    assert error(trained(FROM_DATA[name], steps=400, batch=512)) < 1e-3


@pytest.mark.parametrize("name", FROM_A_TEACHER)
def test_training_on_a_teacher_finds_the_map(name):
    assert error(trained(FROM_A_TEACHER[name](single()), steps=300, batch=128)) < 1e-3


def single():
    """The teacher in single precision."""
    return gaussian_model(paths.Linear(), paths.velocity, MEAN, STD, (1,)).float()
