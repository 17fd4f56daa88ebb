"""Maps onto a part of the line in flows: noise that no data give is NaN, data that no noise gives have density 0."""

import math

import pytest
import torch
from torch.testing import assert_close

from pushforward import transforms as T
from pushforward.models import maf, naf, nsf
from pushforward.models.base import Normal
from pushforward.models.flow import NormalizingFlow
from pushforward.nets import MaskedDense

NOWHERE = 2.5  # beyond what each of these maps gives
ONTO_A_PART = {
    "soft-clip": lambda: T.Elementwise((3,), T.SoftClip(1.0)),
    "tanh": lambda: T.Elementwise((3,), T.Tanh(2.0)),
    "sigmoid": lambda: T.Inverse(T.Logit(0.05)),
    "sigmoid-far": lambda: T.Chain(T.Inverse(T.Logit(0.0, 1000.0, 1001.0)), T.Shift.from_data(torch.full((2, 3), 1e3))),
    "turned-twice": lambda: T.Inverse(T.Inverse(T.Elementwise((3,), T.SoftClip(1.0)))),
    "inverse-of-a-chain": lambda: T.Inverse(T.Chain(T.Shift((3,)), T.Inverse(T.Elementwise((3,), T.Tanh(1.0))))),
    "inverse-of-a-chain-with-logit": lambda: T.Inverse(T.Chain(T.Logit(0.05), T.Shift((3,)))),
    "coupling": lambda: T.MonotoneCoupling((3,), torch.nn.Linear(1, 4), T.Composed(T.Affine(), T.SoftClip(1.0))),
    **{
        method: lambda method=method: T.Autoregressive(
            T.Composed(T.Affine(), T.Tanh(1.0)), MaskedDense(3, 2, 8), method
        )
        for method in ("walk", "jacobi")
    },
}
TURNED = [
    name for name in ONTO_A_PART if name not in ("walk", "jacobi")
]  # no number, and nothing known of those after it
every = pytest.mark.parametrize("make", ONTO_A_PART.values(), ids=ONTO_A_PART.keys())
FIRST = {
    "affine": lambda: T.DiagonalScale((3,)),
    "maf": lambda: maf((3,), 1, 8).chain,
    "naf": lambda: naf((3,), 1, 8).chain,
    "nsf": lambda: nsf((3,), 2, 8, 1).chain,
}


@every
def test_noise_that_no_data_give_becomes_nan_and_nothing_else_changes(make):
    last, z = make(), torch.full((3, 3), 0.4)
    z[1, 2] = NOWHERE
    x, _ = last.decode(z)
    assert x[1, 2].isnan()
    assert x[[0, 2]].isfinite().all()
    assert_close(last.encode(x[[0, 2]])[0], z[[0, 2]], rtol=0, atol=1e-4)


@every
@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST.keys())
def test_it_spoils_neither_samples_nor_gradients_of_others(first, make):
    torch.manual_seed(0)
    flow = NormalizingFlow(T.Chain(first(), make()), Normal((3,)))
    z = torch.full((3, 3), 0.4)
    alone = flow.decode(z[[0, 2]])
    z[1, 2] = NOWHERE
    z.requires_grad_()
    x = flow.decode(z)
    assert x[1].isnan().any()
    assert_close(x[[0, 2]], alone)
    x[[0, 2]].square().sum().backward()
    assert z.grad[[0, 2]].isfinite().all()
    assert (z.grad[[0, 2]].abs().sum(1) > 0).all()


@every
def test_what_rounding_takes_to_an_end_stays_finite(make):
    last = make()
    z, _ = last.encode(torch.tensor([[-1e4, 300.0, 1e4], [-17.0, 17.0, 20.0]]))
    assert last.decode(z)[0].isfinite().all()


@pytest.mark.parametrize("make", [ONTO_A_PART[name] for name in TURNED], ids=TURNED)
def test_turned_round_it_gives_density_zero_beyond_and_a_finite_loss_elsewhere(make):
    flow = NormalizingFlow(T.Chain(T.Inverse(make()), T.DiagonalScale((3,)), *maf((3,), 1, 8).chain), Normal((3,)))
    x = torch.full((2, 3), 0.4)
    x[1, 2] = NOWHERE
    log_p = flow.log_prob(x)
    assert log_p[0].isfinite()
    assert log_p[1] == -math.inf
    assert flow.encode(x).isfinite().all()
    log_p[0].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in flow.parameters())


def test_samples_of_a_clipped_flow_are_right_or_nan():
    flow = NormalizingFlow(T.Chain(T.DiagonalScale((2,)), T.Elementwise((2,), T.SoftClip(1.0))), Normal((2,)))
    z = flow.noise(4000, 0)
    x = flow.decode(z)
    assert torch.equal(x.isnan(), z.abs() > 1)
    assert_close(flow.encode(x[~x.isnan().any(1)]), z[~x.isnan().any(1)], rtol=0, atol=1e-3)


def test_the_density_of_a_sample_that_is_nan_is_nan():
    """Tanh's ladj is -inf beyond its image, which would make it +inf."""
    flow = NormalizingFlow(T.Chain(T.Elementwise((2,), T.Tanh(1.0))), Normal((2,)))
    x, log_p = flow.rsample_and_log_prob(1000, seed=0)
    lost = x.isnan().any(1)
    assert 0 < lost.sum() < 1000
    assert torch.equal(log_p.isnan(), lost)
    assert_close(log_p[~lost], flow.log_prob(x[~lost]), rtol=0, atol=1e-3)
