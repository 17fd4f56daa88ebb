"""Guidance of flows acts wherever a conditioner is, or says that there is none."""

import pytest
import torch
from torch.testing import assert_close

from pushforward._errors import ConfigError
from pushforward.models import (
    NormalizingFlow,
    ffjord,
    glow,
    guided_flow,
    iaf,
    maf,
    nice,
    nsf,
    nsf_autoregressive,
    planar,
    real_nvp,
    tarflow,
)
from pushforward.transforms import Chain

CLASSES = {
    "nice": lambda: nice((3,), 2, 8, 1, classes=3),
    "real_nvp": lambda: real_nvp((3,), 2, 8, classes=3),
    "nsf": lambda: nsf((3,), 2, 8, 1, classes=3),
    "glow": lambda: glow((1, 4, 4), 2, 1, 8, classes=3),  # its second level is a part of the event
    "maf": lambda: maf((3,), 2, 8, classes=3),
    "iaf": lambda: iaf((3,), 2, 8, classes=3),
    "nsf_autoregressive": lambda: nsf_autoregressive((3,), 2, 8, 1, classes=3),
    "tarflow": lambda: tarflow((3, 1), 2, 8, 1, 2, classes=3, bound=1.0),
}
VECTORS = {
    "real_nvp": lambda: real_nvp((3,), 2, 8, context=2),
    "maf": lambda: maf((3,), 2, 8, context=2),
}


def wild(flow: NormalizingFlow) -> NormalizingFlow:
    torch.manual_seed(0)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return flow.double().eval()


@pytest.mark.parametrize("name", CLASSES)
def test_a_guided_flow_lies_between_no_class_and_the_class_and_beyond(name):
    flow = wild(CLASSES[name]())
    x, context = 0.5 * torch.randn(3, *flow.shape, dtype=torch.float64), torch.tensor([0, 1, 2])
    assert_close(guided_flow(flow, 0.0).log_prob(x, context), flow.log_prob(x))
    assert_close(guided_flow(flow, 1.0).log_prob(x, context), flow.log_prob(x, context))
    far = guided_flow(flow, 5.0)
    assert_close(far.log_prob(x), flow.log_prob(x))
    assert_close(far.decode(far.encode(x, context), context), x, rtol=1e-7, atol=1e-7)
    gap = far.sample(3, context, seed=0) - flow.sample(3, context, seed=0)
    assert (gap.flatten(1).abs().amax(1) > 1e-3).all()
    assert {p.data_ptr() for p in far.parameters()} == {p.data_ptr() for p in flow.parameters()}
    assert not far.training


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_that_means_none_must_be_named(name):
    flow = wild(VECTORS[name]())
    with pytest.raises(ConfigError, match=r"vector that means no context.*unconditional=torch.zeros\(2\)"):
        guided_flow(flow, 2.0)
    x, context, nothing = torch.randn(4, 3).double(), torch.randn(4, 2).double(), torch.tensor([0.5, -0.5]).double()
    assert_close(guided_flow(flow, 0.0, nothing).log_prob(x, context), flow.log_prob(x, nothing[None]))
    far = guided_flow(flow, 3.0, nothing)
    assert_close(far.decode(far.encode(x, context), context), x, rtol=1e-7, atol=1e-7)
    assert not torch.allclose(far.log_prob(x, context), flow.log_prob(x, context))


def test_a_guided_coupling_is_the_formula():
    """Of one affine coupling: log-scale and shift are those between, before the bound."""
    flow = wild(real_nvp((2,), 2, 8, classes=2, bound=1e6))
    first = NormalizingFlow(Chain(*[t for t in flow if "Coupling" in type(t).__name__][:1]), flow.base)
    x, context = torch.randn(3, 2).double(), torch.tensor([1])
    parts = [first.encode_and_ladj(x, c)[1] for c in (None, context)]
    ours = guided_flow(first, 2.5).encode_and_ladj(x, context)[1]
    assert_close(ours, parts[0] + 2.5 * (parts[1] - parts[0]), rtol=1e-6, atol=1e-6)


def test_what_cannot_be_guided_is_refused():
    with pytest.raises(ConfigError, match="one of DiagonalScale, Planar, Shift"):
        guided_flow(planar((2,), 2, context=2), 3.0)
    with pytest.raises(ConfigError, match=r"got a Diffusion\. .*models.guided"):
        guided_flow(ffjord((2,), 8, context=2), 3.0)
