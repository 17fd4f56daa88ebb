"""Continuous flows: gradients are those of the solver's own steps, in memory that does not grow with them."""

import gc
import math
import weakref

import pytest
import torch
from torch.testing import assert_close

from pushforward._errors import ConfigError, PushforwardError
from pushforward.models import Diffusion, NormalizingFlow, ffjord, maf, ring
from pushforward.models.audit import audit
from pushforward.nets import MLP, MaskedDense
from pushforward.paths import VP, Linear
from pushforward.solvers import DDIM, RK4, Adaptive, Adjoint, Euler, Exact, Hutchinson, Retraced, counted, drain
from pushforward.transforms import Affine, Autoregressive, Chain


def small(probes: int = 0, steps: int = 4) -> Diffusion:
    torch.manual_seed(0)
    model = ffjord((3,), hidden=16, layers=2, probes=probes, solver=RK4(steps=steps)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    return model


def gradients(model: Diffusion, x: torch.Tensor, again: bool = False) -> list[torch.Tensor]:
    return list(torch.autograd.grad(model.log_prob(x).sum(), [*model.parameters(), x], create_graph=again))


@pytest.mark.parametrize("probes", [0, 2])
def test_gradients_are_those_of_backpropagation_through_every_step(probes):
    model, x = small(probes), torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    kept = Diffusion(model.net, model.path, model.prediction, solver=model.solver, trace=model.trace.trace)
    assert type(kept.trace) in (Exact, Hutchinson)
    for ours, whole in zip(gradients(model, x), gradients(kept, x), strict=True):
        assert_close(ours, whole, rtol=1e-12, atol=1e-13)


def test_gradients_of_gradients_are_those_of_backpropagation_through_every_step():
    model, x = small(), torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    kept = Diffusion(model.net, model.path, model.prediction, solver=model.solver, trace=model.trace.trace)
    found = []
    for each in (model, kept):
        first = gradients(each, x, again=True)
        slope = torch.stack([part.square().sum() for part in first]).sum()
        means = {"allow_unused": True, "materialize_grads": True}
        found.append([*first, *torch.autograd.grad(slope, [*model.parameters(), x], **means)])
    for ours, whole in zip(*found, strict=True):
        assert_close(ours, whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("solver", [Retraced(steps=2), Adjoint(RK4(steps=2))], ids=["retraced", "adjoint"])
def test_second_derivatives_of_what_is_solved_backwards_are_refused_not_missing(solver):
    model, x = ffjord((2,), 4, 1, solver=solver).double(), torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    first = gradients(model, x, again=True)
    assert_close(first, gradients(model, x), rtol=1e-10, atol=1e-10)
    with pytest.raises(PushforwardError, match="a second one"):
        torch.autograd.grad(first[-1].sum(), [*model.parameters()], allow_unused=True)


def test_twenty_updates_bend_noise_into_a_parabola():
    torch.manual_seed(0)
    model, noise = ffjord((2,), 32, 2, solver=RK4(steps=4)), torch.randn(64, 2)
    x = torch.stack([noise[:, 0], noise[:, 0].square() - 1 + 0.1 * noise[:, 1]], 1)
    optimizer, losses = torch.optim.Adam(model.parameters(), 2e-3), []
    for _ in range(21):
        losses.append(-model.log_prob(x).mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 1  # gates of a half and tanh: 0.2


@pytest.mark.parametrize("context", [0, 2])
def test_retraced_gradients_are_those_of_backpropagation_through_the_same_steps(context):
    torch.manual_seed(0)
    model = ffjord((3,), 8, 1, context=context, solver=Retraced(steps=5)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    c = torch.randn(4, 2, dtype=torch.float64, requires_grad=True) if context else None
    wanted = [*model.parameters(), x, *([] if c is None else [c])]
    ours = torch.autograd.grad(model.log_prob(x, c).sum(), wanted)
    follow = Retraced.follow
    try:
        Retraced.follow = lambda self, field, x, start, end, weights: counted(self.trajectory(field, x, start, end))
        whole = torch.autograd.grad(model.log_prob(x, c).sum(), wanted)
    finally:
        Retraced.follow = follow
    for one, other in zip(ours, whole, strict=True):
        assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_retraced_is_of_fourth_order():
    x, errors = torch.linspace(0.1, 1, 5, dtype=torch.float64)[:, None], []
    for steps in (32, 64):
        end = drain(Retraced(steps=steps).trajectory(lambda x, t: torch.cos(t)[:, None] * x**2, x))
        errors.append((end - 1 / (1 / x + math.sin(1))).abs().max().item())
    assert math.log2(errors[0] / errors[1]) > 3.8


def graph(result: torch.Tensor) -> tuple[int, int]:
    """How many nodes the graph behind a result has, and how many numbers they keep, each storage once."""
    waiting, seen, stores = [result.grad_fn], set(), {}
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [parent for parent, _ in node.next_functions]
        kept = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        for each in [*kept, *getattr(node, "saved_tensors", ())]:
            if isinstance(each, torch.Tensor):
                stores[each.untyped_storage().data_ptr()] = each.untyped_storage().nbytes() // 8
    return len(seen), sum(stores.values())


def test_retraced_memory_does_not_grow_with_steps():
    x = torch.randn(64, 3, dtype=torch.float64, requires_grad=True)
    few, many = small(), small()
    few.solver, many.solver = Retraced(steps=2), Retraced(steps=20)
    assert graph(few.log_prob(x)) == graph(many.log_prob(x))
    assert graph(many.log_prob(x))[1] < 64 * 4 * 8 + sum(p.numel() for p in many.parameters())


class _Kept:
    def __init__(self, tensor: torch.Tensor):
        self.tensor = tensor.detach()  # with its graph, an output that is kept would hold itself


def held(model: Diffusion, x: torch.Tensor) -> int:
    """How many numbers the graph of a log-density holds on to, parameters left out, each storage once."""
    alive: list[weakref.ref[_Kept]] = []
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(tensor: torch.Tensor) -> _Kept:
        kept = _Kept(tensor)
        alive.append(weakref.ref(kept))
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        density = model.log_prob(x)
    gc.collect()
    stores = [kept.tensor.untyped_storage() for each in alive if (kept := each()) is not None]
    assert density.requires_grad
    return sum({store.data_ptr(): store.nbytes() // 8 for store in stores if store.data_ptr() not in known}.values())


def test_the_graph_holds_states_and_no_insides_of_the_network():
    x = torch.randn(64, 3, dtype=torch.float64, requires_grad=True)
    few, many = (held(small(steps=steps), x) for steps in (4, 16))
    kept = small(steps=16)
    kept.trace = kept.trace.trace
    a_step = (many - few) / 12
    assert a_step <= 64 * 4 * 40  # states and slopes of four stages, of 3 numbers and a divergence
    assert many < held(kept, x) / 10


def test_a_field_as_a_flow_joins_couplings_and_flows():
    torch.manual_seed(0)
    ode = ring().as_flow(Adaptive(), Exact(), pieces=2)
    other = maf((2,), 1, 8).double()
    coupling = Autoregressive(Affine(), MaskedDense(2, 2, 8, zero_output=False)).double()
    flow = NormalizingFlow(Chain(coupling) + ode.chain + other.chain, other.base)
    x = torch.randn(4, 2, dtype=torch.float64)
    z, ladj = coupling.encode(x)
    (y, more), (_, rest) = ode.encode_and_ladj(z), other.encode_and_ladj(ode.encode(z))
    assert_close(flow.log_prob(x), ladj + more + rest + other.base.log_prob(other.encode(y)))
    assert_close(
        flow.decode(flow.encode(x)), x, rtol=1e-3, atol=1e-3
    )  # the solver's own error, which the ring amplifies
    assert len(list(flow.encode_steps(x))) == len(flow.chain)
    assert next(ode.encode_steps(x))[0].shape == x.shape


def test_its_density_is_the_models():
    model, x = ring(), torch.randn(6, 2, dtype=torch.float64)
    solver = Adaptive(rtol=1e-6, atol=1e-6)
    assert_close(model.as_flow().log_prob(x), model.log_prob(x, solver=solver), rtol=1e-10, atol=1e-10)
    for own in (Adaptive(rtol=1e-7), Retraced(steps=4)):  # chosen for likelihoods, and kept
        model.solver = own
        assert_close(model.as_flow().log_prob(x), model.log_prob(x), rtol=1e-10, atol=1e-10)


def untrained(path, spread: float) -> Diffusion:
    """With a spread, weights so far off that the waves of time are heard."""
    torch.manual_seed(1)
    model = Diffusion(MLP((3,), 16, 1), path)
    for parameter in model.parameters() if spread else ():
        torch.nn.init.normal_(parameter, std=spread)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("path", [VP(), Linear()], ids=repr)
@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_as_it_comes_a_field_passes_its_audit_as_a_flow(path, spread):
    report = audit(untrained(path, spread).as_flow(), torch.randn(20, 3), most=20)
    assert report.ok, str(report)


@pytest.mark.parametrize("path", [VP(), Linear()], ids=repr)
def test_as_it_comes_a_field_as_a_flow_comes_back_with_the_ladj_of_its_map(path):
    flow, x = untrained(path, 0.1).as_flow().double(), torch.randn(4, 3, dtype=torch.float64)
    with torch.no_grad():
        assert_close(flow.decode(flow.encode(x)), x, rtol=1e-3, atol=1e-3)
        claimed = flow.encode_and_ladj(x[:1])[1]
    jacobian = torch.autograd.functional.jacobian(flow.encode, x[:1]).reshape(3, 3)
    assert_close(claimed[0], torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-6, atol=1e-6)


def test_an_audit_names_the_solver_that_is_too_coarse_and_what_to_do():
    torch.manual_seed(1)
    model, x = ffjord((3,), 16, 1), torch.randn(20, 3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.35)
    report = model.audit(x, solver=Euler(steps=4))
    assert not report["ladj"].ok
    assert not report["data round trip"].ok
    for name in ("ladj", "data round trip"):
        assert "Euler(steps=4" in report[name].words
        assert "too coarse for this field: pass as_flow(RK4(steps=40))" in report[name].words
    estimated = model.as_flow(trace=Hutchinson(2)).audit(x)
    assert "Hutchinson(probes=2, seed=0) is an estimate of it: pass as_flow(trace=Exact())" in str(estimated)
    assert model.audit(x).ok


STEPPED = {
    "ffjord": lambda: small(),
    "path": lambda: Diffusion(small().net, VP(), solver=RK4(steps=6)),
    "adaptive": lambda: Diffusion(small().net, VP(), solver=Adaptive()),
    "retraced": lambda: Diffusion(small().net, Linear(), solver=Retraced(steps=6)),
}


@pytest.mark.parametrize("make", STEPPED.values(), ids=STEPPED)
@torch.no_grad()
def test_a_field_yields_its_steps_and_takes_edits(make):
    """The last step is the whole way; an edit starts anew from there, in value and in ladj."""
    model, x = make(), torch.randn(4, 3, dtype=torch.float64)
    for steps, whole in ((model.encode_steps, model.encode_and_ladj), (model.decode_steps, model.decode_and_ladj)):
        each = list(steps(x))
        assert len(each) > 3
        for ours, wanted in zip(each[-1], whole(x), strict=True):
            assert_close(ours, wanted, rtol=1e-7, atol=1e-7)
        walk = steps(x)
        value, ladj = [next(walk) for _ in range(2)][-1]
        rest = [walk.send(value), *walk]
        assert_close(rest[-1][0], each[-1][0], rtol=1e-3, atol=1e-3)
        assert_close(rest[-1][1], each[-1][1] - ladj, rtol=1e-3, atol=1e-3)
        walk = steps(x)
        next(walk)
        moved = [walk.send(x + 3), *walk][-1][0]
        assert (moved - each[-1][0]).abs().min() > 0.1


def test_the_ladj_on_the_way_is_that_of_the_way_so_far():
    model = STEPPED["path"]()
    model.solver = RK4(steps=30)
    x = torch.randn(1, 3, dtype=torch.float64)
    for k in (1, 10, 30):
        jacobian = torch.autograd.functional.jacobian(lambda v, k=k: list(model.encode_steps(v))[k - 1][0], x)
        claimed = list(model.encode_steps(x))[k - 1][1]
        assert_close(claimed[0], torch.linalg.slogdet(jacobian.reshape(3, 3)).logabsdet, rtol=1e-4, atol=1e-4)


def test_what_cannot_carry_a_divergence_is_refused():
    with pytest.raises(ConfigError, match="at least one piece"):
        ring().as_flow(pieces=0)
    with pytest.raises(ConfigError, match="Runge-Kutta or adaptive"):
        ring().as_flow(DDIM()).log_prob(torch.zeros(1, 2, dtype=torch.float64))


def test_vmap_takes_fixed_steps_and_says_that_it_cannot_adapt():
    x = torch.randn(3, 3, dtype=torch.float64)
    flow = untrained(Linear(), 0.1).double().as_flow(RK4(steps=4), Exact())
    assert_close(torch.func.vmap(lambda v: flow.log_prob(v[None])[0])(x), flow.log_prob(x), rtol=1e-10, atol=1e-10)
    adaptive = untrained(Linear(), 0.1).double().as_flow(Adaptive(), Exact())
    with pytest.raises(PushforwardError, match=r"got torch\.vmap, which hides them"):
        torch.func.vmap(lambda v: adaptive.log_prob(v[None])[0])(x)
