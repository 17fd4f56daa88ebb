"""The divergence, exact and estimated."""

import pytest
import torch

from pushforward.solvers import RK4, Exact, Hutchinson, augmented, drain


def curl_free(x, t):
    """div = sum of 3 x_i**2 + 1."""
    return x**3 + x.roll(1, 1) * t[:, None] + x


def test_exact_is_the_trace_of_the_jacobian():
    x, t = torch.randn(4, 5, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    slope, divergence = Exact().of(curl_free, x)(x, t)
    torch.testing.assert_close(slope, curl_free(x, t))
    torch.testing.assert_close(divergence, (3 * x**2 + 1).sum(1))


def test_exact_works_on_images_and_constant_fields():
    x, t = torch.randn(2, 1, 2, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    _, divergence = Exact().of(lambda x, t: x * 2, x)(x, t)
    torch.testing.assert_close(divergence, torch.full((2,), 12.0, dtype=torch.float64))
    _, still = Exact().of(lambda x, t: torch.ones_like(x), x)(x, t)
    assert torch.equal(still, torch.zeros(2, dtype=torch.float64))


def test_hutchinson_is_unbiased_and_fixed_within_a_solve():
    x, t = torch.randn(3, 6, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    mix = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    field = lambda x, t: torch.sin(x) @ mix  # noqa: E731
    truth = Exact().of(field, x)(x, t)[1]
    both = Hutchinson(probes=4).of(field, x)
    assert torch.equal(both(x, t)[1], both(x, t)[1])
    many = torch.stack([Hutchinson(probes=8, seed=seed).of(field, x)(x, t)[1] for seed in range(400)])
    error = (many.mean(0) - truth) / (many.std(0) / 20)
    assert error.abs().max() < 4


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
