"""Encodings that are followed from position to position."""

import math
from dataclasses import dataclass

import pytest
import torch

from pushforward import PushforwardError, solvers
from pushforward.positions import Floater, Recurrent

POS = torch.arange(6)


def test_a_recurrent_encoding_is_its_recursion():
    torch.manual_seed(0)
    position, p = Recurrent(4), None
    out = position.embed(torch.zeros(1, 6, 4), POS)[0]
    p = position.start
    for row in out:
        torch.testing.assert_close(row, p)
        p = torch.tanh(position.step.weight @ p + position.step.bias)


def floater(solver, rate=None, step=0.1):
    torch.manual_seed(0)
    position = Floater(2, 3, solver, step=step).double()
    if rate is not None:  # relu(x) - relu(-x) = x, so that h(p, t) = rate p
        position = Floater(2, 3, solver, step=step, hidden=12).double().requires_grad_(False)
        for layer in (position.inner, position.outer):
            layer.weight.zero_()
        eye = torch.eye(6, dtype=torch.float64)
        position.inner.weight[:6, :6], position.inner.weight[6:, :6] = eye, -eye
        position.outer.weight[:, :6], position.outer.weight[:, 6:12] = rate * eye, -rate * eye
    return position


def test_without_a_slope_the_encoding_is_constant():
    position = floater(solvers.Euler(steps=1), rate=0.0)
    path = position.path(POS, slice(0, 3))
    torch.testing.assert_close(path, path[..., :1, :].expand_as(path))
    q = torch.randn(1, 2, 6, 3, dtype=torch.float64)
    turned, _ = position.rotate(q, q, POS, POS)
    torch.testing.assert_close(turned, q + position.start[0].view(2, 1, 3))


def test_the_error_of_a_linear_slope_falls_with_the_fourth_power_of_the_step():
    errors = []
    for steps in (1, 2, 4):
        path = floater(solvers.RK4(steps=steps), rate=-0.8, step=1.0).path(POS, slice(0, 1))
        exact = path[..., :1, :] * torch.exp(-0.8 * POS.double())[:, None]
        errors.append((path - exact).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.5)
    assert math.log2(errors[1] / errors[2]) == pytest.approx(4, abs=0.3)


def test_fractions_lie_on_the_trajectory():
    position = floater(solvers.RK4(steps=2), rate=0.7, step=0.5)
    where = torch.tensor([0.0, 0.25, 1.5, 3.75], dtype=torch.float64)
    path = position.path(where, slice(0, 1))
    exact = position.start[0].view(2, 1, 3) * torch.exp(0.35 * where)[:, None]
    torch.testing.assert_close(path[0], exact, rtol=1e-5, atol=1e-6)


def test_to_go_on_is_to_go_all_the_way():
    position = floater(solvers.RK4(steps=3))
    whole = position.path(POS, slice(0, 3))
    torch.testing.assert_close(position.path(POS[3:], slice(0, 3)), whole[..., 3:, :])
    later = floater(solvers.RK4(steps=3))
    with torch.no_grad():
        later.start.copy_(whole[..., 2, :].flatten(1))
    moved = later.path(POS[:1], slice(0, 3))  # the flow depends on time, so only its start may be compared
    torch.testing.assert_close(moved, whole[..., 2:3, :])


def test_any_object_that_follows_a_field_will_do():
    @dataclass
    class Moment:
        x: torch.Tensor

    class Mine:
        def trajectory(self, field, x, start, end):
            for n in range(4):
                h = (end - start) / 4
                x = x + h * field(x, torch.full((len(x),), start + n * h))
                yield Moment(x)

    mine, ours = (floater(s).path(POS, slice(0, 3)) for s in (Mine(), solvers.Euler(steps=4)))
    torch.testing.assert_close(mine, ours)


def test_every_parameter_of_the_flow_is_trained():
    position = floater(solvers.RK4(steps=1))
    position.path(POS, slice(0, 3)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in position.parameters())


def test_what_cannot_be_followed_is_refused():
    with pytest.raises(PushforwardError, match="positions from 0 on"):
        Recurrent(4).embed(torch.zeros(1, 1, 4), torch.tensor([-1]))
    with pytest.raises(PushforwardError, match="whole positions"):
        Recurrent(4).embed(torch.zeros(1, 1, 4), torch.tensor([0.5]))
    with pytest.raises(PushforwardError, match=r"Make Floater\(2, 4"):
        floater(solvers.Euler(steps=1)).rotation(POS, POS, 4, torch.float64)
