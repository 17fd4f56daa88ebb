"""The yardstick of `benchmarks/solvers.py`: the perfect denoiser, the exact flow, known errors of other libraries."""

import importlib.util
import math
import types
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

pytest.importorskip("scipy", reason="the exact flow is integrated by scipy")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from peers import installed, peer, problem

    return types.SimpleNamespace(installed=installed, peer=peer, problem=problem)


def gaussian(peers: types.SimpleNamespace):
    return peers.problem.Mixture("Gaussian", torch.zeros(1, 1, dtype=torch.float64), 0.5)


@pytest.mark.parametrize("name", ["VE", "VP", "linear"])
def test_the_truth_is_the_closed_form_of_a_gaussian(peers: types.SimpleNamespace, name: str) -> None:
    curve = peers.problem.CURVES[name]
    eps = torch.tensor([[-1.5], [0.3], [2.0]], dtype=torch.float64)
    exact = eps * (0.5 if math.isinf(curve.first) else 0.5 * curve.first / math.hypot(0.5, curve.first))
    assert_close(peers.problem.truth(gaussian(peers), curve, eps), exact, rtol=1e-7, atol=0)


@pytest.mark.parametrize("std", [0.1, 0.0])
@pytest.mark.parametrize("s", [0.05, 0.7, 30.0])
def test_the_denoiser_is_tweedies_formula(peers: types.SimpleNamespace, std: float, s: float) -> None:
    ring = peers.problem.ring(std=std)
    y = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * max(s, 1)
    y.requires_grad_()
    log_p = torch.logsumexp(torch.cdist(y, ring.centres).square() / (-2 * (std**2 + s**2)), 1)
    (score,) = torch.autograd.grad(log_p.sum(), y)
    assert_close(ring(y, s), y + s**2 * score, rtol=1e-9, atol=1e-9)


EDM = {
    "euler, karras": (-5.327330e-01, -2.695596e-01, -1.539206e-01),
    "heun, karras": (1.515822e00, 2.196198e-01, 5.526988e-02),
    "dpmpp_2m, karras": (-1.346790e-01, 1.587959e-01, 6.230090e-02),
}
"""Relative errors after 5, 10 and 18 steps from 80 to 0 on data of std 0.5, to be told by whoever implements them."""
TWINS = {
    "k_diffusion": {name: name for name in EDM},
    "diffusers": {"EDM Euler, karras": "euler, karras", "EDM DPM++ 2M, karras": "dpmpp_2m, karras"},
}


@pytest.mark.parametrize("library", TWINS)
def test_other_libraries_have_their_known_errors(peers: types.SimpleNamespace, library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    rows = {row.name: row for row in peers.installed(peers.problem.VE) if row.library == library}
    eps, exact = torch.ones(1, 1, dtype=torch.float64), 80 * 0.006249877933263662
    for name, twin in TWINS[library].items():
        errors = [rows[name].run(gaussian(peers), eps, steps).item() / exact - 1 for steps in (5, 10, 18)]
        assert errors == pytest.approx(EDM[twin], abs=2e-6)


def test_calls_stay_within_the_budget(peers: types.SimpleNamespace) -> None:
    def heun(denoiser, eps: torch.Tensor, steps: int) -> torch.Tensor:
        if steps < 2:
            raise ValueError("too few")
        for _ in range(2 * steps - 1):
            eps = denoiser(eps, 1.0)
        return eps

    row = peers.peer.Peer("none", "Heun", heun)
    found = {budget: peers.peer.within(row, torch.ones(2, 1), budget) for budget in (1, 2, 3, 4, 9, 10, 50)}
    assert found == {1: None, 2: None, 3: 2, 4: 2, 9: 5, 10: 5, 50: 25}
