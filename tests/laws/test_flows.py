"""What every normalizing flow promises, held against the whole zoo in float64."""

import copy
import gc
import io
import math
import pickle
import weakref

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from laws.zoo_flows import FLOWS, PLANES, Flow
from pushforward._errors import PushforwardError, ShapeError
from pushforward.data.batch import Batch
from pushforward.models.flow import NormalizingFlow, prepare
from pushforward.solvers.state import drain

CONDITIONAL = {name: member for name, member in FLOWS.items() if member.contexts() is not None}

SEARCHING = {"Autoregressive", "BlockAutoregressive", "Residual", "Sylvester"}
"""Transforms one of whose ways is searched, and has first derivatives alone."""

every = pytest.mark.parametrize("member", FLOWS.values(), ids=FLOWS.keys())
every_plane = pytest.mark.parametrize("member", PLANES.values(), ids=PLANES.keys())
every_conditional = pytest.mark.parametrize("member", CONDITIONAL.values(), ids=CONDITIONAL.keys())


def slogdet(call, x: Tensor) -> Tensor:
    """log |det| of the Jacobian that autograd finds, per sample."""
    n = x[0].numel()
    each = [torch.autograd.functional.jacobian(call, x[i : i + 1]).reshape(n, n) for i in range(len(x))]
    return torch.linalg.slogdet(torch.stack(each)).logabsdet


@every
def test_decoding_undoes_encoding_and_back(member: Flow):
    flow, x, context = member.flow(), member.data(), member.contexts()
    assert_close(flow.decode(flow.encode(x, context), context), x, rtol=1e-8, atol=1e-8)
    z = flow.noise(5, seed=0)
    assert_close(flow.encode(flow.decode(z, context), context), z, rtol=1e-8, atol=1e-8)


@every
def test_the_density_is_the_base_times_the_jacobian(member: Flow):
    flow, x = member.flow(), member.data(3)
    context = None if member.contexts() is None else member.contexts()[:1]  # one context, so rows are alike
    many = None if context is None else context.expand(3, *context.shape[1:])
    expected = flow.base.log_prob(flow.encode(x, many), many) + slogdet(lambda v: flow.encode(v, context), x)
    assert_close(flow.log_prob(x, many), expected, rtol=1e-9, atol=1e-9)


@every_plane
def test_the_mass_is_one(member: Flow):
    """The midpoint rule over a box that holds all of it; a smooth density converges faster than any power."""
    flow, side = member.flow(), 400
    reach = math.pi if member.circle else 15.0 if member.unit else 30.0
    line = reach * (2 * torch.arange(side, dtype=torch.float64) + 1 - side) / side
    area = torch.full_like(line, 2 * reach / side)
    if member.unit:  # equal steps of the logit, for poles at the ends, which alpha = 0.05 puts outside
        p = line.sigmoid()
        line, area = (20 * p - 1) / 18, area * p * (1 - p) * 20 / 18
    grid = torch.cartesian_prod(line, line).reshape(-1, *flow.shape)
    context = member.contexts(1)
    context = None if context is None else context.expand(len(grid), *context.shape[1:])
    with torch.no_grad():
        mass = (flow.log_prob(grid, context).exp() * torch.cartesian_prod(area, area).prod(1)).sum().item()
    assert mass == pytest.approx(1, abs=2e-3)


@every_plane
def test_samples_fall_where_the_density_says(member: Flow):
    """Self-normalised: E_samples[q / p] = 1 for any normal q, to within five standard errors."""
    flow, n = member.flow(), 20_000
    context = member.contexts(1)
    context = None if context is None else context.expand(n, *context.shape[1:])
    x = flow.sample(n, context, seed=0)
    with torch.no_grad():
        log_p = flow.log_prob(x, context)
    points = x.flatten(1)
    centre, spread = points.mean(0), points.std(0) / 2  # narrower than p, so that the weights are bounded
    log_q = torch.distributions.Normal(centre, spread).log_prob(points).sum(1)
    weights = (log_q - log_p).exp()
    assert abs(weights.mean().item() - 1) < 5 * weights.std().item() / math.sqrt(n) + 1e-3


@every
def test_samples_come_with_their_density(member: Flow):
    flow, context = member.flow(), member.contexts()
    with torch.no_grad():
        x, log_p = flow.rsample_and_log_prob(5, context, seed=1)
    assert_close(x, flow.sample(5, context, seed=1), rtol=1e-11, atol=1e-11)
    assert_close(log_p, flow.log_prob(x, context).detach(), rtol=1e-7, atol=1e-7)
    if flow.base.has_rsample:
        followed, log_q = flow.rsample_and_log_prob(5, context, seed=1)
        assert_close(followed, x, rtol=1e-9, atol=1e-9)  # kernels differ with gradients
        assert followed.requires_grad
        assert_close(log_q, log_p, rtol=1e-7, atol=1e-7)


