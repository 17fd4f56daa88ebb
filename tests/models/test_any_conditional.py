import math

import pytest
import torch

from pushforward._errors import ShapeError
from pushforward._random import Draw
from pushforward.models import AnyConditional
from pushforward.transforms import Affine


@pytest.fixture(params=["spline", "affine"])
def model(request):
    """Far from its start, where it is the identity whatever is asked."""
    torch.manual_seed(0)
    made = AnyConditional(3, 3, 16, monotone=Affine() if request.param == "affine" else None).double()
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made


def masks(n, asked, known):
    return (torch.tensor([[i in part for i in range(3)]]).expand(n, 3) for part in (asked, known))


@pytest.mark.parametrize(("asked", "known"), [([1], [0]), ([1], []), ([2], [0, 1]), ([0], [])])
def test_every_conditional_of_one_number_integrates_to_one(model, asked, known):
    grid = torch.linspace(-15, 15, 20_001, dtype=torch.float64)
    x = torch.full((len(grid), 3), 0.7, dtype=torch.float64)
    x[:, asked[0]] = grid
    density = model.log_prob(x, *masks(len(grid), asked, known)).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=1e-4)


def test_a_conditional_of_two_numbers_integrates_to_one(model):
    grid = torch.linspace(-12, 12, 241, dtype=torch.float64)
    pairs = torch.cartesian_prod(grid, grid)
    x = torch.stack([pairs[:, 0], torch.full_like(pairs[:, 0], -0.4), pairs[:, 1]], 1)
    total = model.log_prob(x, *masks(len(x), [0, 2], [1])).exp().sum() * (24 / 240) ** 2
    assert total.item() == pytest.approx(1, abs=5e-3)


def test_what_is_neither_asked_nor_known_is_seen_by_nobody(model):
    asked, known = masks(4, [1], [0])
    x = Draw(0, "x").normal(4, (3,), torch.float64)
    other = x.clone()
    other[:, 2] = math.nan
    assert (model.log_prob(x, asked, known) == model.log_prob(other, asked, known)).all()
    drawn = model.sample(other, asked, known, Draw(1))
    assert (drawn[:, 1] == model.sample(x, asked, known, Draw(1))[:, 1]).all()
    changed = x + torch.tensor([1.0, 0.0, 0.0])
    assert (model.log_prob(x, asked, known) != model.log_prob(changed, asked, known)).all()


def test_nothing_asked_is_certain(model):
    asked, known = masks(2, [], [0])
    torch.testing.assert_close(model.log_prob(torch.ones(2, 3).double(), asked, known), torch.zeros(2).double())


def test_samples_are_those_of_the_density(model):
    """Of one number given another: the share below each decile of the density's own grid."""
    n = 4_000
    x = torch.full((n, 3), 0.7, dtype=torch.float64)
    drawn = model.sample(x, *masks(n, [2], [0]), Draw(0, "sample"))
    assert (drawn[:, :2] == 0.7).all()
    grid = torch.linspace(-15, 15, 20_001, dtype=torch.float64)
    at = torch.full((len(grid), 3), 0.7, dtype=torch.float64)
    at[:, 2] = grid
    cdf = torch.cumulative_trapezoid(model.log_prob(at, *masks(len(grid), [2], [0])).exp().detach(), grid)
    uniform = cdf[torch.searchsorted(grid, drawn[:, 2].contiguous()).clamp(1, len(cdf)) - 1].sort().values
    gap = (uniform - (torch.arange(n) + 0.5) / n).abs().max().item()
    assert gap < 1.95 / math.sqrt(n)  # Kolmogorov's bound at one in a thousand


def test_masks_that_overlap_are_refused(model):
    with pytest.raises(ShapeError, match="no number may be both"):
        model.log_prob(torch.zeros(1, 3).double(), *masks(1, [0], [0]))
