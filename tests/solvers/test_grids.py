"""Grids: known places, both ends exact, and what chains of noise levels have."""

import math

import pytest
import torch

from pushforward import PushforwardError, paths
from pushforward.solvers import DDIM, Exponential, drain, grids, progress

NOISE = {
    "karras": grids.Karras(), "log_snr": grids.LogSNR(), "angle": grids.Angle(0.5), "share": grids.Share(0.3),
}  # fmt: skip
PATHS = {"linear": paths.Linear(), "vp": paths.VP(), "edm": paths.EDM(), "discrete": paths.Discrete.scheduled()}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("grid", NOISE.values(), ids=NOISE)
@pytest.mark.parametrize("steps", [1, 2, 7, 300])
def test_times_fall_from_one_end_to_the_other(grid, path, steps):
    times = grid.times(steps, 1.0, 0.0, path)
    assert (len(times), times[0], times[-1]) == (steps + 1, 1.0, 0.0)
    assert grids.checked(times, path) == times
    assert grid.times(steps, 0.0, 1.0, path) == times[::-1]


def ratios(grid, steps, path):
    c = path.coefficients(torch.tensor(grid.times(steps, 1.0, 0.0, path), dtype=torch.float64))
    return (c.sigma / c.alpha).tolist()


def test_each_clock_is_even():
    path = paths.VE(0.002, 80.0)
    for grid in (grids.Karras(), grids.LogSNR()):
        readings = torch.tensor([grid.clock(ratio) for ratio in ratios(grid, 9, path)])
        torch.testing.assert_close(readings.diff(), readings.diff()[:1].expand(9), rtol=1e-4, atol=1e-6)
    readings = torch.tensor([grids.Angle(0.5).clock(ratio) for ratio in ratios(grids.Angle(0.5), 9, paths.Cosine())])
    torch.testing.assert_close(readings.diff(), torch.full((9,), -math.pi / 18), rtol=1e-4, atol=1e-6)


def test_karras_levels_of_edm():
    """The 18 levels of EDM's sampler: 80 to 0.002 with rho 7 (Karras et al. 2022, equation 5)."""
    known = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    assert ratios(grids.Karras(), 17, paths.EDM()) == pytest.approx(known, rel=1e-9)


@pytest.mark.parametrize(
    ("grid", "places"),
    [(grids.Chain("leading"), [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]),
     (grids.Chain("leading", offset=1), [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]),
     (grids.Chain("trailing"), [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]),
     (grids.Chain("linspace"), [999, 888, 777, 666, 555, 444, 333, 222, 111, 0])],
)  # fmt: skip
def test_chains_are_spaced_as_in_the_diffusers_format(grid, places):
    assert [round(t * 999) for t in grid.times(10, 1.0, 0.0)[:-1]] == places


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_on_a_chain_is_diffusers_ddim(spacing):
    """To the end, clean data. (On linspace theirs steps to t - 100, which is not its next time: diffusers#9261.)"""
    diffusers = pytest.importorskip("diffusers", reason="compares with diffusers")
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing=spacing)
    scheduler.set_timesteps(10)
    model = torch.nn.Linear(3, 3).requires_grad_(False)
    x = theirs = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for t in scheduler.timesteps:
        theirs = scheduler.step(model(theirs), t, theirs).prev_sample
    path = paths.Discrete.scheduled()
    grid = grids.Chain(spacing)
    ours = drain(DDIM(10, grid).trajectory(lambda x, t: model(x), x, path=path, prediction=paths.eps))
    torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # theirs, about numpy
@pytest.mark.parametrize("order", [1, 2, 3])
def test_dpm_solver_is_diffusers_dpm_solver(order):
    diffusers = pytest.importorskip("diffusers", reason="compares with diffusers")
    from pushforward.solvers import DPMSolver

    scheduler = diffusers.DPMSolverMultistepScheduler(
        solver_order=order, timestep_spacing="trailing", lower_order_final=False, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(12)
    model = torch.nn.Linear(3, 3).requires_grad_(False)
    x = theirs = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for t in scheduler.timesteps:
        theirs = scheduler.step(model(theirs), t, theirs).prev_sample
    solver = DPMSolver(12, grids.Chain("trailing"), order=order)
    ours = drain(solver.trajectory(lambda x, t: model(x), x, path=paths.Discrete.scheduled(), prediction=paths.eps))
    torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3)


def test_grids_of_noise_need_a_path_and_given_times_their_number():
    with pytest.raises(PushforwardError, match="a path"):
        grids.Karras().times(4, 1.0, 0.0)
    with pytest.raises(PushforwardError, match="5 times from t=1 to t=0"):
        grids.Times((1.0, 0.0)).times(4, 1.0, 0.0)
    with pytest.raises(PushforwardError, match="4 steps for 3 angles"):
        grids.Angles((1.0, 0.5, 0.1)).times(5, 1.0, 0.0, paths.Linear())
    with pytest.raises(PushforwardError, match="1 to 1000 steps"):
        grids.Chain().times(2000, 1.0, 0.0)


def test_a_bar_changes_nothing(capsys):
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    solver = Exponential(5, grids.Share(0.3))

    def walk():
        return solver.trajectory(lambda x, t: torch.sin(x), x, path=paths.Linear())

    assert torch.equal(drain(progress(walk(), 5)), drain(walk()))
    plain, barred = walk(), progress(walk(), 5)
    next(plain), next(barred)
    assert torch.equal(plain.send(x).x, barred.send(x).x)