@every
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_noise_that_is_no_number_spoils_its_own_sample_alone(member: Flow, bad: float):
    flow, context = member.flow(), member.contexts()
    if member.refuses_what_is_not_finite:
        pytest.skip("its zoo says that it is refused")
    z, others = flow.noise(5, seed=0), torch.tensor([0, 1, 3, 4])
    expected = flow.decode(z, context)[others]
    z[2].view(-1)[-1] = bad
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            x = flow.decode(z, context)
        assert_close(x[others], expected, rtol=1e-9, atol=1e-9)
        assert x[2].isnan().any() or math.isinf(bad)  # what goes on as a line, or ends in an interval, has a limit


@every
def test_a_sample_depends_on_the_seed_and_its_number_alone(member: Flow):
    flow, context = member.flow(), member.contexts()
    whole = flow.sample(5, context, seed=7)
    part = flow.sample(2, None if context is None else context[3:], seed=7, first=3)
    assert_close(part, whole[3:], rtol=1e-12, atol=1e-12)
    assert not torch.equal(whole, flow.sample(5, context, seed=8))


@every
def test_the_trajectory_ends_at_the_sample(member: Flow):
    flow, context = member.flow(), member.contexts()
    states = list(flow.trajectory(5, context, seed=7))
    n = len(flow.chain)
    assert torch.equal(states[-1].x, flow.sample(5, context, seed=7))
    assert [state.nfe for state in states] == list(range(1, n + 1))
    assert_close(torch.stack([s.t for s in states]), torch.linspace(1, 0, n + 1).double()[1:, None].expand(n, 5))
    assert states[-1].t.tolist() == [0] * 5


@every
def test_an_edit_in_flight_is_a_restart_from_there(member: Flow):
    flow, context = member.flow(), member.contexts()
    for at in range(1, len(flow.chain) + 1):
        trajectory = flow.decoding(flow.noise(5, seed=1), context)
        state = [next(trajectory) for _ in range(at)][-1]
        edited = state.x.flip(0) + 0.25
        try:
            trajectory.send(edited)
        except StopIteration as stop:
            end = stop.value
        else:
            end = drain(trajectory)
        rest = flow.chain[: len(flow.chain) - at]
        assert torch.equal(end, rest.decode(edited, context)[0])


@every_conditional
def test_context_matters_both_ways(member: Flow):
    flow, x, context = member.flow(), member.data(), member.contexts()
    assert context is not None
    other = (context + 1) % member.classes if member.classes else context + 0.5
    assert ((flow.log_prob(x, other) - flow.log_prob(x, context)).abs() > 1e-6).all()
    gap = flow.sample(5, other, seed=0) - flow.sample(5, context, seed=0)
    assert (gap.flatten(1).abs().amax(1) > 1e-6).all()


@every
def test_the_likelihood_teaches_every_parameter(member: Flow):
    flow = member.flow()
    flow.log_prob(member.data(), member.contexts()).mean().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@every
def test_weights_saved_and_loaded_give_the_same_flow(member: Flow):
    first, second = member.flow(seed=0), member.flow(seed=1)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for copied in (second, copy.deepcopy(first), pickle.loads(pickle.dumps(first.chain[:]))):
        x, context = member.data(), member.contexts()
        if isinstance(copied, NormalizingFlow):
            assert torch.equal(copied.log_prob(x, context), first.log_prob(x, context))
        else:
            assert torch.equal(copied.encode(x, context)[0], first.encode(x, context))


@every
def test_float32_agrees_with_float64(member: Flow):
    flow, context = member.flow(), member.contexts()
    exact = flow.log_prob(member.data(), context)
    narrow = context.float() if context is not None and context.is_floating_point() else context
    single = flow.float().log_prob(member.data().float(), narrow)
    assert single.dtype == torch.float32
    assert_close(single, exact, rtol=1e-4, atol=1e-3, check_dtype=False)
    assert flow.sample(2, None if narrow is None else narrow[:2], seed=0).dtype == torch.float32


@every
def test_events_of_another_shape_are_refused(member: Flow):
    flow = member.flow()
    wrong = torch.zeros(2, 7, dtype=torch.float64)
    for call in (flow.encode, flow.decode, flow.log_prob, flow.encode_and_ladj, flow.decode_and_ladj):
        with pytest.raises(ShapeError, match=r"got \[2, 7\]"):
            call(wrong)


@every
def test_the_start_from_data_gives_noise_the_spread_of_the_base(member: Flow):
    """Where a chain ends in a shift and a scale; elsewhere the flow comes back as it was."""
    flow, x, context = member.flow(), member.data(200), member.contexts(200)
    before = copy.deepcopy(flow.state_dict())
    started = prepare(flow, Batch(x, context))
    assert all(torch.equal(flow.state_dict()[name], value) for name, value in before.items())
    own = {p.data_ptr() for p in flow.parameters()}
    assert not own & {p.data_ptr() for p in started.parameters()}
    z = started.encode(x, context)
    kinds = [type(transform).__name__ for transform in started.chain]
    if kinds[-1] == "DiagonalScale":
        assert_close(z.std(0, correction=0), torch.full(flow.shape, flow.base.std, dtype=torch.float64))
    if kinds[-2:] == ["Shift", "DiagonalScale"]:
        assert_close(z.mean(0), torch.zeros(flow.shape, dtype=torch.float64), rtol=0, atol=1e-9)
    if not {"Shift", "DiagonalScale", "ActNorm"} & {type(module).__name__ for module in flow.modules()}:
        assert torch.equal(z, flow.encode(x, context))


