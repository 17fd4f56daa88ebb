import math

import pytest
import torch

from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward.data import Bounded, Categorical, Circular, Columns, Integer, Positive, Real

CONTINUOUS = {
    "real": (Real(), -3.0, 5.0),
    "positive": (Positive(), 1e-3, 40.0),
    "above": (Positive(-2.0), -1.9, 40.0),
    "bounded": (Bounded(-1.0, 3.0), -0.999, 2.999),
    "circular": (Circular(24.0, cut=3.0), 3.001, 23.999),
}
DISCRETE = {
    "integer": (Integer(), [-3.0, 0.0, 7.0]),
    "count": (Integer(0), [0.0, 1.0, 50.0]),
    "die": (Integer(1, 6), [1.0, 3.0, 6.0]),
    "category": (Categorical(("a", "b", "c")).learned(torch.tensor([0.0, 0, 1, 2])), [0.0, 1.0, 2.0]),
}
WILD = 30 * Draw(0, "wild").normal(500, (), torch.float64)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_gain_is_the_derivative_and_decoding_undoes(name):
    column, low, high = CONTINUOUS[name]
    values = torch.linspace(low, high, 60, dtype=torch.float64, requires_grad=True)
    y, gain = column.encode(values, torch.zeros(60, dtype=torch.float64))
    (slope,) = torch.autograd.grad(y.sum(), values)
    torch.testing.assert_close(gain, slope.log())
    torch.testing.assert_close(column.decode(y.detach()), values.detach())


@pytest.mark.parametrize("name", DISCRETE)
def test_the_gain_of_a_level_is_the_derivative_in_u(name):
    column, levels = DISCRETE[name]
    for level in levels:
        u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
        values = torch.full((50,), level, dtype=torch.float64)
        y, gain = column.encode(values, u)
        (slope,) = torch.autograd.grad(y.sum(), u)
        torch.testing.assert_close(gain, slope.log())
        assert (column.decode(y.detach()) == values).all()


def test_a_category_has_its_share_under_the_base():
    """P(v) = E_u exp(log N(y) + gain): the counts plus one, exactly, for every u."""
    column = DISCRETE["category"][0]
    y, gain = column.encode(torch.tensor([0.0, 1, 2]).double(), torch.tensor([0.1, 0.5, 0.9]).double())
    found = (gain - 0.5 * y.square() - 0.5 * math.log(2 * math.pi)).exp()
    torch.testing.assert_close(found, torch.tensor([3.0, 2, 2]).double() / 7)


@pytest.mark.parametrize(
    ("column", "inside"),
    [
        (Positive(), lambda v: v > 0),
        (Positive(5.0), lambda v: v > 5),
        (Bounded(-1, 3), lambda v: (v >= -1) & (v <= 3)),
        (Circular(24.0, cut=7.0), lambda v: (v >= 0) & (v < 24)),
        (Circular(360.0, low=-180.0, cut=1.0), lambda v: (v >= -180) & (v < 180)),
        (Integer(0), lambda v: (v >= 0) & (v == v.floor())),
        (Integer(1, 6), lambda v: (v >= 1) & (v <= 6) & (v == v.floor())),
        (DISCRETE["category"][0], lambda v: (v == 0) | (v == 1) | (v == 2)),
    ],
)
def test_whatever_comes_is_decoded_into_the_support(column, inside):
    assert inside(column.decode(WILD)).all()


@pytest.mark.parametrize(
    ("column", "outside"),
    [
        (Positive(), 0.0),
        (Bounded(0, 1), 1.01),
        (Bounded(0, 1), -1e-6),
        (Integer(), 1.5),
        (Integer(0), -1.0),
        (Integer(1, 6), 7.0),
        (DISCRETE["category"][0], -1.0),
    ],
)
def test_outside_the_support_there_is_no_density(column, outside):
    y, gain = column.encode(torch.tensor([outside], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64))
    assert gain.item() == -math.inf
    assert y.isfinite().all()


def test_a_circle_is_cut_in_its_widest_gap():
    column = Circular(24.0).learned(torch.tensor([22.0, 23.0, 1.0, 2.0]).double())
    assert column.cut == 12.0
    there = torch.tensor([23.0, 47.0, -1.0]).double()
    y, gain = column.encode(there, torch.zeros(3).double())
    torch.testing.assert_close(y, y[:1].expand(3))
    torch.testing.assert_close(gain, gain[:1].expand(3))


def table(*columns):
    return torch.tensor(columns, dtype=torch.float64).T


def test_a_missing_value_adds_nothing():
    values = table([1.0, math.nan, 3.0], [0.5, 0.25, math.nan])
    columns = Columns.learn(("a", "b"), (Positive(), Bounded(0, 1)), values, torch.full((3, 2), 0.5).double())
    z, gain = columns.encode(values, torch.zeros(3, 2).double())
    assert (z[values.isnan()] == 0).all()
    assert (gain[values.isnan()] == 0).all()
    torch.testing.assert_close(columns.decode(z)[~values.isnan()], values[~values.isnan()])


def heavy(n=800):
    """One wild value among normal ones; Cauchy's; and light tails beside them."""
    draw = Draw(0, "tails")
    a, b = draw.of("a").normal(n, (), torch.float64), draw.of("b").normal(n, (), torch.float64)
    return torch.stack([torch.where(torch.arange(n) == 5, 1e6, a), a / b, b], 1)


def test_one_wild_value_does_not_hide_all_others():
    values = heavy()
    columns = Columns.learn(("a", "b", "c"), (Real(),) * 3, values, torch.zeros_like(values))
    z = columns.encode(values, torch.zeros_like(values))[0]
    middle = z.quantile(0.75, 0) - z.quantile(0.25, 0)
    assert (middle > 0.5).all(), middle  # 1.35 of a normal; 4e-5 and 0.02 by the standard deviation
    torch.testing.assert_close(columns.decode(z), values)
    torch.testing.assert_close(z[:, 2], (values[:, 2] - values[:, 2].mean()) / values[:, 2].std(correction=0))
    assert columns.decode(1e9 * z).isfinite().all()


def test_the_gain_of_a_heavy_tail_is_the_derivative():
    values = heavy().requires_grad_()
    columns = Columns.learn(("a", "b", "c"), (Real(),) * 3, values.detach(), torch.zeros_like(values))
    z, gain = columns.encode(values, torch.zeros_like(values))
    (slope,) = torch.autograd.grad(z.sum(), values)
    torch.testing.assert_close(gain, slope.log())


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Positive(), [1.0, -2.0], r"column 'a' in the support of Positive\(low=0.0\); got 1 outside it, -2 first"),
        (Integer(), [1.0, 2.5], r"got 1 outside it, 2.5 first"),
        (Real(), [2.0, 2.0], r"got 2 alone. A constant has no density"),
        (Real(), [math.nan, math.nan], r"got none in 'a'"),
    ],
)
def test_bad_columns_are_named(kind, values, message):
    with pytest.raises(ConfigError, match=message):
        Columns.learn(("a",), (kind,), table(values), torch.full((2, 1), 0.5).double())


@pytest.mark.parametrize(
    "make",
    [lambda: Bounded(1, 1), lambda: Circular(0), lambda: Integer(None, 3), lambda: Integer(3, 1),
     lambda: Categorical(("a", "a"))],
)  # fmt: skip
def test_impossible_columns_are_refused(make):
    with pytest.raises(ConfigError, match="Expected"):
        make()
