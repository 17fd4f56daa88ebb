"""Flows through `torch.compile`, as one graph, beside the same flows without it.

    python benchmarks/compiled.py [--features N ...] [--kinds KIND ...] [--batch N] [--rounds N] [--others]

The architectures of `flows.py`, its floor (a bare chain of the same linear layers, not compiled) and its clock: a
training step and log_prob, on one thread, everybody once a round in an order drawn for each, the better of two calls.
Milliseconds, median over rounds, and the median of the ratios to the floor within rounds. Compiled by inductor, which
needs a C++ compiler, with `fullgraph=True`, which refuses graph breaks. --others adds zuko, nflows and normflows
(whichever is installed), compiled too, graph breaks allowed.
"""

import argparse
import importlib.util
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from flows import KINDS, Case, Flow, floor, nflows, normflows, operations, pushforward, seconds, zuko

from pushforward.training.memory import kept_pages

OPERATIONS = ("train", "log_prob")


def cases(kinds: list[str], features: list[int]) -> Iterator[Case]:
    """NICE of 784 numbers, the others of 6, 43 and 64."""
    for kind in kinds:
        sizes = [784] if kind == "nice" else [6, 43, 64]
        size = (4, 1000, 5) if kind == "nice" else (5, 256, 2)
        yield from (Case(kind, n, *size) for n in sizes if not features or n in features)


def compiled(flow: Flow, fullgraph: bool = True) -> Flow:
    """The same flow, whose log_prob is one graph."""
    return replace(flow, log_prob=torch.compile(flow.log_prob, fullgraph=fullgraph))


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name in random.sample([*calls], len(calls)):
            times[name].append(min(seconds(calls[name]) for _ in range(2)))
    return times


def main(kinds: list[str], features: list[int], batch: int, rounds: int, others: bool) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, 1 thread, batch {batch}, {rounds} shuffled rounds; milliseconds (times the floor)"
    )
    for case in cases(kinds, features):
        torch.manual_seed(0)
        torch.compiler.reset()
        flow = pushforward(case)
        flows = {"floor": floor(case), "eager": flow, "compiled": compiled(flow)}
        for lib in (zuko, nflows, normflows) if others else ():
            if importlib.util.find_spec(lib.__name__):
                flows[lib.__name__] = compiled(lib(case), fullgraph=False)
        every = {name: operations(each, batch, case.features) for name, each in flows.items()}
        began = time.perf_counter()
        for name in [*every][2:]:
            for operation in OPERATIONS:
                every[name][operation]()
            print(f"{case}: {name} made in {time.perf_counter() - began:.0f} s")
        for operation in OPERATIONS:
            times = measure({name: each[operation] for name, each in every.items()}, rounds)
            base = times["floor"]
            row = (
                f"{name} {1e3 * statistics.median(own):8.2f} "
                f"({statistics.median(a / b for a, b in zip(own, base, strict=True)):.2f})"
                for name, own in times.items()
            )
            print(f"  {operation:9}", "   ".join(row), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, nargs="*", default=[], help="these sizes of events alone")
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS, help="these kinds alone")
    parser.add_argument("--batch", type=int, default=256, help="events in a call")
    parser.add_argument("--rounds", type=int, default=40, help="of each operation")
    parser.add_argument("--others", action="store_true", help="other libraries too, compiled, where installed")
    options = parser.parse_args()
    with kept_pages():
        main(options.kinds, options.features, options.batch, options.rounds, options.others)
