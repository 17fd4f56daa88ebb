"""Many at once: two runs in one folder, threads that sample one model, too little memory, old formats, old pickles."""

import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

import pushforward as pf
from faults.test_hostile import Attack, listing
from faults.writers import RECIPE, UNITS, numbered
from laws.zoo_recipes import FLOWS
from pushforward import _config
from pushforward._errors import PushforwardError, RunError
from pushforward._recipe import KINDS
from pushforward.cli.runs import Remembered
from pushforward.cli.units import Reading
from pushforward.interop import from_pickle
from pushforward.models import in_chunks
from pushforward.training import load, save_run, train
from pushforward.training import run as run_room
from pushforward.training.build import build, fitting_in
from pushforward.training.checkpoint import newest_checkpoint, read_checkpoint
from pushforward.training.files import read_tensors
from pushforward.training.weights import put_weights

ROOT = Path(__file__).parents[2]

# two runs in one folder

HOLDER = """
import fcntl, os, sys, time
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.truncate(0)
file.write(f"process {os.getpid()} on here\\n")
file.flush()
print("held", flush=True)
time.sleep(60)
"""


def test_a_folder_in_use_says_by_whom_and_can_still_be_read(tmp_path):
    save_run(numbered(1), tmp_path / "run", RECIPE)
    lock = tmp_path / "run/lock"
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=rf"in use by process {child.pid} on here. Wait for it"):
            save_run(numbered(2), tmp_path / "run", RECIPE)
        assert next(load(tmp_path / "run").parameters()).flatten()[0] == 1
    finally:
        child.kill()
        child.communicate()
    assert lock.read_text() == f"process {child.pid} on here\n"
    save_run(numbered(2), tmp_path / "run", RECIPE)  # the dead hold nothing
    assert next(load(tmp_path / "run").parameters()).flatten()[0] == 2
    assert lock.read_text().startswith(f"process {os.getpid()} on ")


def test_a_disk_without_locks_is_warned_of(tmp_path, monkeypatch):
    import fcntl

    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.warns(UserWarning, match="cannot be locked .*No locks available.*one run alone"):
        save_run(numbered(1), tmp_path / "run", RECIPE)
    assert next(load(tmp_path / "run").parameters()).flatten()[0] == 1


# threads


@pytest.mark.parametrize("solver", [pf.solvers.Heun(3), pf.solvers.Ancestral(4)], ids=["deterministic", "noisy"])
def test_eight_threads_sample_one_model_as_one_does(solver):
    """1,000 samples of 50 seeds; the same in a global generator's hands would differ nearly always."""
    torch.manual_seed(0)
    path = pf.paths.Linear() if isinstance(solver, pf.solvers.Heun) else pf.paths.VP()
    model = pf.Diffusion(pf.nets.MLP((3,), hidden=16, layers=1), path).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))

    def drawn(seed: int) -> torch.Tensor:
        return model.sample(20, solver=solver, seed=seed)

    serial = torch.stack([drawn(seed) for seed in range(50)])
    with ThreadPoolExecutor(8) as pool:
        threaded = torch.stack(list(pool.map(drawn, range(50))))
    assert len(serial.flatten(0, 1)) == 1000
    assert serial.std() > 0.1
    assert (serial != threaded).flatten(2).any(2).sum() == 0


# memory


@pytest.mark.parametrize("room", [1, 5, 16, 37, 1000])
def test_samples_do_not_depend_on_how_much_memory_there_is(room):
    model = pf.Diffusion(pf.nets.MLP((2,), hidden=8, layers=1), pf.paths.Linear()).eval()
    seen: list[int] = []

    def draw(count: int, start: int) -> torch.Tensor:
        if count > room:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
        seen.append(count)
        return model.sample(count, solver=pf.solvers.Euler(2), seed=3, first=start)

    whole = model.sample(100, solver=pf.solvers.Euler(2), seed=3, first=7)
    if room >= 64:
        found = torch.cat(list(in_chunks(draw, 100, 64, 7)))
    else:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = torch.cat(list(in_chunks(draw, 100, 64, 7)))
        assert str(told[0].message) == "Memory has no room for 64 samples at a time: going on with 32."
    assert torch.equal(found, whole)
    assert max(seen) <= room


def test_other_errors_and_a_single_sample_that_does_not_fit_are_not_hidden():
    def full(count: int, start: int) -> torch.Tensor:
        raise MemoryError

    with pytest.raises(MemoryError):
        list(in_chunks(full, 1, 64))

    def wrong(count: int, start: int) -> torch.Tensor:
        raise RuntimeError("shape")

    with pytest.raises(RuntimeError, match="shape"):
        list(in_chunks(wrong, 64, 64))


# bad rows