@every
def test_nothing_is_kept_alive_without_the_cycle_collector(member: Flow):
    gc.disable()
    try:
        flow, x, context = member.flow(), member.data(), member.contexts()
        trajectory = flow.trajectory(5, context)
        state = next(trajectory)
        loss = flow.log_prob(x, context).sum()
        watched = [weakref.ref(thing) for thing in (flow, x, trajectory, state.x, loss)]
        watched += [weakref.ref(parameter) for parameter in flow.parameters()]
        del flow, x, trajectory, state, loss
        assert [w() for w in watched] == [None] * len(watched)
    finally:
        gc.enable()


@every
@pytest.mark.parametrize("way", ["log_prob", "decode"])
def test_gradients_have_derivatives_of_their_own(member: Flow, way: str):
    """By data or noise and by the weights, those of finite differences; or, of what is searched for, an error."""
    if member.refuses_what_is_not_finite and way == "decode":
        pytest.skip("the solve of its density, the other way")
    flow, context, h, draw = member.flow(), member.contexts(1), 1e-6, torch.Generator().manual_seed(5)
    at = member.data(1) if way == "log_prob" else flow.noise(1, seed=0).detach()
    places = [at, *flow.parameters()]
    along = [torch.randn(each.shape, generator=draw, dtype=torch.float64) for each in places]

    def gradient(again: bool) -> tuple[Tensor, Tensor]:
        here = at.clone().requires_grad_()
        value = getattr(flow, way)(here, context).square().sum()
        return here, torch.autograd.grad(value, here, create_graph=again)[0]

    sums = list[Tensor]()
    for far in (h, -2 * h, h):  # ahead, behind, and back
        with torch.no_grad():
            torch._foreach_add_(places, along, alpha=far)
        sums.append((gradient(again=False)[1] * along[0]).sum())
    here, first = gradient(again=True)
    assert_close(first, gradient(again=False)[1], rtol=1e-7, atol=1e-9)
    wanted, means = [here, *places[1:]], {"allow_unused": True, "materialize_grads": True}
    if SEARCHING & {type(part).__name__ for part in flow.modules()} and member.searches == (way == "log_prob"):
        with pytest.raises(PushforwardError, match="first derivatives of what is searched for"):
            torch.autograd.grad((first * along[0]).sum(), wanted, **means)
        return
    second = torch.autograd.grad((first * along[0]).sum(), wanted, **means)
    slope = torch.stack([(a * b).sum() for a, b in zip(second, along, strict=True)]).sum()
    assert_close(slope, (sums[0] - sums[1]) / (2 * h), rtol=1e-5, atol=1e-5)


@every
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_each_event_has_its_own_gradient_by_torch_func(member: Flow):
    """vmap over grad, with contexts and classes; what searches for a density says that it cannot."""
    flow, x, context = member.flow(), member.data(3), member.contexts(3)

    def one(x: Tensor, context: Tensor | None) -> Tensor:
        return flow.log_prob(x[None], None if context is None else context[None])[0]

    each = torch.func.vmap(torch.func.grad(one), in_dims=(0, None if context is None else 0))
    if member.searches:
        with pytest.raises(PushforwardError, match=r"got torch\.vmap, which hides them"):
            each(x, context)
        return
    found = each(x, context)
    at = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(flow.log_prob(at, context).sum(), at)
    assert_close(found, wanted, rtol=1e-8, atol=1e-8)


@every
@pytest.mark.parametrize("way", ["log_prob", "decode"])
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap_alone_gives_what_the_batch_gives_or_a_sentence(member: Flow, way: str):
    flow, x, context = member.flow(), member.data(3), member.contexts(3)
    if member.circle or member.unit:
        x = flow.encode(x, context) if way == "decode" else x

    def one(x: Tensor, context: Tensor | None) -> Tensor:
        return getattr(flow, way)(x[None], None if context is None else context[None])[0]

    try:
        found = torch.func.vmap(one, in_dims=(0, None if context is None else 0))(x, context)
    except PushforwardError as error:
        assert "got torch.vmap" in str(error) or "got torch.func" in str(error)  # noqa: PT017
        return
    assert not member.searches or way == "decode"
    assert_close(found, getattr(flow, way)(x, context), rtol=1e-8, atol=1e-8)


@every
@pytest.mark.parametrize("way", ["log_prob", "sample"])
def test_a_context_of_another_width_is_a_sentence(member: Flow, way: str):
    if member.own_net or not (member.context or member.classes):
        pytest.skip("it has no context, or a network of the tests reads it")
    flow, x = member.flow(), member.data(3)
    for width in (1, 7):
        told = torch.zeros(3, width, dtype=x.dtype)
        with pytest.raises(ShapeError, match=r"context|class indices"):
            flow.sample(3, told) if way == "sample" else flow.log_prob(x, told)
