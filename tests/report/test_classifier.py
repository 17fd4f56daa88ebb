import pytest
import torch

from pushforward._errors import DataError
from pushforward._random import Draw
from pushforward.report import frechet_distance, judge, random_judge, train_judge
from report.standin import gaussian_data, images_data


def test_it_learns_two_plain_classes_and_says_so():
    data = images_data()
    trained = train_judge(data, steps=60, batch=40)
    held = data.held_out_batch(Draw(0))
    assert trained.accuracy == 1.0
    assert (trained.predict(held.x) == held.context).all()
    assert "100.0% of the held-out" in trained.statement


def test_the_seed_decides_and_torch_state_is_left_alone():
    data = images_data()
    x = data.held_out_batch(Draw(0)).x
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train_judge(data, seed=4, steps=5).features(x)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(train_judge(data, seed=4, steps=5).features(x), first)
    assert not torch.allclose(train_judge(data, seed=5, steps=5).features(x), first)


def test_without_labels_a_fixed_projection_that_tells_distributions_apart():
    data = gaussian_data(600, (5,))
    chosen = judge(data)
    assert chosen.accuracy is None
    assert "no labels" in chosen.statement
    same, other = Draw(1).normal(300, (5,)) * 0.5, Draw(2).normal(300, (5,))
    here = chosen.features(data.values[:300])
    assert (
        frechet_distance(chosen.features(other), here).value > 5 * frechet_distance(chosen.features(same), here).value
    )
    assert torch.equal(random_judge((5,)).features(same), chosen.features(same))
    with pytest.raises(DataError, match="labels"):
        chosen.predict(same)
    with pytest.raises(DataError, match="random_judge"):
        train_judge(data)
