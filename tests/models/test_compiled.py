"""Flows compile as one graph: `torch.compile(flow.log_prob, fullgraph=True)` breaks nowhere."""

import pytest
import torch
from torch.testing import assert_close

from pushforward.models import maf, nice, nsf, nsf_autoregressive

FLOWS = {
    "nice": lambda: nice((4,), 2, 8, 1),
    "maf": lambda: maf((4,), 2, 16),
    "maf-blocks": lambda: maf((70,), 1, 140, 2),
    "nsf": lambda: nsf((4,), 2, 8, 1),
    "nsf-autoregressive": lambda: nsf_autoregressive((4,), 1, 16, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOWS)
def test_log_prob_and_its_gradients_are_one_graph(name):
    torch.manual_seed(0)
    flow = FLOWS[name]()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(5, *flow.shape)
    torch._dynamo.reset()
    compiled = torch.compile(flow.log_prob, fullgraph=True, backend="aot_eager")
    parameters = list(flow.parameters())
    ours, whole = compiled(x), flow.log_prob(x)
    assert_close(ours, whole, rtol=1e-5, atol=1e-5)
    pairs = zip(torch.autograd.grad(ours.sum(), parameters), torch.autograd.grad(whole.sum(), parameters), strict=True)
    for one, other in pairs:
        assert_close(one, other, rtol=1e-4, atol=1e-4)
