"""The recipes for few-step models, each a row of two tables: a rule, the jumps it is asked for, and how errors count.

    recipe                   rule                                    intervals   p     needs
    mean_flow                Eulerian                                Between     1     -
    eulerian                 Eulerian                                Between     0     teacher
    lagrangian               Lagrangian                              Between     0     -
    shortcut                 Composition(1/2, student, student)      Halving     0     -
    progressive              Composition(1/2, teacher, teacher)      Stops       0     teacher, the stage before
    consistency              Composition(shrinking, line, student)   ToData      1/2   -
    continuous_consistency   Eulerian, damped                        ToData      1/2   -
    consistency_trajectory   Composition(any, teacher, student)      Between     0     teacher
    direct                   Composition(1, teacher)                 Between     0     teacher

Those that need no teacher take one. What is left out of the papers: perceptual distances, adversarial losses, and
targets from averaged weights (all of these take the student's own, as the later papers do). `flow_map_rules` has the
maths, and `DistributionMatching` the one recipe that is no regression. Every entry is an ordinary value: `replace` what
you like.

References: those of `flow_map_rules`; Lu and Song 2024 (arXiv 2410.11081) for continuous_consistency.
"""

from pushforward.models.diffusion import Diffusion
from pushforward.models.flow_map import FlowMap
from pushforward.objectives.flow_map_matching import FlowMapMatching
from pushforward.objectives.flow_map_rules import Composition, Eulerian, Lagrangian, Shrinking
from pushforward.objectives.intervals import Between, Halving, Stops, ToData
from pushforward.paths import LogitNormal, LogNormal, TimeDistribution

Teacher = Diffusion | FlowMap


def mean_flow(
    teacher: Teacher | None = None, diagonal: float = 0.75, times: TimeDistribution | None = None
) -> FlowMapMatching:
    """MeanFlow (Geng et al. 2025): the derivative along the trajectory, three quarters of the batch on the diagonal.

    Args:
        teacher: whose velocity to take; the pair's if None.
        diagonal: the share of samples with s = t.
        times: what t and s are drawn from; the authors' LogitNormal(-0.4, 1) if None. It hardly ever asks for the jump
            from 1 to 0: with few updates take `Uniform()` and a smaller diagonal.
    """
    return FlowMapMatching(Eulerian(), Between(times or LogitNormal(-0.4, 1.0), diagonal), teacher, power=1.0)


def eulerian(teacher: Teacher) -> FlowMapMatching:
    """Eulerian map distillation (Boffi et al. 2024)."""
    return FlowMapMatching(Eulerian(), Between(diagonal=0.25), teacher)


def lagrangian(teacher: Teacher | None = None) -> FlowMapMatching:
    """Lagrangian map distillation (Boffi et al. 2024), or self-distillation (2025) without a teacher."""
    return FlowMapMatching(Lagrangian(), Between(diagonal=0.5 if teacher is None else 0.25), teacher)


def shortcut(teacher: Teacher | None = None, levels: int = 7) -> FlowMapMatching:
    """Shortcut models (Frans et al. 2024): one jump is two of half its length."""
    return FlowMapMatching(Composition(0.5), Halving(levels), teacher)


def progressive(teacher: Teacher, steps: int) -> FlowMapMatching:
    """One stage of progressive distillation (Salimans and Ho 2022): `steps` jumps for twice as many of the teacher's.

    Args:
        teacher: the student of the stage before, or a `Diffusion` at the first.
        steps: of the student; halve them from stage to stage.
    """
    return FlowMapMatching(Composition(0.5, "teacher", "teacher"), Stops(steps), teacher)


def consistency(teacher: Teacher | None = None, every: int = 250) -> FlowMapMatching:
    """Consistency training, or with a teacher distillation (Song et al. 2023), by the schedule of Geng et al. 2024.

    What it trains knows jumps to data alone: more than one need fresh noise between, `FlowMap.of(teacher,
    solver=Jumps(renoise=1.0))`. So too for `continuous_consistency`.

    Args:
        teacher: whose solution to follow; the pair's own line if None.
        every: training steps in a stage: an eighth of all is usual.
    """
    first = "line" if teacher is None else "teacher"
    return FlowMapMatching(Composition(Shrinking(every), first), ToData(LogNormal(-0.8, 1.6)), teacher, power=0.5)


def continuous_consistency(teacher: Teacher | None = None, warmup: int = 0) -> FlowMapMatching:
    """Consistency in continuous time with the stabilisation of Lu and Song 2024 (sCM).

    On the straight path cos(t) of their clock is (1 - t) up to a bounded factor, the normalised tangent is p = 1/2, and
    the warm-up is `Eulerian`'s. Their network is `FlowMap.of` a model that predicts v on the cosine path.
    """
    starts = ToData(LogNormal(-1.0, 1.4), diagonal=0.25)
    return FlowMapMatching(Eulerian(warmup=warmup), starts, teacher, power=0.5, c=1e-2, damping=1.0)


def consistency_trajectory(teacher: Teacher, steps: int = 2) -> FlowMapMatching:
    """Consistency trajectory models (Kim et al. 2023): the teacher walks any part of the way, the student the rest."""
    return FlowMapMatching(Composition(None, "teacher", steps=steps), Between(diagonal=0.25), teacher)


def direct(teacher: Teacher, steps: int = 4) -> FlowMapMatching:
    """The teacher walks all the way, in `steps` steps of Heun's method: no error is fed back, and none is saved."""
    return FlowMapMatching(Composition(1.0, "teacher", steps=steps), Between(diagonal=0.25), teacher)
