"""The grid of a peer at which most of its conversions at the ends are silently NaN: ours are right or refused.

flow_matching converts between data, noise and velocity on its CondOT, VP and cosine schedulers. Of the 36 cells
(3 paths, 6 conversions, 2 ends) ten are NaN there, one is infinite, and two are wrong as cos(pi / 2) is not 0.
"""

import itertools

import pytest
import torch

from gaussian import gaussian_model
from pushforward import paths
from pushforward._errors import ConversionError

PATHS = {"CondOT": paths.Linear(), "VP": paths.VP(), "Cosine": paths.Cosine()}
PREDICTIONS = {"target": paths.x0, "epsilon": paths.eps, "velocity": paths.velocity}
CELLS = [
    (path, end, *pair) for path in PATHS for end in (0.0, 1.0) for pair in itertools.permutations(PREDICTIONS, 2)
]  # fmt: skip
UNDETERMINED = {
    ("CondOT", 0.0, "target", "epsilon"), ("CondOT", 0.0, "target", "velocity"),
    ("CondOT", 1.0, "epsilon", "target"), ("CondOT", 1.0, "epsilon", "velocity"),
    ("VP", 0.0, "target", "epsilon"), ("VP", 0.0, "target", "velocity"),
    ("VP", 0.0, "epsilon", "velocity"), ("VP", 0.0, "velocity", "epsilon"),
    ("Cosine", 0.0, "target", "epsilon"), ("Cosine", 0.0, "target", "velocity"),
    ("Cosine", 1.0, "epsilon", "target"), ("Cosine", 1.0, "epsilon", "velocity"),
}  # fmt: skip
"""Where x_t and the output are the same equation, or (VP at the data) the velocity is infinite."""

X0, EPS = torch.tensor([[0.7, 0.1]], dtype=torch.float64), torch.tensor([[-1.2, 0.4]], dtype=torch.float64)


def ends(path, t, source, target):
    """x_t, the source's output and the true target."""
    end = torch.tensor([t], dtype=torch.float64)
    x_t, c = PATHS[path].mix(X0, EPS, end), PATHS[path].coefficients(end)
    outputs = []
    for name in (source, target):
        row = PREDICTIONS[name].row(c)
        outputs.append(row.target(X0, EPS) / row.scale if row.scale.item() else X0 / 0)
    return end, x_t, *outputs


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_cell_is_right_or_refused(cell):
    path, _, source, target = cell
    end, x_t, m, truth = ends(*cell)
    ours = PREDICTIONS[source], PREDICTIONS[target]
    if cell in UNDETERMINED:
        with pytest.raises(ConversionError, match="Keep away from that end"):
            paths.convert(m, x_t, end, PATHS[path], *ours)
    else:
        torch.testing.assert_close(paths.convert(m, x_t, end, PATHS[path], *ours), truth, rtol=1e-12, atol=1e-12)


def test_parity_with_flow_matching_where_it_is_finite_and_right():
    """Data are at t = 1 there, so its time runs the other way and its velocity has the other sign."""
    affine = pytest.importorskip("flow_matching.path", reason="flow_matching is not installed")
    schedulers = pytest.importorskip("flow_matching.path.scheduler", reason="flow_matching is not installed")
    theirs = {name: affine.AffineProbPath(getattr(schedulers, f"{name}Scheduler")()) for name in PATHS}
    sign = {"target": 1, "epsilon": 1, "velocity": -1}
    silent = []
    inner = [(path, 0.4, *pair) for path in PATHS for pair in itertools.permutations(PREDICTIONS, 2)]
    for cell in CELLS + inner:
        path, t, source, target = cell
        end, x_t, m, truth = ends(*cell)
        result = getattr(theirs[path], f"{source}_to_{target}")(sign[source] * m, x_t, 1 - end) * sign[target]
        if t == 0.4:
            ours = paths.convert(m, x_t, end, PATHS[path], PREDICTIONS[source], PREDICTIONS[target])
            torch.testing.assert_close(result, ours, rtol=1e-9, atol=1e-9)
        elif result.isnan().any():
            silent.append(cell)
        elif cell not in UNDETERMINED:
            torch.testing.assert_close(result, truth, rtol=1e-9, atol=1e-9)
    assert len(silent) == 10


@pytest.mark.parametrize("path", [*PATHS.values(), paths.SubVP(), paths.EDM(), paths.Discrete.scheduled()], ids=str)
@pytest.mark.parametrize("there", [paths.Linear(), paths.Cosine(), paths.VP()], ids=str)
def test_a_change_of_path_is_finite_at_both_ends(path, there):
    """flow_matching's change of a trained CondOT model to VP is NaN at one end. Ours carries samples across."""
    moved = gaussian_model(path, paths.velocity).on(there)
    x = torch.tensor([[0.4, -1.1]], dtype=torch.float64)
    for t in moved.span:
        assert moved.velocity(x, torch.tensor([t], dtype=torch.float64)).isfinite().all()
