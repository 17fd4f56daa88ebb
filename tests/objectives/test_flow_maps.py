"""Flow-map objectives on Gaussians, where every map is known: what each of them minimises is the exact map."""

from dataclasses import dataclass, replace

import pytest
import torch

from gaussian import ExactMap, exact_jump, gaussian_model
from pushforward import paths
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion, FlowMap, Normal
from pushforward.nets import MLP, Transformer, two_times
from pushforward.objectives import (
    Between,
    Composition,
    DistributionMatching,
    Eulerian,
    FlowMapMatching,
    Halving,
    Interval,
    Intervals,
    Lagrangian,
    Shrinking,
    Stops,
    ToData,
    few_steps,
)
from pushforward.objectives.flow_map_matching import robust
from pushforward.objectives.tangent import tangent
from pushforward.solvers import Jumps

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


FAR = (0.2, -0.3, 0.6)


@pytest.mark.parametrize("name", EXACT)
def test_descent_leads_from_afar_to_the_exact_map(name):
    """The mean square of its error over jumps between all times falls fiftyfold and more: no loss is flat or leads
    astray."""
    net, objective = ExactMap(MEAN, STD), EXACT[name]
    with torch.no_grad():
        net.offsets.copy_(torch.tensor([0.6, 0.4, -0.5]))
    model, optimizer = FlowMap(net), torch.optim.Adam([net.offsets], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
    before = error(model)
    for step in range(60):
        draw = Draw(0, "train", step)
        optimizer.zero_grad()
        objective(model, Batch(MEAN + STD * draw.of("data").normal(512, (1,), torch.float64)), draw).mean().backward()
        optimizer.step()
        schedule.step()
    assert before > 0.05
    assert error(model) < before / 50


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("times", [(0.9, 0.2), (1.0, 0.0), (0.6, 0.6), (0.35, 0.3)])
def test_the_gradient_vanishes_at_the_exact_map(name, times):
    objective = replace(EXACT[name], intervals=At(*times))
    assert slope_at(objective).abs().max() < 1e-11
    faded = objective.damping and times[0] == 1
    assert slope_at(objective, FAR).abs().max() > 5e-3 or faded  # and does not elsewhere


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
        model = FlowMap(net, critic=critic, solver=Jumps(steps, renoise=1.0))
        DistributionMatching(teacher, steps=steps)(model, Batch(moments().x.repeat(64, 1)), Draw(0)).mean().backward()
        return net.offsets.grad

    for steps in (1, 3):
        assert slope(TEACHER, steps).abs().max() < 1e-12
    higher = gaussian_model(paths.Linear(), paths.velocity, MEAN + 0.2, STD, (1,))
    assert slope(higher)[0] > 0.1  # a smaller u(x, 1, 0) is a larger sample


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_distribution_matching_makes_the_jumps_that_samples_take_and_trains_each(steps):
    exact, asked, learned = ExactMap(MEAN, STD), set(), set()

    def net(x, t, context=None, leap=None):
        for now, to in zip(t.tolist(), (t - leap).tolist()):
            asked.add((now, to))
            learned.update([(now, to)] if torch.is_grad_enabled() else [])
        return exact(x, t, context, leap)

    model = FlowMap(net, shape=(1,), critic=TEACHER, solver=Jumps(steps, renoise=1.0))
    DistributionMatching(TEACHER, steps=steps)(model, Batch(moments().x.repeat(64, 1)), Draw(0))
    trained_on = asked.copy()
    asked.clear()
    with torch.no_grad():
        model.sample(4, seed=0)
    assert trained_on == learned == asked
    assert len(asked) == steps


def test_several_jumps_without_fresh_noise_are_not_trained_by_distribution_matching():
    for solver in (None, Jumps(2), Jumps(2, renoise=0.5)):
        model = FlowMap(ExactMap(MEAN, STD), critic=TEACHER, solver=solver)
        assert DistributionMatching(TEACHER)(model, moments(), Draw(0)).isfinite().all()
        with pytest.raises(ValueError, match=r"steps=2 and Jumps.*solver=Jumps\(2, renoise=1\.0\)"):
            DistributionMatching(TEACHER, steps=2)(model, moments(), Draw(0))


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


def trained(objective, steps, batch, critic=None, seed=0, lr=1e-2, start=None):
    torch.manual_seed(seed)
    model = FlowMap.of(start) if isinstance(start, FlowMap) else FlowMap(Affine(), critic=critic)
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


def untrained():
    """What `trained` starts with."""
    torch.manual_seed(0)
    return FlowMap(Affine())


def error(model):
    """The mean square of the error of jumps between all times, in squared units of the data, whose variance is 0.25.

    So 1e-3 is an error of 0.03, a sixteenth of the data's deviation.
    """
    n = 512
    draw = Draw(1)
    t, s = draw.of("t").uniform(n), draw.of("s").uniform(n)
    t, s = torch.maximum(t, s), torch.minimum(t, s)
    x = (1 - t)[:, None] * MEAN + ((1 - t) ** 2 * STD**2 + t**2).sqrt()[:, None] * draw.of("x").normal(n, (1,))
    with torch.no_grad():
        return (model.jump(x, t, s) - exact_jump(x, t, s)).square().mean().item()


FROM_DATA = {"mean flow": few_steps.mean_flow(), "lagrangian": few_steps.lagrangian(), "shortcut": few_steps.shortcut()}
FROM_A_TEACHER = {
    "eulerian": few_steps.eulerian,
    "lagrangian": few_steps.lagrangian,
    "consistency trajectory": few_steps.consistency_trajectory,
    "direct": few_steps.direct,
}
TO_DATA = {
    "from data": few_steps.consistency(every=50),
    "continuous": few_steps.continuous_consistency(warmup=50),
}


@pytest.mark.parametrize("name", ["mean flow", pytest.param("lagrangian", marks=pytest.mark.slow), "shortcut"])
def test_training_on_data_finds_the_map(name):
    assert error(trained(FROM_DATA[name], steps=600, batch=1024)) < 1e-3 < error(untrained()) / 50


@pytest.mark.parametrize("name", FROM_A_TEACHER)
def test_training_on_a_teacher_finds_the_map(name):
    teacher = gaussian_model(paths.Linear(), paths.velocity, MEAN, STD, (1,)).float()
    assert error(trained(FROM_A_TEACHER[name](teacher), steps=300, batch=256)) < 1e-3 < error(untrained()) / 50


@pytest.mark.parametrize("name", TO_DATA)
def test_training_for_consistency_finds_the_jump_to_data(name):
    model, z = trained(TO_DATA[name], steps=600, batch=1024), torch.linspace(-2, 2, 64)[:, None]
    with torch.no_grad():
        assert (model.decode(z) - (MEAN + STD * z)).square().mean() < 1e-3


def test_progressive_stages_halve_the_steps_down_to_one():
    """Each stage learns two jumps of the one before; the last samples in one."""
    before = gaussian_model(paths.Linear(), paths.velocity, MEAN, STD, (1,)).float()
    for steps in (4, 2, 1):
        before = trained(few_steps.progressive(before, steps), steps=200, batch=256, start=before)
    z = torch.linspace(-2, 2, 64)[:, None]
    with torch.no_grad():
        assert (before.sample(64, seed=0) - (MEAN + STD * before.noise(64, seed=0))).square().mean() < 1e-3
        assert (before.decode(z) - (MEAN + STD * z)).square().mean() < 1e-3


def test_distribution_matching_finds_the_distribution():
    """No trajectory is followed, and no pair given: the mean and the spread of one-jump samples become the data's."""
    teacher = gaussian_model(paths.Linear(), paths.velocity, MEAN, STD, (1,)).float()
    matching, critic = DistributionMatching(teacher, every=1), Diffusion(Affine())
    model = trained(matching, steps=600, batch=256, critic=critic, lr=2e-3)
    x = model.sample(4096, seed=0)
    assert x.mean().item() == pytest.approx(MEAN, abs=0.06)
    assert x.std().item() == pytest.approx(STD, abs=0.06)


def test_an_anchor_holds_the_student_to_the_teachers_pairs():
    model = FlowMap(ExactMap(MEAN, STD), critic=gaussian_model(paths.Linear(), paths.velocity, MEAN, STD, (1,)))
    free, held = (DistributionMatching(TEACHER, anchor=weight) for weight in (0.0, 2.0))
    batch = moments()
    kept = replace(batch, x=MEAN + STD * batch.eps)
    torch.testing.assert_close(held(model, kept, Draw(0)), free(model, kept, Draw(0)))  # its own ends: nothing missed
    missed = held(model, replace(kept, x=kept.x + 0.5), Draw(0)) - free(model, kept, Draw(0))
    torch.testing.assert_close(missed, torch.full((4,), 0.5, dtype=torch.float64))
    with pytest.raises(ValueError, match="batches with paired noise"):
        held(model, Batch(batch.x), Draw(0))


def test_losses_split_by_sample():
    """With any number of other samples beside it, a sample's loss is its own."""
    torch.manual_seed(0)
    net = two_times(MLP((2,), hidden=8, layers=1)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    critic = gaussian_model(paths.Linear(), paths.velocity)
    model = FlowMap(net, critic=critic, solver=Jumps(3, renoise=1.0))
    x = torch.randn(40, 2, dtype=torch.float64)
    flow = gaussian_model(paths.Linear(), paths.velocity)
    recipes = (
        few_steps.mean_flow(), few_steps.shortcut(), few_steps.lagrangian(flow), few_steps.progressive(flow, 4),
        few_steps.consistency(), few_steps.continuous_consistency(flow), few_steps.consistency_trajectory(flow),
        few_steps.direct(flow), few_steps.eulerian(flow), DistributionMatching(flow, steps=3),
    )  # fmt: skip
    for objective in recipes:
        whole = objective(model, Batch(x), Draw(0, "train", step=3))
        part = objective(model, Batch(x[10:30]), Draw(0, "train", step=3, first=10))
        torch.testing.assert_close(part, whole[10:30])
        assert whole.shape == (40,)
        assert "\n" not in repr(objective)  # a run's configuration tells it in a line


def test_context_reaches_student_and_teacher():
    seen = []

    def net(x, t, context, leap=None):
        seen.append(context)
        return x

    model, context = FlowMap(net, shape=(1,)), torch.arange(4)
    for objective in (few_steps.mean_flow(), few_steps.lagrangian(Diffusion(net, shape=(1,)))):
        objective(model, replace(moments(), context=context), Draw(0))
    assert len(seen) >= 5
    assert all(each is context for each in seen)


def test_robust_losses_have_the_papers_gradients():
    """rho(e) has the gradient of e / (e + c)'**p."""
    for power in (0.0, 0.3, 0.5, 1.0):
        e = torch.tensor([0.0, 0.01, 3.0], dtype=torch.float64, requires_grad=True)
        (found,) = torch.autograd.grad(robust(e, power, 1e-2).sum(), e)
        torch.testing.assert_close(found, 1 / (e.detach() + 1e-2) ** power)
        assert robust(torch.zeros(1), power, 1e-2) == 0


def test_intervals_are_where_they_say():
    draw = Draw(0, "train", 5)
    t, s = Between(diagonal=0.25).sample(4096, draw)
    assert bool((t >= s).all())
    assert (t == s).double().mean().item() == pytest.approx(0.25, abs=0.03)
    apart = t != s
    assert (t - s)[apart].mean().item() == pytest.approx(1 / 3, abs=0.02)  # of two uniform numbers
    assert abs(torch.corrcoef(torch.stack([t[apart] - s[apart], s[apart]]))[0, 1].item() + 0.5) < 0.05
    t, s = Halving(levels=3, diagonal=0.0).sample(4096, draw, (0.0, 0.8))
    lengths, counts = torch.unique(((t - s) / 0.8).round(decimals=9), return_counts=True)
    assert lengths.tolist() == [0.25, 0.5, 1.0]
    assert counts.min() > 4096 / 3.5
    assert bool((((s / (t - s)) - (s / (t - s)).round()).abs() < 1e-9).all())
    t, s = Stops(4).sample(64, draw)
    assert set((t * 4).tolist()) == {1.0, 2.0, 3.0, 4.0}
    torch.testing.assert_close(t - s, torch.full_like(t, 0.25))
    t, s = ToData().sample(64, draw)
    assert not s.any()


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


def test_without_a_forward_derivative_the_difference_stands_in():
    x = torch.tensor([1.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(tangent(Backward.apply, (x,), (torch.ones_like(x),)), 2 * x)
    with pytest.raises(RuntimeError):
        tangent(Backward.apply, (x,), (torch.ones_like(x),), "jvp")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):  # a mistake of the user's is no excuse
        tangent(lambda x: x[:, None] @ torch.ones(3, 3, dtype=torch.float64), (x,), (x,))


def test_both_sides_of_a_difference_drop_the_same_units():
    """The derivative is then one of a network, and not of the luck between two."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.Linear(16, 2))
    x, found = torch.randn(8, 2), {}
    for how in ("difference", "jvp"):
        torch.manual_seed(1)
        found[how] = tangent(net, (x,), (torch.ones_like(x),), how)
    torch.testing.assert_close(found["difference"], found["jvp"], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_difference_is_right_to_a_hundredth_whatever_the_precision(precision):
    """Waves of 64 cycles bend within a thousandth of the time, and bfloat16 would round the difference away."""
    torch.manual_seed(0)
    net = two_times(Transformer((1, 4, 4), width=32, layers=1))
    for each in net.parameters():
        torch.nn.init.normal_(each, std=0.2)
    x, t, along = torch.randn(16, 1, 4, 4), torch.rand(16), torch.randn(16, 1, 4, 4)
    at, towards = (x, t), (along, torch.ones_like(t))
    with torch.no_grad():
        exact = tangent(lambda x, t: net(x, t, leap=t), at, towards, "jvp")
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            found = tangent(lambda x, t: net(x, t, leap=t), at, towards, "difference")
    assert (found - exact).norm() < 0.01 * exact.norm()


def test_what_cannot_be_is_refused():
    batch, plain = moments(), FlowMap(ExactMap(MEAN, STD))
    with pytest.raises(ValueError, match=r"FlowMap\.of\(diffusion\)"):
        FlowMapMatching()(TEACHER, batch, Draw(0))
    with pytest.raises(ValueError, match="a teacher to walk a leg"):
        FlowMapMatching(Composition(0.5, "teacher"))(plain, batch, Draw(0))
    with pytest.raises(ValueError, match="a flow map with a critic"):
        DistributionMatching(TEACHER)(plain, batch, Draw(0))
    own = FlowMap(ExactMap(MEAN, STD), critic=TEACHER, base=Normal((1,), 2.0))
    with pytest.raises(ValueError, match=r"DistributionMatching\(\), which draws N\(0, 1\).*a Normal of deviation 2"):
        DistributionMatching(TEACHER)(own, batch, Draw(0))
    for wrong in (
        lambda: Between(diagonal=2.0), lambda: Halving(0), lambda: Stops(0), lambda: Composition(0.0),
        lambda: FlowMapMatching(power=2.0), lambda: DistributionMatching(TEACHER, steps=0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="Expected"):
            wrong()
