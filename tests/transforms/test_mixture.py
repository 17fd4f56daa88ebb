"""Mixtures of logistics: their scales have an end, as that of an affine map."""

import torch
from torch.testing import assert_close

from pushforward.transforms import LogisticMixture


def scales_of(raw):
    return LogisticMixture(1)._components(torch.tensor([0.0, 0.0, raw, 0.0, 0.0]))[2]


def test_no_raw_scale_throws_samples_far_out():
    for raw in (60.0, 1e4):
        params = torch.tensor([0.0, 0.0, raw, 0.0, 0.0]).requires_grad_()
        x, ladj = LogisticMixture(1).decode(torch.tensor(3.0), params)
        assert 23 < x < 24  # the one mean is at -2
        assert ladj.exp() < 8.6
    assert 0.01 <= scales_of(-1e4) < 0.011


def test_scales_of_trained_networks_are_what_they_were():
    raw = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    before = 0.01 + 0.99 * torch.nn.functional.softplus(raw + 0.541325)
    assert_close(torch.cat([scales_of(each) for each in raw.tolist()]), before, rtol=0.04, atol=0)


def test_the_bound_leaves_a_gradient_where_scales_are_learned():
    for raw in (-6.0, 0.0, 6.0, 12.0):
        params = torch.tensor([0.0, 0.0, raw, 0.0, 0.0]).requires_grad_()
        LogisticMixture(1).encode(torch.tensor(3.0), params)[0].backward()
        assert params.grad[2].abs() > 1e-3
