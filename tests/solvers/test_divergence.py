"""The divergence, exact and estimated."""

from dataclasses import replace

import pytest
import torch

from pushforward.solvers import RK4, Checkpointed, Exact, Hutchinson, HutchPlus, augmented, drain


def curl_free(x, t):
    """div = sum of 3 x_i**2 + 1."""
    return x**3 + x.roll(1, 1) * t[:, None] + x


def mixing(x, t):
    """A field whose Jacobian has much off its diagonal."""
    mix = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return torch.sin(x) @ mix


def test_exact_is_the_trace_of_the_jacobian():
    x, t = torch.randn(4, 5, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    slope, divergence = Exact().of(curl_free, x)(x, t)
    torch.testing.assert_close(slope, curl_free(x, t))
    torch.testing.assert_close(divergence, (3 * x**2 + 1).sum(1, keepdim=True))


def test_exact_works_on_images_and_constant_fields():
    x, t = torch.randn(2, 1, 2, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    _, divergence = Exact().of(lambda x, t: x * 2, x)(x, t)
    torch.testing.assert_close(divergence, torch.full((2, 1), 12.0, dtype=torch.float64))
    _, still = Exact().of(lambda x, t: torch.ones_like(x), x)(x, t)
    assert torch.equal(still, torch.zeros(2, 1, dtype=torch.float64))


@pytest.mark.parametrize("trace", [Hutchinson(probes=4), HutchPlus(sketch=2, probes=4)])
def test_columns_are_unbiased_independent_and_fixed_within_a_solve(trace):
    x, t = torch.linspace(-2, 2, 18, dtype=torch.float64).reshape(3, 6), torch.zeros(3, dtype=torch.float64)
    truth = Exact().of(mixing, x)(x, t)[1]
    both = trace.of(mixing, x)
    assert torch.equal(both(x, t)[1], both(x, t)[1])
    many = torch.stack([replace(trace, seed=seed).of(mixing, x)(x, t)[1] for seed in range(400)])
    error = (many.mean(0) - truth) / (many.std(0) / 20)
    assert error.abs().max() < 4
    assert many[:, 0].T.corrcoef().fill_diagonal_(0).abs().max() < 0.25
    assert trace.columns(6) == many.shape[2] == 4


def test_signs_belong_to_samples_wherever_the_batch_is_cut():
    x, t = torch.linspace(-2, 2, 30, dtype=torch.float64).reshape(5, 6), torch.zeros(5, dtype=torch.float64)
    for trace in (Hutchinson(probes=2), HutchPlus(sketch=2, probes=2)):
        whole = trace.of(mixing, x)(x, t)[1]
        tail = trace.of(mixing, x[3:], first=3)(x[3:], t[3:])[1]
        torch.testing.assert_close(tail, whole[3:])
        assert (trace.of(mixing, x[3:])(x[3:], t[3:])[1] - whole[3:]).abs().max() > 1e-3


def test_a_sketch_is_exact_up_to_its_rank_and_beats_probes_where_few_directions_count():
    g = torch.Generator().manual_seed(3)
    low = torch.randn(20, 2, dtype=torch.float64, generator=g) @ torch.randn(2, 20, dtype=torch.float64, generator=g)
    small = 0.05 * torch.randn(20, 20, dtype=torch.float64, generator=g)
    x, t = torch.randn(200, 20, dtype=torch.float64, generator=g), torch.zeros(200, dtype=torch.float64)
    exact = HutchPlus(sketch=2, probes=1).of(lambda x, t: x @ low, x)(x, t)[1]
    torch.testing.assert_close(exact, low.trace().expand(200, 1))
    spread = [
        (trace.of(lambda x, t: x @ (low + small), x)(x, t)[1].mean(1) - (low + small).trace()).std()
        for trace in (HutchPlus(sketch=4, probes=4), Hutchinson(probes=12))  # twelve products each
    ]
    assert spread[0] < spread[1] / 5


def test_fields_that_transforms_cannot_see_through_are_differentiated_all_the_same():
    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, slope):
            return slope * ctx.saved_tensors[0].cos()

    x, t = torch.randn(3, 4, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        slope, divergence = Exact().of(lambda x, t: Sine.apply(x), x)(x, t)
    torch.testing.assert_close(divergence, x.cos().sum(1, keepdim=True))
    assert not slope.requires_grad


def test_the_error_of_a_broken_field_is_its_own():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Exact().of(lambda x, t: x @ torch.zeros(5, 5), torch.zeros(2, 3))(torch.zeros(2, 3), torch.zeros(2))


@pytest.mark.parametrize("make", [lambda: Hutchinson(probes=0), lambda: HutchPlus(sketch=0), lambda: Exact(chunk=0)])
def test_counts_below_one_are_refused(make):
    with pytest.raises(ValueError, match=r"of 1 or more; got 0"):
        make()


@pytest.mark.parametrize("grad", [False, True])
def test_graphs_are_kept_only_when_asked(grad):
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=grad)
    with torch.set_grad_enabled(grad):
        _, divergence = Exact().of(curl_free, x)(x, torch.zeros(2, dtype=torch.float64))
    assert divergence.requires_grad == grad
    if grad:
        (slope,) = torch.autograd.grad(divergence.sum(), x)
        torch.testing.assert_close(slope, 6 * x.detach())


def test_augmented_integrates_the_log_determinant():
    """For dx/dt = A x the log-determinant over unit time is the trace of A."""
    a = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, dtype=torch.float64)
    field = augmented(Exact().of(lambda x, t: x @ a.T, x), (3,))
    end = drain(RK4(steps=50).trajectory(field, torch.cat([x, x.new_zeros(2, 1)], 1), 0.0, 1.0))
    torch.testing.assert_close(end[:, :3], x @ torch.linalg.matrix_exp(a).T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(end[:, 3], a.trace().expand(2))


def test_checkpointed_calls_have_second_derivatives():
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    rate = torch.randn(2, dtype=torch.float64, requires_grad=True)
    found = []
    for trace in (Exact(), Checkpointed(Exact())):
        both, t = trace.of(lambda x, t: torch.sin(rate * x), x, weights=[rate]), torch.zeros(3)
        slope, divergence = both(x + both(x, t)[0], t)  # of a state that is a function of the weights
        total = slope.square().sum() + divergence.square().sum()
        first = torch.autograd.grad(total, [x, rate], create_graph=True)
        found.append((*first, *torch.autograd.grad(sum(each.square().sum() for each in first), [x, rate])))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_checkpointed_calls_remember_their_precision():
    net, x = torch.nn.Linear(2, 2), torch.randn(3, 2)
    kinds = []

    def field(x, t):
        kinds.append(net(x).dtype)
        return net(x).float()

    with torch.autocast("cpu", torch.bfloat16):
        slope, _ = Checkpointed(Exact()).of(field, x, weights=list(net.parameters()))(x, torch.zeros(3))
    slope.sum().backward()
    assert kinds == [torch.bfloat16] * len(kinds)
    assert len(kinds) == 2
