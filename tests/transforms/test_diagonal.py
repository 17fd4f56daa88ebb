import math

import pytest
import torch
from torch.testing import assert_close

from pushforward.transforms import Chain, DiagonalScale, Shift

X = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5 + 2


def test_the_start_from_data_centres_and_scales():
    chain = Chain(Shift.from_data(X), DiagonalScale.from_data(X, std=1.5))
    z, _ = chain.encode(X)
    assert_close(z.mean(0), torch.zeros(2, 3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert_close(z.std(0, correction=0), torch.full((2, 3), 1.5, dtype=torch.float64))


def test_the_start_learns_on_and_does_not_hold_the_data():
    x = X.clone().requires_grad_()
    for transform in (Shift.from_data(x), DiagonalScale.from_data(x)):
        (parameter,) = transform.parameters()
        assert parameter.requires_grad
        assert parameter.is_leaf


def test_a_constant_dimension_gets_the_floor():
    scale = DiagonalScale.from_data(torch.full((4, 1), 7.0), std=2.0, floor=1e-3)
    assert scale.log_scale.item() == pytest.approx(math.log(2e3))


def test_parameters_are_vectors_so_that_weight_decay_spares_them():
    assert [p.ndim for p in Chain(Shift((1, 2, 3)), DiagonalScale((1, 2, 3))).parameters()] == [1, 1]
