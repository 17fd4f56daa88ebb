"""`benchmarks/few_steps.py`, small: students sampled as they were trained, teachers of their own, cells done again."""

import importlib.util
import sys
from pathlib import Path

import pytest

import pushforward as pf
from pushforward.solvers import Jumps
from pushforward.training import read_run

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "few_steps.py"


@pytest.fixture
def bench(monkeypatch):
    spec = importlib.util.spec_from_file_location("few_steps_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def studio(bench, tmp_path):
    budget = bench.Budget(teacher_steps=1, steps=8, batch=8, samples=60, pairs=16)
    return bench.Studio(tmp_path, 0, budget, pf.data.digits())


def test_who_learns_jumps_to_data_alone_is_sampled_with_fresh_noise(bench, studio):
    teacher = studio.untrained()
    for name, fresh in (("consistency", 1.0), ("continuous", 1.0), ("shortcut", 0.0)):
        model = bench.RECIPES[name](studio, teacher)[2]
        assert model.solver == Jumps(renoise=fresh)
        assert read_run(studio.folder / name).model.renoise == fresh


def test_slow_times_have_a_teacher_of_their_own(bench, studio):
    slow = bench.replace(studio, slow=True)
    assert (studio.teacher().net.condition.time.fastest, slow.teacher().net.condition.time.fastest) == (64, 2)
    assert {each.name for each in studio.folder.iterdir()} == {"teacher", "teacher-slow"}


def test_pairs_are_learned_in_several_jumps(bench, studio):
    made = bench.RECIPES["pairs, 4 jumps"](studio, studio.untrained())
    assert list(made) == [4]
    assert "Stops(steps=4)" in read_run(studio.folder / "pairs-4").objective


def test_dropped_cells_are_done_again(bench, studio, tmp_path):
    cells = bench.Cells(tmp_path / "cells.json", studio.budget)
    for recipe in ("consistency", "shortcut"):
        for seed in (0, 1):
            cells.add(bench.Cell(recipe, seed, 1.0, {"2": (0.1, 1.0)}))
    assert cells.drop(["consistency"], [1, 2]) == 1
    again = bench.Cells(tmp_path / "cells.json", studio.budget)
    assert [again.have(name, seed) for name in ("consistency", "shortcut") for seed in (0, 1)] == [
        True,
        False,
        True,
        True,
    ]
