import math

import pytest
import torch

from pushforward.models import Diffusion
from pushforward.report import bits_per_dim
from pushforward.solvers import RK4, Hutchinson
from report.standin import gaussian_data, gaussian_model, images_data


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
