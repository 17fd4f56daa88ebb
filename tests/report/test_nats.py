import math

import pytest
import torch

from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward.data import Dataset, Scaling
from pushforward.data.arrays import PIXELS
from pushforward.models import NormalizingFlow
from pushforward.models.base import Normal
from pushforward.report import Estimate, Nats, bits
from pushforward.report.estimate import mean
from pushforward.transforms import Chain, Logit, Reshape, Transform


@pytest.mark.parametrize(
    ("nats", "dimensions", "low", "expected"),
    [(1980.50, 784, 0.0, "4.356"), (5371.78, 3072, -1.0, "4.477")],
    ids=["NICE on MNIST", "NICE on CIFAR-10"],
)
def test_published_nats_are_published_bits(nats, dimensions, low, expected):
    """Dinh et al. 2014, table 3, and the bits per dimension that follow."""
    published = Nats(Estimate(nats), dimensions, low, 1.0)
    assert f"{published.bits(256).value:.3f}" == expected
    assert f"{published.on(0, 256).bits(256).value:.3f}" == expected
    assert published.on(3, 7).on(low, 1.0).mean.value == pytest.approx(nats)


def test_the_error_is_converted_too():
    found = Nats(Estimate(100.0, 7.0), 10).bits(256)
    assert found.error == pytest.approx(7 / (10 * math.log(2)))


def test_logits_alone_have_no_other_unit():
    there = Nats(Estimate(-1341.5), 784, math.nan, math.nan, "in logit space")
    with pytest.raises(ConfigError, match=r"bits/dim from; got nats in logit space\. Each event has its own"):
        there.bits()
    with pytest.raises(ConfigError, match="low < high"):
        Nats(Estimate(0.0), 3).on(1, 1)


def pixels(scaling: Scaling = PIXELS) -> Dataset:
    values = (Draw(0, "pixels").normal(60, (1, 2, 2)) * 60 + 128).clamp(0, 255).to(torch.uint8)
    return Dataset("pixels", "image", values[:20], values[20:], scaling)


def test_one_value_holds_every_unit():
    """Each unit of a flow behind a logit, against its formula written out."""
    data, alpha = pixels(), 0.05
    chain = Chain(Reshape((1, 2, 2), (4,)), Logit(alpha, -1.0, 1.0), Reshape((4,), (1, 2, 2)))
    found = bits(NormalizingFlow(chain, Normal((1, 2, 2))), data, draws=4)
    unit, model, logits = found.nats
    draws = [Draw(0, "bits").at(k).of("held_out").of("dequantize").uniform(40, (1, 2, 2)) for k in range(4)]
    p = (alpha + (1 - 2 * alpha) * (data.held_out + torch.stack(draws)) / 256).double().flatten(2)
    z = p.logit()
    in_logits = (-0.5 * z.square() - 0.5 * math.log(2 * math.pi)).sum(2)
    on_unit = in_logits + (math.log(1 - 2 * alpha) - p.log() - (1 - p).log()).sum(2)
    assert logits.mean.value == pytest.approx(mean(in_logits[0]).value, abs=1e-4)
    assert logits.mean.error == pytest.approx(mean(in_logits[0]).error, rel=1e-4)
    assert unit.mean.value == pytest.approx(mean(on_unit[0]).value, abs=1e-4)
    closer = 8 - mean(on_unit.logsumexp(0) - math.log(4)).value / (4 * math.log(2))
    assert found.more_draws.value == pytest.approx(closer, abs=1e-4)
    assert (model.low, model.high) == (-1.0, 1.0)
    for each in (unit, model):
        assert each.bits(256).value == pytest.approx(found.one_draw.value, abs=1e-6)
        assert each.bits(256).error == pytest.approx(found.one_draw.error, rel=1e-6)
    shown = str(found)
    assert "an upper bound" in shown
    assert "with 4 draws" in shown
    assert [line.partition(" nats ")[2] for line in shown.splitlines()[1:]] == [
        "on [0, 1]", "on [-1, 1]", "in logit space (alpha = 0.05)",
    ]  # fmt: skip


def test_columns_scaled_apart_have_no_interval():
    scaling = Scaling(0.0, torch.tensor([[[0.5, 1.0], [2.0, 4.0]]]), levels=256)
    flow = NormalizingFlow(Chain(), Normal((1, 2, 2)))
    assert [(each.low, each.high) for each in bits(flow, pixels(scaling)).nats] == [(0.0, 1.0)]


class Holed(Transform):
    """The identity with a NaN for one event, as a broken layer gives."""

    def encode(self, x, context=None):
        ladj = torch.zeros(len(x))
        ladj[0] = math.nan
        return x, ladj

    def decode(self, z, context=None):
        return z, torch.zeros(len(z))


def test_a_nan_never_drops_out_of_an_average():
    """The density of one event in forty is NaN: so is every mean, whatever the number of draws."""
    found = bits(NormalizingFlow(Chain(Holed()), Normal((1, 2, 2))), pixels(), draws=3)
    assert math.isnan(found.one_draw.value)
    assert math.isnan(found.more_draws.value)
    assert all(math.isnan(each.mean.value) for each in found.nats)
    assert str(found).count("nan") >= 4
    assert math.isnan(Nats(mean(torch.tensor([1.0, math.nan])), 2).bits().value)
