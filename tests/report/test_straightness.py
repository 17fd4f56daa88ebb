"""Straightness of fields whose paths are known in closed form."""

import math

import pytest
import torch
from scipy import integrate

from pushforward._errors import ConversionError
from pushforward._random import Draw
from pushforward.models import Diffusion, FromTorch
from pushforward.nets import MLP
from pushforward.paths import VE, VP, Cosine, Linear, eps, velocity
from pushforward.report import on_lines, straightness
from pushforward.report.compare import draw_samples
from pushforward.report.sections import paths_section
from pushforward.solvers import RK4, Adaptive, Euler, Heun
from report.standin import gaussian_data, gaussian_model


class Constant:
    """Every point moves by `-shift` at constant speed: perfectly straight."""

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def velocity(self, x, t, context=None):
        return torch.full_like(x, self.shift) + (0 if context is None else context.reshape(-1, 1))

    def noise(self, n, seed=None, first=0, context=None):
        return Draw(seed or 0, first=first).normal(n, (3,))


def exact(std: float, n: int, d: int, seed: int) -> tuple[float, float]:
    """Paths are x_t = g(t) eps, g^2 = (1-t)^2 std^2 + t^2: S = |eps|^2 (int g'^2 - (1-std)^2)."""

    def slope(t: float) -> float:
        return (t - (1 - t) * std**2) / math.sqrt((1 - t) ** 2 * std**2 + t**2)

    energy = integrate.quad(lambda t: slope(t) ** 2, 0, 1)[0]
    square = gaussian_model((d,)).noise(n, seed).double().square().sum(1).mean().item()
    return square * (energy - (1 - std) ** 2), square * (1 - std) ** 2


@pytest.mark.parametrize("std", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("solver", [RK4(steps=24), Heun(steps=150), Adaptive()], ids=["RK4", "Heun", "Adaptive"])
def test_gaussian_flow(std, solver):
    bent, carried = exact(std, 64, 2, seed=5)
    measured = straightness(gaussian_model((2,), std), solver, n=64, seed=5)
    assert measured.total.value == pytest.approx(bent, rel=2e-3)
    assert measured.per_dimension.value == pytest.approx(bent / 2, rel=2e-3)
    assert measured.transport.value == pytest.approx(carried, rel=2e-3, abs=1e-4)
    assert measured.relative == pytest.approx(bent / (bent + carried), rel=2e-3)


def test_the_unit_gaussian_bends_by_two_minus_half_pi():
    measured = straightness(gaussian_model((1,), 1.0), RK4(steps=40), n=50, seed=0)
    square = gaussian_model((1,), 1.0).noise(50, 0).square().mean().item()
    assert measured.total.value / square == pytest.approx(2 - math.pi / 2, rel=1e-4)


@pytest.mark.parametrize("solver", [Euler(steps=1), RK4(steps=3)])
def test_straight_lines_are_straight(solver):
    measured = straightness(Constant(2.0), solver, n=10)
    assert measured.total.value == pytest.approx(0, abs=1e-10)
    assert measured.transport.value == pytest.approx(12)
    assert measured.relative == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("solver", [Euler(steps=2), Euler(steps=7), Heun(steps=3), RK4(steps=2)])
def test_never_negative_however_coarse(solver):
    assert straightness(gaussian_model((4,), 0.3), solver, n=20).total.value > 0


def test_context_and_chunks():
    context = torch.arange(10.0)
    whole = straightness(Constant(0.0), RK4(steps=1), n=10, context=context)
    assert whole.transport.value == pytest.approx(3 * context.square().mean().item())
    assert straightness(Constant(0.0), RK4(steps=1), n=10, context=context, chunk=3) == whole


@pytest.mark.parametrize("path", [VP(), VE(), Cosine()], ids=repr)
def test_a_page_tells_the_same_of_one_model_on_two_paths(path):
    """S is that of the straight path, on which reflow measures, and the page says whose own path was left."""
    data, lines = gaussian_data(), gaussian_model(std=0.25)
    curved = lines.on(path, eps)
    both = [paths_section(model, data, n=4) for model in (on_lines(lines), curved)]
    (table, also), (figure, moved) = ([section.blocks[k] for section in both] for k in (1, 0))
    for one, other in zip(table.rows[0][1:3], also.rows[0][1:3]):
        assert one.value == pytest.approx(other.value, rel=0.02, abs=1e-3)
    assert on_lines(lines) is lines
    assert "straight path" not in figure.caption
    name = type(path).__name__
    assert f"numbers are of the straight path, not of the own path of this model ({name})." in moved.caption


def test_noise_of_its_own_that_has_no_place_on_the_straight_path_keeps_the_models_own():
    wide = FromTorch(torch.distributions.Independent(torch.distributions.Laplace(torch.zeros(2), 50.0), 1))
    model = Diffusion(MLP((2,), hidden=8, layers=1), VE(), base=wide)
    with pytest.raises(ConversionError):
        model.on(Linear(), velocity)
    assert on_lines(model) is model
    (few,) = draw_samples(model, gaussian_data(), (2,), 4)
    assert few.x.isfinite().all()