def test_skipped_rows_are_in_a_ledger_beside_the_run(tmp_path):
    table = "x,y\n" + "".join(f"{i},{i * i % 7}\n" for i in range(40)) + "1,\n" * 12 + "1,2,3\n" + "1,two\n"
    (tmp_path / "a.csv").write_text(table)
    ledger = pf.data.Ledger()
    data = Reading(bad_rows="skip").open(str(tmp_path / "a.csv"), ledger)
    assert len(data) + len(data.held_out) == 40
    assert len(ledger.rows) == 14
    assert ledger.rows[0] == "a.csv:42 (y is missing or not finite)"
    assert ledger.rows[-2:] == ["a.csv:54 (3 fields instead of 2)", "a.csv:55 (y is 'two')"]
    (tmp_path / "run").mkdir()
    next(Remembered(data, UNITS, tmp_path / "run", skipped=tuple(ledger.rows)).batches(8, pf.training.engine.Draw(0)))
    lines = [json.loads(line) for line in (tmp_path / "run/bad_rows.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == ledger.rows


# formats

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("version", sorted(path.name for path in GOLDEN.glob("format-*")))
def test_runs_of_every_format_load_for_ever(tmp_path, version):
    """Written by the release that had it; see `golden/README.md`."""
    shutil.copytree(GOLDEN / version, tmp_path / "run")
    model = load(tmp_path / "run")
    x = model.sample(2, seed=0) if "maf" in version else model.sample(2, solver=pf.solvers.Euler(4), seed=0)
    torch.testing.assert_close(x, torch.tensor(SAMPLES[version]), rtol=1e-4, atol=1e-4)
    place = newest_checkpoint(tmp_path / "run/checkpoints")
    assert place is not None
    assert read_checkpoint(place).step == 4


@pytest.mark.parametrize("version", sorted(path.name for path in GOLDEN.glob("format-*")))
def test_runs_of_every_format_go_on_as_they_would_have(tmp_path, version):
    shutil.copytree(GOLDEN / version, tmp_path / "run")
    config = run_room.read_run(tmp_path / "run")
    data = pf.data.open_data("moons")
    with torch.random.fork_rng(devices=[]):
        model = build(config.model, data.shape)
    lines = [json.loads(line) for line in (GOLDEN / version / "metrics.jsonl").read_text().splitlines()]
    settings = replace(config.settings, device="cpu")
    options = {"settings": settings, "run": tmp_path / "run", "recipe": config.model, "progress": False}
    objective = pf.objectives.Likelihood() if "maf" in version else pf.objectives.Regression()
    history = train(model, data, objective, **options)
    assert history.steps == (2, 4, 6)
    assert history.losses == pytest.approx([line["loss"] for line in lines], rel=1e-4)
    final = load(GOLDEN / version)
    for ours, theirs in zip(model.parameters(), final.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


SAMPLES = {
    "format-1": [[0.40299686789512634, -1.1826454401016235], [-2.6772043704986572, 1.2815500497817993]],
    "format-1-maf": [[0.468607097864151, -0.8333107233047485], [-3.3708808422088623, 0.9236219525337219]],
}


# pickles


def test_a_pickle_is_refused_by_default(tmp_path):
    torch.save({"w": Attack(tmp_path / "mark")}, tmp_path / "bad.pt")
    with pytest.raises(RunError, match=r"a pickle, which can hold any program.*allow_pickle=True if you trust"):
        from_pickle(tmp_path / "bad.pt")
    assert not (tmp_path / "mark").exists()


@pytest.mark.slow
def test_a_pickle_is_read_on_demand_alone_and_runs_nothing(tmp_path):
    inner = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}
    weights = {"model": inner, "epoch": 7, "ema": {"w": torch.ones(2)}}
    torch.save(weights, tmp_path / "good.pt")
    torch.save({"w": Attack(tmp_path / "mark")}, tmp_path / "bad.pt")
    before = listing(tmp_path)
    found = from_pickle(tmp_path / "good.pt", allow_pickle=True)
    assert sorted(found) == ["ema.w", "model.n", "model.w"]
    assert torch.equal(found["model.w"], inner["w"])
    for name in ("bad.pt", "none.pt"):
        with pytest.raises(RunError):
            from_pickle(tmp_path / name, allow_pickle=True)
    assert listing(tmp_path) == before


# recipes


def test_threads_may_build_while_another_counts():
    sizes: list[int] = []

    def big() -> None:
        model = build(pf.training.Diffusion(net=pf.training.MLP(64, 2)), (2,))
        sizes.append(sum(p.numel() for p in model.parameters()))

    with torch.random.fork_rng(devices=[]), fitting_in(dict(numbered(1).named_parameters())):
        thread = threading.Thread(target=big)
        thread.start()
        thread.join()
        build(RECIPE, (2,))
    assert sizes[0] > 4096
    with pytest.raises(RunError, match="for about"), fitting_in(dict(numbered(1).named_parameters())):
        big()
    gc.collect()


@pytest.mark.parametrize("name", FLOWS)
def test_a_strangers_flow_of_any_size_is_an_error_of_ours_or_fits(name, tmp_path):
    """Each of its whole numbers negative, 0, large and beyond all memory: with the weights of a small one beside it."""
    recipe = FLOWS[name]
    save_run(build(recipe, (1, 4, 4)), tmp_path, recipe)
    (tmp_path / "manifest.json").unlink()
    tensors = read_tensors(tmp_path / "model.safetensors")
    refused = list[str]()
    for field in fields(recipe):
        for value in (-1, 0, 10**5, 10**9, 10**18) if isinstance(field.default, int | None) else ():
            table = _config.to_table(recipe, KINDS) | {field.name: value}
            try:
                other = _config.from_table(None, table, KINDS)
                with fitting_in(tensors, other), warnings.catch_warnings(action="ignore"):  # of layers without features
                    put_weights(build(other, (1, 4, 4)), tensors)
            except PushforwardError as error:
                refused.append(str(error))
    assert len(refused) >= 3
    assert max(map(len, refused)) < 3_000
