"""Laws of solvers: order of convergence, edits in flight, independence of everything but the arguments."""

import gc
import math
import threading
import weakref
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from laws.zoo_solvers import FIXED, NEED_PATH, ORDERS, SOLVERS, STOCHASTIC
from pushforward import Draw, models, paths
from pushforward.solvers import (
    DDIM,
    Adaptive,
    Adjoint,
    Ancestral,
    Brownian,
    DPMSolver,
    Euler,
    EulerMaruyama,
    Karras,
    Reversible,
    RungeKutta,
    White,
    drain,
    grids,
)

LINEAR = {"path": paths.Linear(), "draw": Draw(0, "test")}


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


@pytest.mark.parametrize(("solver", "order"), ORDERS.values(), ids=ORDERS)
def test_order_of_convergence_on_a_path(solver, order):
    """On a mixture; steps are small at the start, where a multistep method has yet to gather its values."""
    model = models.mixture([0.4, 0.6], [[1.0, 0.2], [-0.8, 0.5]], 0.7, paths.Cosine(), paths.v)
    problem = {"path": model.path, "prediction": paths.v}
    field, start, end, x, errors = model.field(), 0.85, 0.25, noise(), []
    truth = drain(Adaptive(rtol=1e-12, atol=1e-13).trajectory(field, x, start, end, **problem))
    for steps in (48, 96):
        times = tuple(start + (end - start) * (i / steps) ** 2 for i in range(steps + 1))
        finer = replace(solver, steps=steps, grid=grids.Times(times))
        if hasattr(finer, "clean"):
            finer = replace(finer, clean=False)
        errors.append((drain(finer.trajectory(field, x, start, end, **problem)) - truth).norm().item())
    # some gain more than they promise here, none less
    assert math.log2(errors[0] / errors[1]) > order - 0.3


