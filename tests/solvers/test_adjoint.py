"""The adjoint method: gradients of the ODE by a solve backwards, in memory that does not grow with the steps."""

import gc
import math
from dataclasses import replace

import pytest
import torch
import torch.utils._pytree as pytree
from torch.multiprocessing.reductions import StorageWeakRef
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from pushforward._errors import ConfigError
from pushforward.models import Diffusion, ffjord
from pushforward.solvers import DDIM, RK4, Adaptive, Adjoint, Euler, Exact, Heun, Solver

TIGHT = Adaptive(rtol=1e-9, atol=1e-9)


def model(solver: Solver, context: int = 0, probes: int = 0) -> Diffusion:
    torch.manual_seed(0)
    made = ffjord((2,), 8, 1, context=context, probes=probes, solver=solver).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def gradients(made: Diffusion, context: int = 0, scale: float = 1.0) -> list[torch.Tensor]:
    """Of a loss of log-density and ends, for weights, events and context."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(4, 2, dtype=torch.float64, generator=draw, requires_grad=True)
    c = torch.randn(4, context, dtype=torch.float64, generator=draw, requires_grad=True) if context else None
    z, ladj = made.encode_and_ladj(x, c)
    loss = scale * (z.square().sum() - ladj.sum())
    return list(torch.autograd.grad(loss, [*made.parameters(), x, *([] if c is None else [c])]))


@pytest.mark.parametrize(("context", "probes"), [(0, 0), (2, 0), (0, 2)])
@pytest.mark.parametrize("solver", [TIGHT, RK4(steps=40)], ids=["adaptive", "fixed"])
def test_gradients_are_those_of_backpropagation(solver, context, probes):
    whole = gradients(model(RK4(steps=40), context, probes), context)
    ours = gradients(model(Adjoint(solver), context, probes), context)
    for one, other in zip(ours, whole, strict=True):
        assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_they_converge_as_the_way_back_does():
    exact, errors = gradients(model(RK4(steps=40))), []
    for steps in (10, 20):
        ours = gradients(model(Adjoint(RK4(steps=24), back=Heun(steps))))
        errors.append(max((one - other).abs().max().item() for one, other in zip(ours, exact, strict=True)))
    assert 1.7 < math.log2(errors[0] / errors[1]) < 2.4


def test_a_linear_flow_has_the_gradients_of_its_formula():
    rate = torch.tensor([[0.3, -0.7], [0.2, 0.1]], dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    end, nfe = Adjoint(TIGHT).follow(lambda x, t: x @ rate, x, 0.0, 1.0, [rate])
    ours = torch.autograd.grad(end.sin().sum(), [rate, x])
    true = torch.autograd.grad((x @ torch.linalg.matrix_exp(rate)).sin().sum(), [rate, x])
    assert nfe > 6
    assert_close(ours, true, rtol=1e-8, atol=1e-9)


def test_tolerances_mean_the_same_for_every_loss():
    solver = Adjoint(Adaptive(rtol=1e-4, atol=1e-4))
    small, large = gradients(model(solver), scale=1e-9), gradients(model(solver))
    for one, other in zip(small, large, strict=True):
        assert_close(one * 1e9, other, rtol=1e-9, atol=1e-12)


def test_a_loss_that_does_not_ask_for_weights_or_events_gets_none():
    rate, x = torch.ones((), requires_grad=True), torch.ones(1, 1)
    unused = torch.ones(3, requires_grad=True)
    end, _ = Adjoint().follow(lambda x, t: rate * x, x, 0.0, 1.0, [rate, torch.ones(2), unused])
    end.sum().backward()
    assert rate.grad is not None
    assert x.grad is None
    assert unused.grad is not None
    assert not unused.grad.any()


class Live(TorchDispatchMode):
    """The most bytes that tensors made here take up at any time, seen after every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                place = StorageWeakRef(tensor.untyped_storage())
                self.places.setdefault(place.cdata, (place, tensor.untyped_storage().nbytes()))
        self.places = {key: (place, size) for key, (place, size) in self.places.items() if not place.expired()}
        self.most = max(self.most, sum(size for _, size in self.places.values()))
        self.calls += 1
        return made


def peak(solver: Solver) -> tuple[int, int]:
    """The most bytes in use while a gradient is computed, and how many operations that took."""
    made = model(solver)
    made.trace = Exact()
    gc.collect()
    gc.disable()  # reference counts alone must free
    try:
        with Live() as live:
            gradients(made)
    finally:
        gc.enable()
    return live.most, live.calls


def test_memory_is_that_of_one_call_however_many_steps():
    (few, short), (many, long) = (peak(Adjoint(Euler(steps))) for steps in (3, 9))
    assert few == many < peak(Euler(9))[0] / 2
    assert long > 2.5 * short


def test_samples_are_the_other_solvers():
    inner = RK4(steps=5)
    assert_close(model(Adjoint(inner)).sample(3, seed=0), model(inner).sample(3, seed=0), rtol=0, atol=0)


def test_solvers_of_another_kind_are_refused():
    with pytest.raises(ConfigError, match="Runge-Kutta or adaptive"):
        Adjoint(DDIM())
    with pytest.raises(ConfigError, match="Runge-Kutta or adaptive"):
        replace(Adjoint(), back=DDIM())
