"""Surjections: what is exact is, what is a bound bounds, and the losing direction loses nothing it should keep."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from laws.zoo_transforms import Net
from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward.models.base import Normal, Uniform
from pushforward.models.flow import NormalizingFlow
from pushforward.models.named import real_nvp
from pushforward.models.surjected import Surjected
from pushforward.nets import Dense
from pushforward.transforms import (
    Absolute,
    Affine,
    Chain,
    DiagonalScale,
    Elementwise,
    Exp,
    Inverse,
    MonotoneCoupling,
    RationalQuadratic,
    Shift,
    Slice,
    Sort,
    Surjection,
    UniformDequantization,
    VariationalDequantization,
    tile,
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


LEVELS = 3
ALL = torch.tensor(list(itertools.product(range(LEVELS), repeat=2)), dtype=torch.float64)


def _random(module: nn.Module, seed: int = 0, spread: float = 0.4) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(spread * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return module.eval()


def bounded_noise() -> VariationalDequantization:
    g = RationalQuadratic(4, 0.0, 1.0)
    return VariationalDequantization(MonotoneCoupling((2,), Net(1, g.size, 2), g), LEVELS, bounded=True)


def free_noise() -> VariationalDequantization:
    return VariationalDequantization(Chain(MonotoneCoupling((2,), Net(1, 2, 2), Affine()), DiagonalScale((2,))), LEVELS)


DEQUANTIZERS = {"uniform": lambda: UniformDequantization(LEVELS), "variational": free_noise, "bounded": bounded_noise}


@pytest.mark.parametrize("make", DEQUANTIZERS.values(), ids=DEQUANTIZERS.keys())
def test_rounding_undoes_dequantization(make):
    for dtype in (torch.float32, torch.float64):
        layer, x = _random(make()).to(dtype), ALL.to(dtype).repeat(50, 1)
        z, _ = layer.encode(x, Draw(0))
        assert ((z >= 0) & (z < 1)).all()
        assert torch.equal(layer.decode(z, Draw(0)), x)


def test_every_byte_survives_in_single_precision():
    layer = UniformDequantization(256)
    x = torch.arange(256.0).repeat(500)[:, None]
    assert torch.equal(layer.decode(layer.encode(x, Draw(1))[0], Draw(1)), x)


@pytest.mark.parametrize("make", DEQUANTIZERS.values(), ids=DEQUANTIZERS.keys())
def test_the_mean_over_draws_is_the_probability_of_the_cell(make):
    """E exp(log p(z) + gain) = P(x) for whatever noise: so K draws converge to it, and one draw bounds it."""
    flow = _random(real_nvp((2,), couplings=2, hidden=8, support=(0.0, 1.0), alpha=0.0))
    model = Surjected([_random(make(), spread=0.2)], flow)
    assert not model.exact
    if make is free_noise:
        model.surjections[0].noise[1].log_scale.data.fill_(-0.8)  # wide: a normal's logit is scarce near the ends
    with torch.no_grad():
        side = 300 * LEVELS
        line = (torch.arange(side, dtype=torch.float64) + 0.5) / side
        density = flow.log_prob(torch.cartesian_prod(line, line)).exp().reshape(side, side)
        cells = density.reshape(LEVELS, 300, LEVELS, 300).sum((1, 3)).flatten() / side**2
        many = model.bound(ALL.repeat(1000, 1), seed=0).reshape(1000, -1)
    assert_close(many.exp().mean(0), cells, rtol=0.12, atol=0.003)
    assert (many.mean(0) < cells.log()).all()
    assert cells.sum().item() == pytest.approx(1, abs=5e-3)


def test_more_draws_are_tighter():
    flow = _random(real_nvp((2,), couplings=2, hidden=8, support=(0.0, 1.0), alpha=0.0))
    model = Surjected([UniformDequantization(LEVELS)], flow)
    x = ALL.repeat(100, 1)
    with torch.no_grad():
        one, ten = model.bound(x, seed=0).mean(), model.bound(x, seed=0, draws=10).mean()
    assert one < ten


def test_variational_noise_learns_to_tighten_the_bound():
    torch.manual_seed(0)
    flow = _random(real_nvp((2,), couplings=2, hidden=8, support=(0.0, 1.0), alpha=0.0)).requires_grad_(False)
    model = Surjected([bounded_noise().double()], flow)
    x = ALL.repeat(20, 1)
    optimizer = torch.optim.Adam(model.surjections.parameters(), lr=0.02)
    before = model.bound(ALL.repeat(500, 1), seed=99).mean().item()
    for step in range(60):
        optimizer.zero_grad()
        (-model.bound(x, seed=step).mean()).backward()
        optimizer.step()
    assert model.bound(ALL.repeat(500, 1), seed=99).mean().item() > before + 0.01


def test_bounded_noise_starts_uniform():
    torch.manual_seed(0)
    g = RationalQuadratic(4, 0.0, 1.0)
    net = Net(1, g.size, 2)
    nn.init.zeros_(net.layers[-1].weight)
    nn.init.zeros_(net.layers[-1].bias)
    layer = VariationalDequantization(MonotoneCoupling((2,), net, g), LEVELS, bounded=True)
    x = ALL.float()
    expected = UniformDequantization(LEVELS).encode(x, Draw(0))
    assert_close(layer.encode(x, Draw(0)), expected, rtol=1e-5, atol=1e-5)


def _grid_mass(model: Surjected, reach: float = 14.0, side: int = 400) -> float:
    line = reach * (2 * torch.arange(side, dtype=torch.float64) + 1 - side) / side
    with torch.no_grad():
        return model.bound(torch.cartesian_prod(line, line), seed=0).exp().sum().item() * (2 * reach / side) ** 2


def exact_models() -> dict[str, Surjected]:
    positive = NormalizingFlow(Chain(Inverse(Elementwise((2,), Exp())), DiagonalScale((2,)), Shift((2,))), Normal((2,)))
    narrow = NormalizingFlow(Chain(DiagonalScale((1,)), Shift((1,))), Normal((1,)))
    # a density over sorted pairs: the first, and a positive step to the second
    step = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2))
    return {
        "absolute": Surjected([Absolute()], _random(positive)),
        "slice": Surjected([_random(Slice(1, 1, step))], _random(narrow)),
        "sort-slice": Surjected([Sort(), _random(Slice(1, 1, step))], _random(narrow)),
    }


@pytest.mark.parametrize("name", ["absolute", "slice"])
def test_what_is_exact_has_mass_one(name: str):
    model = exact_models()[name]
    assert model.exact
    assert _grid_mass(model) == pytest.approx(1, abs=0.01)


def test_a_log_density_is_given_only_where_it_is_one():
    x = torch.randn(4, 2, dtype=torch.float64)
    model = exact_models()["slice"]
    assert torch.equal(model.log_prob(x), model.bound(x, seed=7))
    vague = Surjected([Sort(), UniformDequantization(LEVELS)], model.flow)
    with pytest.raises(ConfigError, match=r"a UniformDequantization\. Ask for bound"):
        vague.log_prob(x)


def test_sorting_counts_every_order_once():
    """The mass over all pairs is that of the flow over sorted pairs: n! orders at 1 / n! each."""
    model = exact_models()["sort-slice"]
    x = torch.tensor([[0.3, -1.2], [-1.2, 0.3]], dtype=torch.float64)
    both = model.bound(x, seed=0)
    assert both[0] == both[1]
    inner = Surjected(list(model.surjections)[1:], model.flow).bound(x.sort(1).values, seed=0)
    assert_close(both, inner - math.log(2))
    images = torch.randn(3, 4, 2)
    z, gain = Sort().encode(images, Draw(0))
    assert (z[..., 0].diff(dim=1) >= 0).all()
    assert_close(z.sum(1), images.sum(1))
    assert gain[0].item() == pytest.approx(-math.log(24))


@pytest.mark.parametrize("surjection", [Absolute(), Sort()], ids=["absolute", "sort"])
def test_encoding_undoes_decoding(surjection: Surjection):
    x = torch.randn(40, 3)
    z, _ = surjection.encode(x, Draw(0))
    back = surjection.decode(z, Draw(5))
    assert torch.equal(surjection.encode(back, Draw(0))[0], z)
    assert not torch.equal(back, z)


def test_decoded_signs_and_orders_are_fair():
    z = torch.arange(1.0, 4.0).expand(6000, 3)
    assert abs((Absolute().decode(z, Draw(0)) > 0).float().mean().item() - 0.5) < 0.02
    first = Sort().decode(z, Draw(0))[:, 0]
    assert_close(torch.bincount(first.long())[1:] / 6000, torch.full((3,), 1 / 3), rtol=0, atol=0.03)


@pytest.mark.parametrize("name", ["absolute", "slice", "sort-slice"])
def test_a_sample_depends_on_the_seed_and_its_number_alone(name: str):
    model = exact_models()[name]
    assert torch.equal(model.sample(3, seed=2, first=5), model.sample(8, seed=2)[5:])


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="two levels"):
        UniformDequantization(1)
    with pytest.raises(ConfigError, match="one draw"):
        Surjected([Absolute()], NormalizingFlow(Chain(), Uniform((1,)))).bound(torch.zeros(1, 1), draws=0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
@pytest.mark.parametrize(
    "surjection", [UniformDequantization(4), Absolute(), Sort(), "variational"], ids=lambda s: type(s).__name__
)
def test_whole_numbers_of_any_type_are_whole_numbers(surjection, dtype):
    """Noise and logarithms are not cut off to whole ones."""
    if surjection == "variational":
        surjection = VariationalDequantization(Inverse(tile(3)), 4, bounded=True)
    x, flow = torch.tensor([[0, 3, 1], [2, 1, 3]]), real_nvp((3,), couplings=2, hidden=8)
    model = Surjected([surjection], flow)
    assert_close(model.bound(x.to(dtype), seed=0), model.bound(x.float(), seed=0))
    gains = [surjection.encode(each, Draw(0))[1] for each in (x.to(dtype), x.float())]
    assert_close(gains[0], gains[1])


def test_transforms_stand_between_surjections():
    """log p(x) of a shifted |x|: half of the density of the absolute value, at the shifted place."""
    flow = NormalizingFlow(Inverse(Elementwise((1,), Exp())), Normal((1,)))
    shift = Shift((1,))
    torch.nn.init.constant_(shift.shift, -2.0)
    model, x = Surjected([shift, Absolute()], flow), torch.tensor([[3.0], [0.5]])
    assert_close(model.log_prob(x), flow.log_prob((x - 2).abs()) - math.log(2))
    assert model.exact
    assert_close(model.sample(500, seed=0).median(), torch.tensor(2.0), rtol=0, atol=0.5)
    assert model.audit(x)["surjections"].ok
    with pytest.raises(ConfigError, match="surjections and transforms; got a Linear"):
        Surjected([nn.Linear(1, 1)], flow)


def test_one_row_of_context_is_that_of_all():
    net = Dense(2, 2, 8, 1, 2)
    model = Surjected([Slice(2, 1, net)], real_nvp((2,), 2, 8, context=2, zero_output=False))
    x, one = torch.randn(3, 3), torch.randn(1, 2)
    assert_close(model.log_prob(x, one), model.log_prob(x, one.expand(3, 2)))
    assert_close(model.sample(3, one, seed=0), model.sample(3, one.expand(3, 2), seed=0))
