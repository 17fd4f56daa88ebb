import pytest
import torch
from torch.testing import assert_close

from pushforward import models
from pushforward._errors import ConfigError
from pushforward.data.batch import Batch
from pushforward.models.base import Logistic, Normal
from pushforward.models.flow import NormalizingFlow, prepare
from pushforward.models.named import nice, real_nvp

TORCH_START = {nice: {"spread": None}, real_nvp: {}}
"""Larger weights than NICE's own start, which needs more steps than a test has."""


def kinds(flow: NormalizingFlow) -> list[str]:
    return [type(transform).__name__ for transform in flow.chain]


SHAPED = ["nice", "real_nvp", "glow", "tarflow", "maf", "iaf", "nsf", "umnn", "sos", "naf", "bnaf", "planar", "ffjord"]


@pytest.mark.parametrize("named", SHAPED)
def test_a_number_in_place_of_a_shape_is_told_so(named: str):
    with pytest.raises(ConfigError, match=r"event shape, a tuple; got 6\. Vectors of 6 have \(6,\)"):
        getattr(models, named)(6)


def test_nice_is_the_published_model():
    """Tile once, four additive couplings of 5 x 1000 each followed by a reversal, a diagonal, a logistic."""
    flow = nice((784,))
    assert kinds(flow) == ["Permutation", *["AdditiveCoupling", "Permutation"] * 4, "Shift", "DiagonalScale"]
    assert flow.base == Logistic((784,))
    assert flow.chain[0].order[:3].tolist() == [0, 2, 4]
    assert all(t.order[0] == 783 for t in flow.chain[2:9:2])
    weights = [tuple(p.shape) for p in flow.chain[1].parameters() if p.ndim == 2]
    assert weights == [(1000, 392), *[(1000, 1000)] * 4, (392, 1000)]
    # 19.16 million: the figure of the authors' code, and one shift
    assert sum(p.numel() for p in flow.parameters()) == 4 * (393_000 + 4 * 1_001_000 + 392_392) + 2 * 784


def test_nice_starts_with_small_uniform_weights_and_no_biases():
    for parameter in nice((64,), hidden=200, layers=2).chain[1].parameters():
        if parameter.ndim == 2:
            assert 0.0095 < parameter.abs().max() <= 0.01
            assert_close(parameter.std().item(), 0.01 / 3**0.5, rtol=0.05, atol=0)
        else:
            assert not parameter.any()


def test_nice_keeps_volume_but_for_its_diagonal():
    flow = nice((6,), hidden=8, layers=1, spread=None)
    x = torch.randn(4, 6)
    assert torch.equal(flow.encode_and_ladj(x)[1], torch.zeros(4))


@pytest.mark.parametrize("make", [nice, real_nvp])
@pytest.mark.parametrize("shape", [(2,), (3,), (5,), (1, 3, 3), (4, 1, 1)])
def test_two_couplings_change_every_number_by_another(make, shape):
    """Each row of the Jacobian has an entry besides the one from the number itself."""
    torch.manual_seed(0)
    flow = make(shape, couplings=2, hidden=16, layers=1, zero_output=False, **TORCH_START[make]).double()
    x = torch.randn(1, *shape, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(flow.encode, x).reshape(x.numel(), x.numel())
    assert (jacobian.abs() > 1e-9).sum(1).min() >= 2


@pytest.mark.parametrize("zero", [True, False])
def test_couplings_that_start_at_zero_leave_the_order_alone(zero):
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    for flow in (
        nice((6,), hidden=8, layers=2, zero_output=zero),
        real_nvp((6,), hidden=8, zero_output=zero),
    ):
        same = torch.equal(flow.encode(x).sort(1).values, x.sort(1).values)
        assert same == zero


def test_the_log_scales_of_real_nvp_are_bounded():
    flow = real_nvp((2,), couplings=6, hidden=8, bound=0.1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(0) if parameter.ndim == 1 else parameter.fill_(100.0)
    assert flow.encode_and_ladj(torch.ones(1, 2))[1].abs().item() <= 0.6001


@pytest.mark.parametrize("make", [nice, real_nvp])
def test_bounded_data_are_decoded_within_their_interval(make):
    flow = make((3,), couplings=2, hidden=8, layers=1, support=(-1.0, 1.0), alpha=0.0)
    samples = flow.sample(200, seed=0)
    assert samples.abs().max() <= 1
    assert flow.log_prob(torch.full((1, 3), 1.5)).item() == float("-inf")


def test_no_class_is_the_last_index_or_none():
    torch.manual_seed(0)
    flow = nice((4,), hidden=8, layers=1, classes=3, spread=None)
    x = torch.randn(2, 4)
    assert torch.equal(flow.log_prob(x), flow.log_prob(x, torch.tensor([3, 3])))
    assert not torch.equal(flow.log_prob(x), flow.log_prob(x, torch.tensor([0, 1])))


@pytest.mark.parametrize("make", [nice, real_nvp])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (1,)}, "two numbers or more"),
        ({"couplings": 1}, "two couplings or more"),
        ({"base": "cauchy"}, "'logistic' or 'normal'"),
        ({"context": 2, "classes": 2}, "context or classes"),
    ],
)
def test_impossible_settings_are_refused(make, settings, message):
    with pytest.raises(ConfigError, match=message):
        make(**{"shape": (4,), "hidden": 4, "layers": 1, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "hidden of 1 unit or more; got 0"),
        ({"hidden": 8, "context": -1}, "a context or classes of 0 or more; got -1"),
        ({"hidden": 8, "dropout": 1.5}, "dropout from 0 to below 1; got 1.5"),
    ],
)
@pytest.mark.parametrize("make", [nice, real_nvp, models.nsf, models.maf, models.nsf_autoregressive])
def test_sizes_of_networks_are_refused_in_words(make, settings, message):
    with pytest.raises(ConfigError, match=message):
        make((4,), **settings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.ffjord((2,), hidden=0), "hidden of 1 unit"),
        (lambda: models.residual_flow((2,), hidden=0), "hidden of 1 unit"),
        (lambda: models.glow((1, 4, 4), 1, 1, hidden=0), "hidden of 1 unit"),
        (lambda: models.umnn((2,), units=0), "a hidden unit and a point at least"),
        (lambda: models.umnn((2,), points=0), "a hidden unit and a point at least"),
        (lambda: models.tarflow((4, 2), heads=0), "a width divisible by heads"),
    ],
)
def test_sizes_of_other_networks_are_too(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("make", [nice, real_nvp])
def test_a_hundred_steps_learn_a_bent_band(make):
    """A band that no diagonal normal fits: held-out data are likelier under the trained flow."""
    torch.manual_seed(0)
    a = torch.randn(600)
    points = torch.stack([a, a.square() + 0.2 * torch.randn(600)], 1)
    points = (points - points.mean(0)) / points.std(0)
    train, held_out = points[:500], points[500:]
    flow = prepare(make((2,), couplings=4, hidden=32, layers=2, base="normal", **TORCH_START[make]), Batch(train))
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(200):
        optimizer.zero_grad()
        (-flow.log_prob(train).mean()).backward()
        optimizer.step()
    gain = (flow.log_prob(held_out) - Normal((2,)).log_prob(held_out)).mean().item()
    assert gain > 0.5
