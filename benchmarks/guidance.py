"""Guidance in one network call: a run of classes, pushed towards them, and a student of what that samples.

    python benchmarks/guidance.py [--seeds 0 1 2] [--scale 2.5] [--out runs/guidance] [--quick]

For each seed the command line trains the teacher (the demonstration's network, 2,000 updates) and two students, of
itself and of itself guided,

    pushforward train digits --conditional --drop-labels 0.1
    pushforward distill TEACHER --real [--guidance 2.5]

and 2,000 samples of classes in turn, from the same noise, are looked at three ways: how many of them the judge takes
for the class that was asked for (it knows held-out digits as well as its own line says), and the energy and Fréchet
distances to held-out digits. Guidance buys the first with the others. A guided step is two calls. One thread.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import pushforward as pf
from pushforward.report import judge
from pushforward.report.compare import Samples, compare

STEPS = 50
NET = ("--transformer.width", 96, "--transformer.layers", 3, "--transformer.patch", 4)
TEACHER = (*NET, "--lr", 2e-3, "--betas", 0.9, 0.99, "--ema", 0.995)


class Seen(NamedTuple):
    """Right class in per cent, energy, Fréchet."""

    right: float
    energy: float
    frechet: float


def command(*words: object) -> None:
    """A verb of the command line; what is finished already takes no time."""
    subprocess.run([sys.executable, "-m", "pushforward", *map(str, words)], check=True)


def students(folder: Path, seed: int, scale: float, quick: bool) -> tuple[Path, Path, Path]:
    """The teacher, its student, and the student of the guided teacher."""
    teacher, plain, pushed = (folder / f"{name}-{seed}" for name in ("teacher", "plain", "guided"))
    short, pairs = (("--steps", 40), ("--pairs", 512)) if quick else ((), ())
    long, words = short or ("--steps", 2_000), ("--seed", seed, "--threads", 1)
    command("train", "digits", "--conditional", "--drop-labels", 0.1, "--out", teacher, *TEACHER, *words, *long)
    words = (*words, *short)
    command("distill", teacher, "--real", "--out", plain, *pairs, *words)
    command("distill", teacher, "--real", "--guidance", scale, "--out", pushed, *pairs, *words)
    return teacher, plain, pushed


def rows(folder: Path, seed: int, scale: float, quick: bool, n: int) -> Iterator[tuple[str, int, Seen]]:
    """Each way to sample, what it costs, and what is seen."""
    data: Any = pf.data.digits()
    critic, asked = judge(data), torch.arange(n) % 10
    teacher, plain, pushed = (pf.load(each) for each in students(folder, seed, scale, quick))
    scales = sorted({1.0, 1.5, scale, 4.0})
    ways: list[tuple[str, int, Any, Any]] = [
        (f"teacher, guidance {w:g}", STEPS * (1 if w == 1 else 2), pf.models.guided(teacher, w) if w != 1 else teacher,
         pf.solvers.Euler(STEPS)) for w in scales
    ]  # fmt: skip
    ways += [
        ("student", 1, plain, pf.solvers.Jumps(1)),
        (f"student of guidance {scale:g}", 1, pushed, pf.solvers.Jumps(1)),
    ]
    for title, calls, model, solver in ways:
        x = model.sample(n, asked, solver=solver, seed=seed)
        row = compare([Samples(title, calls, x, asked)], data, critic)[0]
        right = (critic.predict(x) == asked).double().mean().item()
        yield title, calls, Seen(100 * right, row.energy.value, row.frechet.value)
    yield "the judge on held-out digits", 0, Seen(100 * (critic.accuracy or 0), float("nan"), float("nan"))


def told(values: Sequence[float], digits: int) -> str:
    """Mean and half the range."""
    if any(value != value for value in values):
        return ""
    spread = f" ± {(max(values) - min(values)) / 2:.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def main() -> None:
    """Train what is missing, look, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--scale", type=float, default=2.5)
    parser.add_argument("--out", type=Path, default=Path("runs/guidance"))
    parser.add_argument("--quick", action="store_true", help="seconds, to see that everything runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder, seeds, n = (
        (options.out / "quick", options.seeds[:1], 200) if options.quick else (options.out, options.seeds, 2_000)
    )
    found: dict[tuple[str, int], list[Seen]] = {}
    for seed in seeds:
        for title, calls, seen in rows(folder, seed, options.scale, options.quick, n):
            found.setdefault((title, calls), []).append(seen)
            print(seed, title, seen, flush=True)
    print("| samples | calls | right class, % | energy | Fréchet |\n|---|---|---|---|---|")
    for (title, calls), cells in found.items():
        right, energy, frechet = (told(values, digits) for values, digits in zip(zip(*cells), (1, 4, 2)))
        print(f"| {title} | {calls or ''} | {right} | {energy} | {frechet} |")


if __name__ == "__main__":
    main()
