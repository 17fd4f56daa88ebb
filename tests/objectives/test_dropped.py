"""Contexts that are dropped: how many, which, and what both together teach."""

from dataclasses import replace

import pytest
import torch

from pushforward import nets
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion, guided
from pushforward.objectives import Dropped, Objective, Regression

DRAW = Draw(0, "train", 7)


class Context(Objective):
    """The contexts that come through, as losses."""

    def __call__(self, model, batch, draw):
        return batch.context.double().reshape(len(batch), -1).sum(1)


def dropped(context, draw=DRAW, **words):
    return Dropped(Context(), **words)(None, Batch(torch.zeros(len(context), 1), context), draw)


def test_a_share_of_the_contexts_says_nothing_and_each_is_a_function_of_its_sample():
    context = torch.arange(5000) % 3
    found = dropped(context, nothing=3, share=0.2)
    lost = found == 3
    assert lost.double().mean().item() == pytest.approx(0.2, abs=0.02)
    assert torch.equal(found[~lost], context[~lost].double())
    assert torch.equal(dropped(context[40:90], replace(DRAW, first=40), nothing=3, share=0.2), found[40:90])
    assert not torch.equal(dropped(context, DRAW.at(8), nothing=3, share=0.2) == 3, lost)
    assert torch.equal(dropped(context, nothing=3, share=0.0), context.double())
    vectors = dropped(torch.ones(500, 2), nothing=(0.0, 0.0), share=0.5)
    assert set(vectors.tolist()) == {0.0, 2.0}


def test_one_network_learns_both_and_guidance_goes_beyond_the_class():
    """Classes at -1 and 1: without a class the network says their mean, and guided it says 2 for the class at 1."""
    torch.manual_seed(0)
    net = nets.MLP((1,), hidden=16, layers=1, classes=2)
    model, objective = Diffusion(net), Dropped(Regression(), nothing=2, share=0.3)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-2)
    for step in range(150):
        label = Draw(0, "label", step).integers(256, 2)
        optimizer.zero_grad()
        objective(model, Batch(2.0 * label[:, None] - 1, label), Draw(0, "train", step)).mean().backward()
        optimizer.step()
    x, t = torch.zeros(1, 1), torch.ones(1)
    with torch.no_grad():
        means = [each.denoiser(x, t, label).item() for each, label in (
            (model, torch.tensor([1])), (model, torch.tensor([2])), (guided(model, 2.0), torch.tensor([1]))
        )]  # fmt: skip
    assert means == pytest.approx([1.0, 0.0, 2.0], abs=0.2)


def test_mistakes():
    with pytest.raises(ValueError, match="a share from 0 to 1"):
        Dropped(Context(), 3, 1.5)
    with pytest.raises(ValueError, match="a context to drop"):
        Dropped(Regression(), 3)(Diffusion(nets.MLP((1,))), Batch(torch.zeros(2, 1)), DRAW)
