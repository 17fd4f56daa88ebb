import math

import pytest
import torch
from torch.testing import assert_close

from pushforward._errors import ConfigError
from pushforward.data.batch import Batch
from pushforward.models import ffjord
from pushforward.models.base import Logistic, Normal
from pushforward.models.flow import NormalizingFlow, prepare
from pushforward.models.named import nice
from pushforward.transforms import Chain, DiagonalScale, Inverse, Shift, reverse

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 1.0, 10.0]) + 4


def test_a_scaled_normal_has_the_density_of_the_textbook():
    chain = Chain(Shift.from_data(X), DiagonalScale.from_data(X))
    expected = torch.distributions.Normal(X.mean(0), X.std(0, correction=0)).log_prob(X).sum(1)
    assert_close(NormalizingFlow(chain, Normal((3,))).log_prob(X), expected)


@pytest.mark.parametrize("base", [Normal((3,)), Normal((3,), std=0.5), Logistic((3,))])
def test_the_start_reaches_the_deviation_of_the_base(base):
    """The samples of a started flow spread as the data do."""
    flow = prepare(NormalizingFlow(Chain(Shift((3,)), DiagonalScale((3,))), base), Batch(X))
    samples = flow.sample(20_000, seed=0)
    assert_close(samples.std(0), X.std(0), rtol=0.05, atol=0)
    assert_close(samples.mean(0), X.mean(0), rtol=0.05, atol=0.1)


def test_the_start_finds_scales_wherever_they_stand():
    chain = Chain(
        Chain(reverse(3), Inverse(Shift((3,)))),
        Shift((3,)),
        Inverse(DiagonalScale((3,))),
        DiagonalScale((3,)),
    )
    flow = prepare(NormalizingFlow(chain, Logistic((3,))), Batch(X))
    seen = [x for x, _ in flow.chain.encode_steps(X)]
    assert_close(seen[0].mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    for z in seen[2:]:
        assert_close(z.std(0, correction=0), torch.full((3,), math.pi / math.sqrt(3)))


def test_the_start_is_worth_more_than_fifty_steps():
    """NICE's diagonal at 0 is far from data of little spread; the start puts it in place at once."""
    x = X * 0.05
    flow = nice((3,), hidden=16, layers=1)
    started = prepare(flow, Batch(x)).log_prob(x).mean()
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
    for _ in range(50):
        optimizer.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        optimizer.step()
    assert started > flow.log_prob(x).mean() + 2


def test_one_event_gives_no_start():
    with pytest.raises(ConfigError, match="at least two events"):
        prepare(nice((2,), hidden=4, layers=1), Batch(torch.zeros(1, 2)))


def test_events_alone_are_a_start():
    flow = nice((3,), hidden=4, layers=1)
    assert torch.equal(prepare(flow, X).log_prob(X), prepare(flow, Batch(X)).log_prob(X))


def test_a_loop_over_named_flows_may_start_one_that_integrates():
    flow = ffjord((3,), hidden=4, layers=1)
    ready = prepare(flow, Batch(X))
    assert type(ready) is type(flow)
    for ours, theirs in zip(ready.parameters(), flow.parameters(), strict=True):
        assert ours is not theirs
        assert torch.equal(ours, theirs)


def test_solvers_are_accepted_and_ignored():
    flow = nice((2,), hidden=4, layers=1)
    assert torch.equal(flow.sample(3, seed=0, solver=None), flow.sample(3, seed=0, solver=object()))  # pyright: ignore


def test_an_empty_chain_is_its_base():
    flow, z = NormalizingFlow(Chain(), Normal((2,))), torch.ones(1, 2)
    assert torch.equal(flow.log_prob(z), Normal((2,)).log_prob(z))
    assert torch.equal(flow.decode(z), z)


def test_a_flow_is_a_sequence_of_its_transforms():
    flow = nice((2,), 2, hidden=4, layers=1)
    assert len(flow) == len(flow.chain)
    assert list(flow) == list(flow.chain)
    assert flow[0] is flow.chain[0]
    assert flow[-1] is flow.chain[-1]
    assert flow.index(flow[2]) == 2
    assert list(reversed(flow)) == list(reversed(flow.chain))
    assert flow[1] in flow
    rest = flow[1:]
    assert isinstance(rest, Chain)
    x = torch.randn(3, 2)
    assert_close(rest.encode(flow[0].encode(x)[0])[0], flow.encode(x))
    with pytest.raises(IndexError):
        flow[99]


def test_a_flow_is_true_with_nothing_in_it():
    flow = NormalizingFlow(Chain(), Normal((2,)))
    assert len(flow) == 0
    assert flow
