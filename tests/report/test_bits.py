import math

import pytest
import torch

from pushforward._random import Draw
from pushforward.models import Diffusion
from pushforward.report import bits, bits_per_dim
from pushforward.solvers import RK4, Exact, Hutchinson
from report.standin import Data, Units, gaussian_data, gaussian_model, images_data


def test_bits_of_a_known_gaussian():
    data, model = gaussian_data(std=0.5), gaussian_model(std=0.5)
    estimate = bits_per_dim(model, data, solver=RK4(steps=20))
    each = 0.5 * (data.held_out / 0.5).square() + math.log(0.5) + 0.5 * math.log(2 * math.pi)
    per_event = each.mean(1) / math.log(2)
    assert estimate.value == pytest.approx(per_event.mean().item(), rel=1e-4)
    assert estimate.error == pytest.approx(per_event.std().item() / math.sqrt(len(per_event)), rel=1e-3)


def test_probes_instead_of_the_exact_trace():
    # the field's Jacobian is diagonal, so one probe is exact, and the model keeps its own trace
    data, model = gaussian_data(), gaussian_model()
    own = model.trace
    probed = bits_per_dim(model, data, 50, RK4(steps=8), trace=Hutchinson())
    assert probed.value == pytest.approx(bits_per_dim(model, data, 50, RK4(steps=8)).value, rel=1e-5)
    assert model.trace is own


def test_context_reaches_the_model_where_asked():
    data = images_data()

    def velocity(x, t, context=None):
        return torch.zeros_like(x) if context is None else x * context.reshape(-1, 1, 1, 1)

    model = Diffusion(velocity, shape=data.shape)
    plain = bits_per_dim(model, data, 20, RK4(steps=2), Hutchinson())
    given = bits_per_dim(model, data, 20, RK4(steps=2), Hutchinson(), conditional=True)
    assert abs(plain.value - given.value) > 0.1


def levels_data() -> Data:
    """Seventeen levels around the middle one, as wide as a cell."""
    values = (Draw(1, "levels").normal(600, (1,)) * 0.4 + 8.5).floor().clamp(0, 16).to(torch.uint8)
    return Data(values[:300], values[300:], scaling=Units(17))


def test_more_draws_bound_more_closely_and_by_as_much_as_they_should():
    """A density that varies within a cell: the mean over draws of p tends to the cell's own mass."""
    data, model = levels_data(), gaussian_model((1,), std=0.07)
    found = bits(model, data, 200, RK4(24), Exact(), draws=16, check=False)
    cells = (data.held_out[:200].double() + torch.tensor([0.0, 1.0])) / 17 * 2 - 1
    mass = -(torch.special.ndtr(cells / 0.07).diff(dim=1).log() / math.log(2)).mean().item()
    assert found.one_draw.value > found.more_draws.value + 0.1
    assert found.more_draws.value == pytest.approx(mass, abs=0.04)
    assert found.draws == 16
    assert bits(model, data, 200, RK4(24), Exact(), check=False).one_draw == found.one_draw


def test_what_was_measured_is_said():
    data = images_data()
    probed = bits(gaussian_model(data.shape), data, 20, RK4(8), Hutchinson(probes=3))
    assert "by uniform dequantisation of 17 levels, an upper bound" in str(probed)
    assert "4 steps" in probed.coarser
    assert probed.solver_error > 0
    exact = bits(gaussian_model(), gaussian_data(), 20, RK4(8), Exact(), check=False)
    first, *rest = str(exact).splitlines()
    assert first == f"{exact.one_draw} of continuous values; exact divergence"
    assert rest == [str(each) for each in exact.nats]


def test_several_draws_need_levels_and_an_exact_trace():
    with pytest.raises(ValueError, match=r"Values without levels need no dequantisation"):
        bits(gaussian_model(), gaussian_data(), draws=2)
    with pytest.raises(ValueError, match=r"Pass trace=Exact"):
        bits(gaussian_model((1, 8, 8)), images_data(), draws=2)


def test_the_trace_error_of_the_mean_is_the_spread_over_seeds():
    data, size = gaussian_data(n=80, shape=(16,)), 16
    mix = torch.randn(size, size, generator=torch.Generator().manual_seed(0)) / 8
    model = Diffusion(lambda x, t, context: torch.tanh(x) @ mix, shape=(size,))
    found = [bits(model, data, None, RK4(1), Hutchinson(4, seed), check=False) for seed in range(60)]
    spread = torch.tensor([each.one_draw.value for each in found]).std().item()
    assert found[0].trace_error == pytest.approx(spread, rel=0.3)
    assert found[0].trace_error < found[0].one_draw.error
