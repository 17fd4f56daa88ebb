"""Report: how good a model is, in numbers and on one HTML page.

`write` judges a model and writes the page; `build` gives the page as a value. The numbers: `energy_distance`, `mmd`,
`frechet_distance` between sets of samples, `bits_per_dim` of held-out data (`bits` has all their errors, as `Bits`, and
`Nats` in every unit), `straightness` of a model's paths (`on_lines`, to compare models of several), `coupling_cost` of
its pairs beside the optimum, `stages` of reflow and several models `side_by_side`, all `Estimate`s with their errors,
and `optimality_gap`, a network beside the optimum of its training set. A `trial` of a position encoding is a language
model that learns a `Course` (`reading`, `solving`), judged beyond its length. The features: `judge`. The pictures:
`plots`. The bricks of pages: `Page`, `Section`, `Text`, `Code`, `Table`, `Facts`, `Figure` and `picture`. May import
`training` and every shelf below.
"""

from pushforward.report import plots
from pushforward.report.bits import Bits, bits, bits_per_dim
from pushforward.report.classifier import Judge, judge, random_judge, train_judge
from pushforward.report.coupling_cost import CouplingCost, coupling_cost
from pushforward.report.courses import Course, Trial, reading, solving, trial
from pushforward.report.distances import energy_distance, frechet_distance, median_bandwidths, mmd, nearest_distances
from pushforward.report.estimate import Estimate
from pushforward.report.nats import Nats
from pushforward.report.optimum import Gap, gap_plot, optimality_gap
from pushforward.report.page import Code, Facts, Figure, Page, Picture, Section, Table, Text, picture
from pushforward.report.side_by_side import SideBySide, side_by_side
from pushforward.report.stages import Stage, Stages, stages
from pushforward.report.straightness import Straightness, on_lines, straightness
from pushforward.report.write import build, write

__all__ = [
    "Bits", "Code", "CouplingCost", "Course", "Estimate", "Facts", "Figure", "Gap", "Judge", "Nats", "Page", "Picture",
    "Section", "SideBySide", "Stage", "Stages", "Straightness", "Table", "Text", "Trial", "bits", "bits_per_dim",
    "build", "coupling_cost", "energy_distance", "frechet_distance", "gap_plot", "judge", "median_bandwidths", "mmd",
    "nearest_distances", "on_lines", "optimality_gap", "picture", "plots", "random_judge", "reading", "side_by_side",
    "solving", "stages", "straightness", "train_judge", "trial", "write",
]  # fmt: skip
