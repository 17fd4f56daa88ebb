"""`benchmarks/likelihoods.py`, small: every flow of ours gives a density, and what is known is not run again."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "likelihoods.py"


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location("likelihoods", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rows(bench):
    """Correlated normal rows, so that the best log-density is known."""
    x = torch.randn(600, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).cumsum(1)
    return bench.Rows.made("normal", (x[:400], x[400:500], x[500:]), torch.zeros(3).double(), lambda v: v)


def test_likelihoods_near_the_known_one(bench, rows):
    """In standardised numbers a normal has -n/2 log(2 pi e) - log det(correlation)/2."""
    correlation = torch.corrcoef(((rows.train - rows.mean) / rows.std).T)
    best = -1.5 * math.log(2 * math.pi * math.e) - 0.5 * correlation.logdet().item()
    row = bench.flow(bench.pushforward, "maf", rows, 0, 80)
    assert row["test"] == pytest.approx(best, abs=0.4)
    assert best - 1 < bench.kernel(rows)["test"] < best + 0.3
    assert row["error"] < 0.3


@pytest.mark.parametrize("name", ["nice", "real_nvp", "nsf", "nsf_autoregressive", "sos", "naf", "bnaf"])
def test_every_flow_of_ours_has_a_finite_figure(bench, rows, name):
    assert math.isfinite(bench.flow(bench.pushforward, name, rows, 0, 10)["test"])


def test_known_figures_are_not_made_again(bench, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "digits", lambda: rows)
    monkeypatch.setattr(bench, "LIBRARIES", (bench.pushforward,))
    options = bench.parser().parse_args(
        [f"--json={tmp_path / 'known.json'}", "--steps=3", "--seeds=1", "--flows", "nice", "maf"]
    )
    bench.main(options)
    first = capsys.readouterr().out
    assert "normal/maf/pushforward/0" in first
    monkeypatch.setattr(bench, "trained", None)
    bench.main(options)
    again = capsys.readouterr().out
    assert "normal/maf" not in again
    assert again == first[first.index("**normal**") :]
