"""Laws of solvers: order of convergence, edits in flight, independence of everything but the arguments."""

import gc
import math
import threading
import weakref
from itertools import pairwise

import pytest
import torch

from laws.zoo_solvers import FIXED, SOLVERS
from pushforward import paths
from pushforward.solvers import Adaptive, Euler, drain


def gaussian(x, t):
    """Data N(0, 1/4) on the linear path: x (sigma' sigma + alpha' alpha / 4) / (sigma**2 + alpha**2 / 4)."""
    t = t[:, None]
    return x * (t - (1 - t) / 4) / (t**2 + (1 - t) ** 2 / 4)


def noise(n=5):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("make", "order"), FIXED.values(), ids=FIXED)
def test_order_of_convergence(make, order):
    """On x' = cos(t) x**2, whose solution is x(0) = 1 / (1 / x(1) + sin(1)); the Gaussian's field flatters midpoint."""
    x, errors = noise().abs() + 0.1, []
    for steps in (32, 64):
        end = drain(make(steps=steps).trajectory(lambda x, t: torch.cos(t)[:, None] * x**2, x))
        errors.append((end - 1 / (1 / x + math.sin(1))).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize(
    ("name", "steps", "std"),
    [("euler", 1, 0), ("euler", 2, 0.2), ("euler", 4, 0.34054054), ("euler", 8, 0.41478455), ("euler", 50, 0.48539674),
     ("midpoint", 1, 0.4), ("midpoint", 2, 0.49438669), ("midpoint", 10, 0.49988474),
     ("heun", 1, 0.5), ("heun", 2, 0.48), ("heun", 4, 0.50483470), ("heun", 20, 0.50050838)],
)  # fmt: skip
def test_known_standard_deviations(name, steps, std):
    """Closed-form results of each scheme for data N(0, 0.5**2) on the linear path."""
    one = torch.ones(1, 1, dtype=torch.float64)
    result = drain(FIXED[name][0](steps=steps).trajectory(gaussian, one)).item()
    assert result == pytest.approx(std, abs=1e-8)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_states_tell_the_way(solver):
    x = noise()
    states = list(solver.trajectory(gaussian, x))
    assert torch.equal(states[-1].x, drain(solver.trajectory(gaussian, x)))
    assert torch.all(states[-1].t == 0)
    assert all(torch.all(later.t <= sooner.t) for sooner, later in pairwise(states))
    assert all(later.nfe > sooner.nfe for sooner, later in pairwise(states))


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_network_calls_are_counted(solver):
    calls = []

    def counted(x, t):
        calls.append(len(x))
        return gaussian(x, t)

    states = list(solver.trajectory(counted, noise()))
    assert states[-1].nfe == len(calls)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_x0_is_the_end_of_a_straight_flow(solver):
    """Where the field is constant along lines, the first guess is already the answer."""
    x, target = noise(), torch.tensor([2.0, -1.0], dtype=torch.float64)

    def straight(x, t):  # all lines end at the target: v = (x - target) / t
        return (x - target) / t[:, None].clamp(min=1e-9)

    first = next(solver.trajectory(straight, x, 1.0, 0.1))
    torch.testing.assert_close(first.x0, target.expand_as(x))


def test_x0_uses_the_path():
    path, x = paths.VP(), noise()
    x0, eps = noise(), noise().flip(0)
    t = torch.full((len(x),), 0.6, dtype=torch.float64)

    def field(x, t):
        c = path.coefficients(t)
        return paths.velocity.row(c).target(x0, eps)

    state = next(Euler(steps=1).trajectory(field, path.mix(x0, eps, t), 0.6, 0.5, path))
    torch.testing.assert_close(state.x0, x0)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_send_equals_restarting_from_the_edit(solver):
    walk = solver.trajectory(gaussian, noise(1))
    next(walk)
    state = next(walk)
    edit, now = state.x * 0.5 + 1, state.t.item()
    if isinstance(solver, Adaptive):
        expected = drain(solver.trajectory(gaussian, edit, now, 0.0))
    else:
        times = solver.grid.times(solver.steps, 1.0, 0.0)[2:]
        expected = edit
        for start, end in pairwise(times):
            expected = drain(type(solver)(steps=1).trajectory(gaussian, expected, start, end))
    result = walk.send(edit).x
    while True:
        try:
            result = next(walk).x
        except StopIteration as stop:
            torch.testing.assert_close(stop.value, result)
            break
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)


