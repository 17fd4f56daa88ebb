"""`benchmarks/likelihoods.py`, small: every flow of ours gives a density, and what is known is not run again."""

import importlib
import math
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("likelihoods")


@pytest.fixture
def rows(bench):
    """Correlated normal rows, so that the best log-density is known."""
    x = torch.randn(600, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).cumsum(1)
    return bench.Rows.made("normal", (x[:400], x[400:500], x[500:]), torch.zeros(3).double(), lambda v: v)


def test_likelihoods_near_the_known_one(bench, rows):
    """In standardised numbers a normal has -n/2 log(2 pi e) - log det(correlation)/2."""
    correlation = torch.corrcoef(((rows.train - rows.mean) / rows.std).T)
    best = -1.5 * math.log(2 * math.pi * math.e) - 0.5 * correlation.logdet().item()
    row = bench.flow("pushforward", "maf", rows, 0, bench.Budget(80))
    assert row["test"] == pytest.approx(best, abs=0.4)
    assert best - 1 < bench.kernel(rows)["test"] < best + 0.3
    assert row["error"] < 0.3


def test_every_flow_of_ours_has_a_finite_figure(bench, rows):
    for name in bench.TABLES:
        assert math.isfinite(bench.flow("pushforward", name, rows, 0, bench.Budget(3))["test"]), name


def test_averages_are_those_of_training(bench):
    """d_s as in `training.average`, and the weights themselves are put back."""
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(0.0)
    mean = bench.Average(layer, 0.5)
    for step, value in enumerate((1.0, 2.0, 3.0)):
        layer.weight.data.fill_(value)
        mean.follow(step)
    wanted = 0.0
    for step, value in enumerate((1.0, 2.0, 3.0)):
        kept = min(0.5, (step + 1) / (step + 10))
        wanted = kept * wanted + (1 - kept) * value
    with mean.put():
        assert layer.weight.item() == pytest.approx(wanted)
    assert layer.weight.item() == 3.0
    none = bench.Average(layer, 0.0)
    none.follow(0)
    with none.put():
        assert layer.weight.item() == 3.0


def test_images_are_rows_of_square_numbers(bench, rows):
    """Each pixel a number of its own: the same rows as images of 4 x 4 have the density of the flow of images."""
    flow, log_prob = bench.flows_of.of("pushforward")("glow", 16)
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_prob(x), flow.log_prob(x.reshape(5, 1, 4, 4)))
    assert bench.flow("pushforward", "glow", rows, 0, bench.Budget(10)) is None


def test_known_figures_are_not_made_again(bench, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "digits", lambda: rows)
    monkeypatch.setattr(bench.flows_of, "LIBRARIES", ("pushforward",))
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


def test_a_row_without_a_density_is_told(bench):
    assert bench.spread([1.0, 2.0]) == "1.50 ± 0.71"
    assert bench.spread([1.0, math.nan, -math.inf]) == "-inf in 2 of 3"