@pytest.mark.parametrize(
    ("name", "steps", "std"),
    [("euler", 1, 0), ("euler", 2, 0.2), ("euler", 4, 0.34054054), ("euler", 8, 0.41478455), ("euler", 10, 0.43078260),
     ("euler", 20, 0.46424750), ("euler", 50, 0.48539674), ("euler", 100, 0.49264548),
     ("midpoint", 1, 0.4), ("midpoint", 2, 0.49438669), ("midpoint", 4, 0.49829122), ("midpoint", 10, 0.49988474),
     ("heun", 1, 0.5), ("heun", 2, 0.48), ("heun", 4, 0.50483470), ("heun", 10, 0.50171991), ("heun", 20, 0.50050838)],
)  # fmt: skip
def test_known_standard_deviations(name, steps, std):
    """Closed-form results of each scheme for data N(0, 0.5**2) on the linear path."""
    one = torch.ones(1, 1, dtype=torch.float64)
    result = drain(FIXED[name][0](steps=steps).trajectory(gaussian, one)).item()
    assert result == pytest.approx(std, abs=1e-8)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_states_tell_the_way(solver):
    x = noise()
    states = list(solver.trajectory(gaussian, x, **LINEAR))
    assert torch.equal(states[-1].x, drain(solver.trajectory(gaussian, x, **LINEAR)))
    assert torch.all(states[-1].t == 0)
    assert all(torch.all(later.t <= sooner.t) for sooner, later in pairwise(states))
    assert all(later.nfe > sooner.nfe for sooner, later in pairwise(states))


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_network_calls_are_counted(solver):
    calls = []

    def counted(x, t):
        calls.append(len(x))
        return gaussian(x, t)

    states = list(solver.trajectory(counted, noise(), **LINEAR))
    assert states[-1].nfe == len(calls)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_x0_is_the_end_of_a_straight_flow(solver):
    """Where the field is constant along lines, the first guess is already the answer."""
    x, target = noise(), torch.tensor([2.0, -1.0], dtype=torch.float64)

    def straight(x, t):  # all lines end at the target: v = (x - target) / t
        return (x - target) / t[:, None].clamp(min=1e-9)

    first = next(solver.trajectory(straight, x, 1.0, 0.1, **LINEAR))
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
    walk = solver.trajectory(gaussian, noise(1), **LINEAR)
    next(walk)
    state = next(walk)
    edit, now = state.x * 0.5 + 1, state.t.item()
    if isinstance(solver, Adaptive | Adjoint):
        rest = solver
    else:
        times = solver.grid.times(solver.steps, 1.0, 0.0, paths.Linear())[2:]
        rest = replace(solver, steps=len(times) - 1, grid=grids.Times(times))
    if isinstance(solver, Karras):  # its churn is for the whole way
        rest = replace(rest, churn=solver.churn * rest.steps / solver.steps)
    expected = drain(rest.trajectory(gaussian, edit, now, 0.0, **LINEAR))
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
    alone = [state.x for state in solver.trajectory(gaussian, a, **LINEAR)]
    one, two = solver.trajectory(gaussian, a, **LINEAR), solver.trajectory(gaussian, b, **LINEAR)
    for expected in alone:
        assert torch.equal(next(one).x, expected)
        next(two, None)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_threads_share_a_solver(solver):
    starts = [noise() * k for k in range(1, 9)]
    expected = [drain(solver.trajectory(gaussian, x, **LINEAR)) for x in starts]
    results = [None] * len(starts)

    def work(i):
        results[i] = drain(solver.trajectory(gaussian, starts[i], **LINEAR))

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
    walk = solver.trajectory(gaussian, x, **LINEAR)
    next(walk)
    assert torch.is_grad_enabled()
    drain(walk)
    assert torch.equal(x, before)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_gradients_flow_through(solver):
    x = noise().requires_grad_()
    drain(solver.trajectory(gaussian, x, **LINEAR)).sum().backward()
    slope = x.grad
    assert slope is not None
    one = torch.ones_like(x).detach()  # the map is affine, so its slope is a difference
    linear = drain(solver.trajectory(gaussian, one, **LINEAR)) - drain(solver.trajectory(gaussian, 0 * one, **LINEAR))
    tolerance = 1e-4 if isinstance(solver, Adaptive | Adjoint) else 1e-12
    torch.testing.assert_close(slope, linear, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_reference_counts_free_a_trajectory(solver):
    gc.disable()
    try:
        x = noise()
        gone = weakref.ref(x)
        walk = solver.trajectory(lambda x, t: gaussian(x, t), x, **LINEAR)
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


def exact_ends(x, path):
    """What the ODE makes of noise for data N(0, 1/4)."""
    c = path.coefficients(torch.ones(1, dtype=torch.float64))
    return x * 0.5 / (c.alpha**2 * 0.25 + c.sigma**2).sqrt()


@pytest.mark.parametrize("steps", [5, 10, 18, 32, 64, 128, 256])
def test_known_errors_of_edm_samplers(steps):
    """Relative errors of the N-step samplers on data N(0, 0.5**2), sigma 80 to 0.002 to 0, to all digits."""
    known = {
        5: (-5.327330e-01, 1.515822e00, -1.346790e-01), 10: (-2.695596e-01, 2.196198e-01, 1.587959e-01),
        18: (-1.539206e-01, 5.526988e-02, 6.230090e-02), 32: (-8.759727e-02, 1.569586e-02, 1.700272e-02),
        64: (-4.411283e-02, 3.662459e-03, 3.802684e-03), 128: (-2.213568e-02, 8.798771e-04, 8.959524e-04),
        256: (-1.109037e-02, 2.103841e-04, 2.122811e-04),
    }[steps]  # fmt: skip
    model = models.gaussian(0.0, 0.5, paths.EDM(), paths.edm(0.5), shape=(1,))
    x = torch.ones(1, 1, dtype=torch.float64)
    assert exact_ends(x, model.path).item() == pytest.approx(0.006249877933263662, rel=1e-15)
    for solver, error in zip((DDIM(steps, grids.Karras()), Karras(steps), DPMSolver(steps, grids.Karras())), known):
        states = list(solver.trajectory(model.field(), x, path=model.path, prediction=model.prediction))
        assert states[-1].nfe == (2 * steps - 1 if isinstance(solver, Karras) else steps)
        found = (states[-1].x / exact_ends(x, model.path) - 1).item()
        assert found == pytest.approx(error, rel=1e-6)


@pytest.mark.parametrize("path", [paths.Linear(), paths.VP(), paths.EDM(), paths.Discrete.scheduled()], ids=repr)
@pytest.mark.parametrize("prediction", [paths.v, paths.x0, paths.eps, paths.velocity], ids=lambda row: row.name)
@pytest.mark.parametrize("name", [name for name in NEED_PATH if name not in STOCHASTIC])
def test_every_prediction_on_every_path_ends_in_the_same_data(name, prediction, path):
    """Solvers of a path get clean data out of any prediction, with a grid of noise levels."""
    model = models.gaussian(0.0, 0.5, path, prediction, shape=(2,))
    start = min(model.span[1], 1.0)
    c = path.coefficients(torch.tensor([start], dtype=torch.float64))
    z = noise() * c.sigma
    truth = z * 0.5 / (c.alpha**2 * 0.25 + c.sigma**2).sqrt()
    solver = replace(NEED_PATH[name], steps=60, grid=grids.Angle(scale=0.5))
    last = 0.0 if solver.open_end else model.span[0]
    end = drain(solver.trajectory(model.field(), z, start, last, path=path, prediction=prediction))
    torch.testing.assert_close(end, truth, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("solver", STOCHASTIC.values(), ids=STOCHASTIC)
@pytest.mark.parametrize("path", [paths.VP(), paths.EDM()], ids=["vp", "edm"])
def test_stochastic_solvers_keep_the_marginals(solver, path):
    model = models.gaussian(0.3, 0.5, path, paths.v, shape=(1,))
    many = replace(solver, steps=150, grid=grids.Karras())
    if isinstance(many, EulerMaruyama):
        many = replace(many, form="path")
    x = model.sample(4000, solver=many, seed=0)
    assert x.mean().item() == pytest.approx(0.3, abs=0.04)
    assert x.std().item() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("solver", STOCHASTIC.values(), ids=STOCHASTIC)
def test_noise_is_keyed_by_seed_sample_and_time(solver):
    """Bitwise the same samples in batches of 1, 7 and 64, with another seed others; resumed in the middle the same."""
    model = models.gaussian(0.3, 0.5, paths.VP(), paths.v, shape=(3,))
    whole = model.sample(64, solver=solver, seed=5)
    for size in (1, 7):
        parts = [model.sample(min(size, 64 - k), solver=solver, seed=5, first=k) for k in range(0, 64, size)]
        assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(model.sample(64, solver=solver, seed=6), whole)
    states = list(model.trajectory(8, solver=solver, seed=5))
    for k in (1, 3):
        walk = model.trajectory(8, solver=solver, seed=5)
        for _ in range(k):
            seen = next(walk)
        assert torch.equal(seen.x, states[k - 1].x)
        if isinstance(solver, Karras) or getattr(solver, "order", 1) == 1:  # nothing but x is remembered
            assert torch.equal(walk.send(seen.x.clone()).x, states[k].x)


def test_brownian_paths_are_refined_with_the_grid():
    """Strong convergence: halving the steps halves the distance to the limit; white noise has no limit."""
    model = models.gaussian(0.3, 0.5, paths.VP(), paths.v, shape=(2,))

    def ends(steps, source):
        return model.sample(64, solver=EulerMaruyama(steps, noise=source), seed=1)

    limit = ends(1024, Brownian())
    errors = [(ends(steps, Brownian()) - limit).square().mean().sqrt().item() for steps in (32, 64, 128)]
    assert errors[0] / errors[1] > 1.6
    assert errors[1] / errors[2] > 1.6
    assert (ends(512, White()) - ends(1024, White())).square().mean().sqrt() > 5 * errors[2]


def test_brownian_increments_are_those_of_a_brownian_motion():
    x, draw, source = torch.zeros(4000, 2, dtype=torch.float64), Draw(3, "w"), Brownian(levels=4)
    times = (0.0, 0.1, 0.3125, 0.5, 0.77, 1.0)  # some at ends of the tree's intervals, some inside
    steps = [source.between(draw, x, low, high) for low, high in pairwise(times)]
    together = torch.stack([step.flatten() for step in steps])
    torch.testing.assert_close(torch.cov(together), torch.eye(5, dtype=torch.float64), rtol=0, atol=0.06)
    whole = sum(step * math.sqrt(high - low) for step, (low, high) in zip(steps, pairwise(times)))
    torch.testing.assert_close(whole, source.between(draw, x, 0.0, 1.0))


def test_less_noise_leads_to_the_deterministic_ones():
    model = models.gaussian(0.3, 0.5, paths.VP(), paths.v, shape=(2,))
    for quiet, plain in [
        (Ancestral(9, eta=0.0), DDIM(9)), (DPMSolver(9, order=1), DDIM(9)),
    ]:  # fmt: skip
        torch.testing.assert_close(
            model.sample(4, solver=quiet, seed=0), model.sample(4, solver=plain, seed=0), rtol=1e-4, atol=1e-5
        )
    model = models.gaussian(0.3, 0.5, paths.Linear(), paths.v, shape=(2,))
    quiet, plain = (model.sample(4, solver=each, seed=0) for each in (EulerMaruyama(9, eta=0.0), Euler(9)))
    torch.testing.assert_close(quiet, plain, rtol=1e-4, atol=1e-5)


def test_a_thousand_pairs_of_threads_share_a_solver():
    model = models.gaussian(0.3, 0.5, paths.Linear(), paths.v, shape=(2,))
    solvers = [NEED_PATH["exponential-x0-log_snr-3"], NEED_PATH["exponential-x0-log_snr-2c"], STOCHASTIC["sde-dpm-2"]]
    expected = {solver: [model.sample(3, solver=solver, seed=k) for k in (0, 1)] for solver in solvers}
    wrong = []

    def work(solver, k):
        if not torch.equal(model.sample(3, solver=solver, seed=k), expected[solver][k]):
            wrong.append((solver, k))

    for pair in range(1000):
        threads = [threading.Thread(target=work, args=(solvers[pair % 3], k)) for k in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_bad_input_is_refused(solver):
    x = noise()
    with pytest.raises(ValueError, match="samples of finite numbers"):
        drain(solver.trajectory(gaussian, x.masked_fill(x > 1, math.nan), **LINEAR))
    with pytest.raises(ValueError, match=r"field's output of shape \(5, 2\)"):
        drain(solver.trajectory(lambda x, t: x[:, :1], x, **LINEAR))
    with pytest.raises(ValueError, match=r"times within \[0, 1\]"):
        drain(solver.trajectory(gaussian, x, 1.2, 0.0, **LINEAR))
    walk = solver.trajectory(gaussian, x, **LINEAR)
    next(walk)
    with pytest.raises(ValueError, match="samples of finite numbers"):
        walk.send(x * math.inf)


@pytest.mark.parametrize("name", [*FIXED, *NEED_PATH])
def test_grids_must_go_one_way(name):
    solver = replace(SOLVERS[name], steps=3, grid=grids.Times((1.0, 0.3, 0.6, 0.0)))
    with pytest.raises(ValueError, match="that only fall, or only rise"):
        drain(solver.trajectory(gaussian, noise(), **LINEAR))
    with pytest.raises(ValueError, match="at least 1 step"):
        replace(solver, steps=0)


@pytest.mark.parametrize("solver", NEED_PATH.values(), ids=NEED_PATH)
def test_without_a_path_the_way_out_is_named(solver):
    with pytest.raises(ValueError, match="Expected a path"):
        drain(solver.trajectory(gaussian, noise()))


@pytest.mark.parametrize("solver", [solver for solver in SOLVERS.values() if isinstance(solver, RungeKutta | Adaptive)])
def test_one_step_solvers_take_any_prediction(solver):
    x, path = noise(), paths.VP()
    problem = {"start": 0.9, "end": 0.1, "path": path}
    known = models.gaussian(0.3, 0.5, path, paths.velocity, shape=(2,))
    expected = drain(solver.trajectory(known.field(), x, prediction=paths.velocity, **problem))
    for prediction in (paths.x0, paths.eps, paths.v, paths.edm(0.5)):
        model = models.gaussian(0.3, 0.5, path, prediction, shape=(2,))
        end = drain(solver.trajectory(model.field(), x, prediction=prediction, **problem))
        torch.testing.assert_close(end, expected, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="to turn the output into a velocity"):
        drain(solver.trajectory(known.field(), x, prediction=paths.eps))


@pytest.mark.parametrize("path", [paths.Linear(), paths.VP(), paths.EDM()], ids=["linear", "vp", "edm"])
def test_a_reversible_solver_undoes_itself(path):
    """Encoded and decoded with 20 steps: what came back is what went in, while DDIM there and back is far off."""
    model = models.ring(8, 1.0, 0.1, path, paths.v)
    x = model.sample(64, seed=0).double()
    problem = {"path": path, "prediction": paths.v}
    solver = Reversible(steps=20, grid=grids.Angle(0.3))
    pair = solver.encode(model.field(), x, **problem)
    back = solver.decode(model.field(), pair, **problem)
    assert (back - x).abs().max() < 1e-9
    there = drain(Adaptive(1e-8, 1e-8).trajectory(model.field(), x, 1e-4, 1.0, **problem))
    assert (pair.x - there).square().mean().sqrt() < 0.1 * there.std()  # it is the noise that the flow encodes to
    ddim = DDIM(steps=80, grid=grids.Angle(0.3), clean=False)
    start = drain(ddim.trajectory(model.field(), x, 0.0, 1.0, **problem))
    assert (drain(ddim.trajectory(model.field(), start, **problem)) - x).abs().max() > 1e-3
    narrow = solver.encode(model.field(), x.float(), **problem)
    assert (solver.decode(model.field(), narrow, **problem) - x.float()).abs().max() < 2e-5