def test_there_and_back():
    x, solver = noise(), Adaptive(rtol=1e-8, atol=1e-8)
    z = drain(solver.trajectory(gaussian, x, 0.0, 1.0))
    torch.testing.assert_close(z, 2 * x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(drain(solver.trajectory(gaussian, z)), x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_interleaved_generators_do_not_meet(solver):
    a, b = noise(), noise().flip(0) * 3
    alone = [state.x for state in solver.trajectory(gaussian, a)]
    one, two = solver.trajectory(gaussian, a), solver.trajectory(gaussian, b)
    for expected in alone:
        assert torch.equal(next(one).x, expected)
        next(two, None)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_threads_share_a_solver(solver):
    starts = [noise() * k for k in range(1, 9)]
    expected = [drain(solver.trajectory(gaussian, x)) for x in starts]
    results = [None] * len(starts)

    def work(i):
        results[i] = drain(solver.trajectory(gaussian, starts[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(starts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(results, expected))


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_arguments_are_left_alone_and_grad_mode_does_not_leak(solver):
    x = noise()
    before = x.clone()
    walk = solver.trajectory(gaussian, x)
    next(walk)
    assert torch.is_grad_enabled()
    drain(walk)
    assert torch.equal(x, before)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_gradients_flow_through(solver):
    x = noise().requires_grad_()
    drain(solver.trajectory(gaussian, x)).sum().backward()
    slope = x.grad
    assert slope is not None
    one = torch.ones_like(x).detach()
    linear = drain(solver.trajectory(gaussian, one))  # the map is linear, so its slope is its value at 1
    tolerance = 1e-4 if isinstance(solver, Adaptive) else 1e-12
    torch.testing.assert_close(slope, linear, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_reference_counts_free_a_trajectory(solver):
    gc.disable()
    try:
        x = noise()
        gone = weakref.ref(x)
        walk = solver.trajectory(lambda x, t: gaussian(x, t), x)
        next(walk)
        del walk, x
        assert gone() is None
    finally:
        gc.enable()


def test_adaptive_samples_ignore_their_neighbours():
    """A stiff neighbour changes neither the result nor the number of its own steps."""

    def field(x, t):  # the second coordinate sets how fast the first one turns
        return torch.stack([torch.cos(x[:, 1] * 20 * t) * x[:, 1], torch.zeros_like(t)], 1)

    easy, hard = torch.tensor([[1.0, 0.1]]).double(), torch.tensor([[1.0, 30.0]]).double()
    solver = Adaptive(rtol=1e-7, atol=1e-9)
    together = drain(solver.trajectory(field, torch.cat([easy, hard])))
    torch.testing.assert_close(together[:1], drain(solver.trajectory(field, easy)), rtol=1e-13, atol=1e-13)
    truth = 1 - torch.sin(hard[:, 1] * 20) / 20
    torch.testing.assert_close(together[1:, 0], truth, rtol=1e-5, atol=1e-5)


def test_adaptive_meets_its_tolerance_and_spends_by_it():
    x, calls = noise(), []
    for tolerance in (1e-3, 1e-6, 1e-9):
        states = list(Adaptive(rtol=tolerance, atol=tolerance).trajectory(gaussian, x))
        assert (states[-1].x - x / 2).abs().max() < 30 * tolerance
        calls.append(states[-1].nfe)
    assert calls[0] < calls[1] < calls[2]


def test_adaptive_says_when_it_is_stuck():
    with pytest.raises(ValueError, match="Raise rtol or atol"):
        drain(Adaptive(max_rounds=20).trajectory(lambda x, t: torch.full_like(x, math.nan), noise()))


def test_zero_steps_are_refused():
    with pytest.raises(ValueError, match="Expected at least 1 step; got 0"):
        Euler(steps=0)
