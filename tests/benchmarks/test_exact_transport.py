"""`benchmarks/exact_transport.py`: few arcs and a proof find what all of them do."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "exact_transport.py"


@pytest.mark.parametrize("near", [2, 16])
def test_it_is_the_least_cost_of_any_pairing(near: int):
    """Random points, whose part is unlike the whole, so that arcs are missing at first."""
    pytest.importorskip("ot", reason="the network simplex is that of POT")
    optimize = pytest.importorskip("scipy.optimize")
    spec = importlib.util.spec_from_file_location("exact_transport", FILE)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    for seed in range(3):
        draw = np.random.default_rng(seed)
        x, y = draw.normal(size=(400, 2)), 3 + draw.normal(size=(400, 2)) ** 3
        costs = np.square(x[:, None] - y).sum(-1)
        least = costs[optimize.linear_sum_assignment(costs)].mean()
        np.testing.assert_allclose(bench.squared_w2(x, y, part=50, near=near), least, rtol=1e-9)
