"""The gap to the optimum: none for the optimum, and a model of the data is told from one of its training set."""

from dataclasses import replace

import pytest
import torch

from pushforward import models, paths
from pushforward._random import Draw
from pushforward.report.optimum import LARGEST, gap_plot, has_optimum, optimality_gap
from report.standin import gaussian_data, gaussian_model, images_data


def test_the_optimum_itself_has_no_gap_and_remembers():
    data = gaussian_data(60, (12,))
    for path in (paths.Linear(), paths.EDM()):
        gap = optimality_gap(models.empirical(data.values, path), data)
        assert max(gap.gap) < 1e-4
        assert gap.nearest == gap.nearest_optimal
        assert gap.nearest[0] < 0.05 * gap.held_out


def test_the_distribution_is_told_from_its_training_set():
    """In many dimensions the truth answers where held-out events are, the optimum of 60 events on those."""
    data, true = gaussian_data(60, (12,)), gaussian_model((12,))
    gap = optimality_gap(true, data)
    assert gap.nearest[0] / gap.held_out == pytest.approx(1, abs=0.05)
    assert gap.nearest_optimal[0] < 0.05 * gap.held_out
    assert gap.gap[0] < 0.3 < max(gap.gap)
    assert optimality_gap(true, gaussian_data(6000, (12,))).gap[-1] < gap.gap[-1]  # more events, nearer to the truth


def test_classes_and_levels_reach_the_optimum():
    data = images_data()
    batch = data.train_batch(Draw(0))
    given = models.empirical(batch.x, labels=batch.context)
    assert max(optimality_gap(given, data, conditional=True).gap) < max(optimality_gap(given, data).gap) + 0.1
    middles = data.scaling.to_model(data.values, torch.full(data.values.shape, 0.5))
    exact = models.empirical(middles, labels=data.context, std=2 / 17 / 12**0.5)
    assert max(optimality_gap(exact, data, conditional=True).gap) < 1e-3


def test_equal_arguments_give_equal_gaps_and_the_picture_shows_them():
    data, model = gaussian_data(50), gaussian_model()
    gap = optimality_gap(model, data, times=5, n=20)
    assert gap == optimality_gap(model, data, times=5, n=20)
    left, right = gap_plot(gap).axes
    assert left.lines[0].get_ydata().tolist() == list(gap.gap)
    assert [line.get_label() for line in right.lines] == ["held-out events", "network's answers", "optimum's answers"]


def test_what_has_no_optimum_is_refused_or_left_out():
    data = gaussian_data(50)
    vectors = replace(data, context=data.values, held_out_context=data.held_out)
    assert has_optimum(data)
    assert not has_optimum(vectors, conditional=True)
    assert not has_optimum(replace(data, values=torch.empty(LARGEST // 2 + 1, 2, device="meta")))
    with pytest.raises(ValueError, match="classes as context"):
        optimality_gap(gaussian_model(), vectors, conditional=True)
    with pytest.raises(ValueError, match="two times or more"):
        optimality_gap(gaussian_model(), data, times=1)
