"""Buckets where released code has them."""

import math

import pytest
import torch

from pushforward import PushforwardError
from pushforward.positions import T5, place, signed_bucket, t5_bucket


def test_buckets_on_both_sides_are_t5s():
    distance = torch.tensor([-200, -128, -64, -32, -16, -9, -8, -1, 0, 1, 7, 8, 9, 16, 32, 64, 128, 200])
    assert t5_bucket(distance).tolist() == [15, 15, 14, 12, 10, 8, 8, 1, 0, 17, 23, 24, 24, 26, 28, 30, 31, 31]


def test_buckets_of_the_past_are_t5s():
    distance = torch.tensor([-200, -128, -64, -32, -17, -16, -15, -1, 0, 1, 5])
    assert t5_bucket(distance, causal=True).tolist() == [31, 31, 26, 21, 16, 16, 15, 1, 0, 0, 0]


@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (32, 64), (16, 128), (64, 256)])
@pytest.mark.parametrize("causal", [False, True])
def test_borders_are_those_of_whole_numbers(buckets, farthest, causal):
    """floor(ln(a/e) / ln(f/e) (n - e)) >= b exactly where a^(n-e) e^b >= e^(n-e) f^b, in whole numbers."""
    n = buckets if causal else buckets // 2
    e = n // 2
    for a in range(1, 600):
        if a < e:
            expected = a
        else:
            b = max(b for b in range(n - e + 1) if a ** (n - e) * e**b >= e ** (n - e) * farthest**b)
            expected = min(e + b, n - 1)
        assert t5_bucket(torch.tensor(-a), buckets, farthest, causal).item() == expected


def test_signed_buckets_are_debertas():
    distance = torch.tensor([-511, -300, -200, -129, -128, -127, -1, 0, 1, 127, 128, 129, 200, 300, 511])
    expected = [-255, -207, -169, -129, -128, -127, -1, 0, 1, 127, 128, 129, 169, 207, 255]
    assert signed_bucket(distance, 256, 512).tolist() == expected


def test_the_bias_is_the_row_of_the_bucket():
    position = T5(heads=2, buckets=8, farthest=16)
    bias = position.bias(torch.tensor([3, 50]), torch.arange(4))
    for row, i in enumerate((3, 50)):
        for j in range(4):
            bucket = t5_bucket(torch.tensor(j - i), 8, 16)
            assert torch.equal(bias[:, row, j], position.table[bucket])


def test_t5s_own_attention_does_not_divide():
    assert place(T5(2, scale=1.0), torch.arange(3), 16, torch.float32).scale == 1.0
    assert place(T5(2), torch.arange(3), 16, torch.float32).scale == 1 / math.sqrt(16)


def test_fractions_have_no_bucket():
    with pytest.raises(PushforwardError, match="whole positions"):
        T5(2).bias(torch.tensor([0.5]), torch.tensor([1.0]))
