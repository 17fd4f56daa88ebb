"""Gradients through samples: right by every weight, held against a grid, or refused."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Gamma, Gumbel, Independent, Laplace, MixtureSameFamily
from torch.distributions import Normal as TorchNormal
from torch.testing import assert_close

from laws.zoo_bases import BASES, Kind
from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward.models import Diffusion, FromTorch, Mixture, ModelBase, NormalizingFlow, real_nvp
from pushforward.models.base import Base
from pushforward.transforms import Chain, Shift

LINE = torch.linspace(-30, 30, 60_001, dtype=torch.float64)[:, None]
TARGET = TorchNormal(torch.tensor(3.0, dtype=torch.float64), 1.0)


def islands(apart: float) -> Mixture:
    base = Mixture((1,), 2).double()
    with torch.no_grad():
        base.mean.copy_(torch.tensor([[-apart], [apart]]))
        base.raw_weight.copy_(torch.tensor([0.3, -0.2]))
        base.log_std.copy_(torch.tensor([[0.1], [-0.3]]))
    return base


def on_a_grid(flow: NormalizingFlow, weights: list[Tensor]) -> list[Tensor]:
    """The gradient of KL(flow, N(3, 1)), added up."""
    log_q = flow.log_prob(LINE)
    divergence = (log_q.exp() * (log_q - TARGET.log_prob(LINE[:, 0]))).sum() * (LINE[1] - LINE[0])
    return list(torch.autograd.grad(divergence, weights))


def test_what_a_mixture_draws_does_not_follow_its_weights_and_says_so():
    flow = NormalizingFlow(Shift((1,)), islands(5.0)).double()
    assert not flow.base.has_rsample
    assert not flow.distribution().has_rsample
    for call in (lambda: flow.rsample_and_log_prob(4), lambda: flow.distribution().rsample((4,))):
        with pytest.raises(ConfigError, match=r"a Mixture with weights that draws cannot follow.*no_grad"):
            call()
    with torch.no_grad():
        x, log_q = flow.rsample_and_log_prob(4, seed=0)
    assert_close(log_q, flow.log_prob(x).detach())
    assert flow.distribution().sample((4,)).shape == (4, 1)


def test_the_score_function_is_right_by_every_weight():
    """What the error tells one to do, and Pyro does by itself."""
    flow = NormalizingFlow(Shift((1,)), islands(5.0)).double()
    weights = list(flow.parameters())
    with torch.no_grad():
        x, log_q = flow.rsample_and_log_prob(400_000, seed=0)
        cost = log_q - TARGET.log_prob(x[:, 0])
    ours = torch.autograd.grad(((cost - cost.mean()) * flow.log_prob(x)).mean(), weights)
    wanted = on_a_grid(flow, weights)
    assert max(each.abs().max().item() for each in wanted) > 5
    for one, other in zip(ours, wanted, strict=True):
        assert_close(one, other, rtol=0.02, atol=0.15)


@pytest.mark.parametrize("apart", [0.5, 5.0])
def test_a_mixture_of_frozen_weights_has_gradients_by_means_and_deviations(apart):
    base = islands(apart)
    base.raw_weight.requires_grad_(False)
    flow = NormalizingFlow(Shift((1,)), base).double()
    assert flow.distribution().has_rsample
    weights = [weight for weight in flow.parameters() if weight.requires_grad]
    x, log_q = flow.rsample_and_log_prob(200_000, seed=0)
    ours = torch.autograd.grad((log_q - TARGET.log_prob(x[:, 0])).mean(), weights)
    for one, other in zip(ours, on_a_grid(flow, weights), strict=True):
        assert_close(one, other, rtol=0.02, atol=0.05)


def test_one_component_is_no_mixture():
    assert Mixture((2,), 1).has_rsample


FOLLOWED = {name: kind for name, kind in BASES.items() if name != "mixture"}


@pytest.mark.parametrize("kind", FOLLOWED.values(), ids=FOLLOWED)
def test_every_other_base_is_followed_by_its_draws(kind: Kind):
    """d/dw of the mean of a bounded function, through draws and through the density, by every weight of the zoo."""
    base = kind.base()
    assert base.has_rsample
    weights = list(base.parameters()) if isinstance(base, nn.Module) else []
    if weights:
        _compare(base, weights, kind.contexts(400_000))


def parametrised(name: str) -> tuple[Base, Tensor]:
    w = torch.tensor([1.5], requires_grad=True)
    shares = Categorical(logits=torch.cat([w, w.new_zeros(1)]))
    made = {
        "laplace": lambda: Independent(Laplace(w, 1.0), 1),
        "gumbel": lambda: Independent(Gumbel(w, 2.0), 1),
        "gamma": lambda: Independent(Gamma(w, 1.0), 1),
        "mixture": lambda: Independent(
            MixtureSameFamily(Categorical(shares.logits[None]), TorchNormal(torch.tensor([[-2.0, 2.0]]), 1.0)), 1
        ),
    }[name]()
    return FromTorch(made), w


@pytest.mark.parametrize("name", ["laplace", "gumbel", "gamma"])
def test_torchs_distributions_are_followed_as_torch_follows_them(name):
    base, w = parametrised(name)
    assert base.has_rsample
    _compare(base, [w], None)


def test_torchs_distributions_without_rsample_are_not_taken_to_have_it():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    base, _ = parametrised("mixture")
    assert not base.has_rsample
    flow = NormalizingFlow(Shift((1,)), base)
    with pytest.raises(ConfigError, match="a FromTorch with weights that draws cannot follow"):
        flow.rsample_and_log_prob(3)
    frozen = FromTorch(Independent(MixtureSameFamily(
        Categorical(torch.ones(1, 2)), TorchNormal(torch.tensor([[-2.0, 2.0]]), 1.0)
    ), 1))  # fmt: skip
    assert frozen.has_rsample
    x, _ = NormalizingFlow(Shift((1,)), frozen).rsample_and_log_prob(3, seed=0)
    assert x.requires_grad
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_model_as_base_is_followed_while_it_is_kept():
    flow = real_nvp((2,), 2, 8)
    model = Diffusion(lambda x, t, context: 0 * x, shape=(2,), base=ModelBase(flow))
    assert model.distribution().has_rsample
    flow.requires_grad_(True)
    assert not model.distribution().has_rsample


def test_a_flow_with_a_mixture_keeps_its_word_when_empty():
    flow = NormalizingFlow(Chain(), islands(1.0))
    assert_close(flow.sample(5, seed=1), flow.base.sample(5, Draw(1, "sample")))


def _compare(base: Base, weights: list[Tensor], context: Tensor | None) -> None:
    n = 400_000
    x = base.sample(n, Draw(0, "law"), context)
    measured = torch.tanh(x - 0.3).flatten(1).sum(1)
    through = torch.autograd.grad(measured.mean(), weights, retain_graph=True)
    x, cost = x.detach(), (measured - measured.mean()).detach()
    score = torch.autograd.grad((cost * base.log_prob(x, context)).mean(), weights)
    for one, other in zip(through, score, strict=True):
        assert_close(one, other, rtol=0.03, atol=5 * math.sqrt(1 / n) * 2, check_dtype=False)
