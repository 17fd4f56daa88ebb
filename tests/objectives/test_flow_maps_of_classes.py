"""Flow maps of classes: labels reach student and teacher, and a guided teacher's guidance is what the student learns.

Class c is N(m_c, s**2), and everything together is taken for N(m, s**2), of the same s. Then velocities are affine with
a common slope, and classifier-free guidance is exact: the guided model of class c is N(m + scale (m_c - m), s**2).
"""

from dataclasses import replace

import pytest
import torch

from gaussian import ExactMap
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion, FlowMap, guided
from pushforward.objectives import (
    Composition,
    DistributionMatching,
    FlowMapMatching,
    Online,
    Pairs,
    Stops,
    few_steps,
    pairs,
)
from pushforward.solvers import RK4

MEANS, ALL, STD, SCALE = (0.3, -0.6), 0.1, 0.5, 2.5
GUIDED = tuple(ALL + SCALE * (mean - ALL) for mean in MEANS)
LABELS = torch.arange(8) % 2


class ClassMap(torch.nn.Module):
    """The exact maps of some normals, of which the context picks one."""

    shape = (1,)

    def __init__(self, means):
        super().__init__()
        self.maps = torch.nn.ModuleList(ExactMap(mean, STD) for mean in means)

    def forward(self, x, t, context, leap=None):
        each = torch.stack([one(x, t, None, leap) for one in self.maps])
        return each[context.to(torch.int64), torch.arange(len(x))]

    def slope(self):
        return torch.stack([one.offsets.grad for one in self.maps])


PLAIN = Diffusion(ClassMap((*MEANS, ALL)))
TEACHERS = {"of classes": (PLAIN, MEANS), "guided": (guided(PLAIN, SCALE, unconditional=2), GUIDED)}


def batch_of(means):
    """The moments of each class in four pairs."""
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64).repeat(2, 1)
    label = torch.arange(8) // 4
    return Batch(torch.tensor(means, dtype=torch.float64)[label, None] + STD * signs[:, :1], label, signs[:, 1:])


def slope_of(objective, means, batch=None, critic=None):
    """The gradient of each class at the exact map of these means, over a few steps' times."""
    net = ClassMap(means)
    model = FlowMap(net, critic=critic)
    given = batch_of(means) if batch is None else batch
    sum(objective(model, given, Draw(0, "train", step)).mean() for step in (0, 5, 10)).backward()
    return net.slope().abs().max().item()


RECIPES = {
    "mean-flow": few_steps.mean_flow,
    "eulerian": few_steps.eulerian,
    "lagrangian": few_steps.lagrangian,
    "shortcut": few_steps.shortcut,
    "continuous": few_steps.continuous_consistency,
    "consistency": lambda teacher: replace(few_steps.consistency(teacher), rule=Composition(0.5, "teacher", steps=16)),
    "trajectory": lambda teacher: few_steps.consistency_trajectory(teacher, steps=16),
    "direct": lambda teacher: few_steps.direct(teacher, steps=16),
    "progressive": lambda teacher: replace(
        few_steps.progressive(teacher, 2), rule=Composition(0.5, "teacher", "teacher", steps=16)
    ),
}


@pytest.mark.parametrize("kind", TEACHERS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_exact_map_of_each_class_is_the_minimum(recipe, kind):
    """Of the classes' own means or the guided ones, up to the teacher's 16 steps of Heun; and of no other."""
    teacher, means = TEACHERS[kind]
    objective = replace(RECIPES[recipe](teacher), power=0.0, damping=0.0)
    assert slope_of(objective, means) < 5e-3
    assert slope_of(objective, means[::-1]) > 0.1  # with the labels exchanged
    other = TEACHERS["guided" if kind == "of classes" else "of classes"][1]
    assert slope_of(objective, other) > 0.1


@pytest.mark.parametrize("kind", TEACHERS)
def test_scores_are_matched_class_by_class(kind):
    teacher, means = TEACHERS[kind]
    data = Batch(torch.zeros(64, 1, dtype=torch.float64), torch.arange(64) % 2)
    matching, critic = DistributionMatching(teacher), Diffusion(ClassMap(means))
    assert slope_of(matching, means, data, critic) < 1e-10
    assert slope_of(matching, means[::-1], data, Diffusion(ClassMap(means[::-1]))) > 0.1


@pytest.mark.parametrize("kind", TEACHERS)
def test_pairs_are_of_their_class(kind):
    """Stored or made online, the teacher's pairs have no error at the exact map of each class, guided if it is."""
    teacher, means = TEACHERS[kind]
    jump = FlowMapMatching(Composition(1.0, "line"), Stops(1))
    made = pairs(teacher, 8, RK4(steps=16), context=LABELS)
    made = Pairs(made.x.double(), made.eps.double(), made.context)
    ends = torch.tensor(means, dtype=torch.float64)[LABELS, None] + STD * made.eps
    torch.testing.assert_close(made.x, ends, rtol=0, atol=1e-5)
    batch = next(made.batches(8, Draw(0)))
    assert slope_of(jump, means, batch) < 1e-4
    assert slope_of(jump, means[::-1], batch) > 0.1
    online = Online(jump, teacher, RK4(steps=16), real=0.5)
    assert slope_of(online, means, batch_of(means)) < 1e-4
    assert slope_of(online, means[::-1], batch_of(means)) > 0.1
