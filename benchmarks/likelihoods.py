"""Test log-likelihoods of named flows, beside those of other libraries, a Gaussian mixture and a kernel density.

    python benchmarks/likelihoods.py [--protein FILE] [--housing FILE] [--steps N] [--seeds N] [--json FILE] ...

Data: `digits`, 64 pixels as logits, and two tables if their files are given: uci_protein's data.csv.gz (10 columns,
repeated rows left out) and california_housing's housing.csv (9 columns, whole rows below the cap of 500,000 dollars,
logs of what counts people, rooms and income). Values get uniform noise of their resolution, fresh in every batch, and
then mean 0 and standard deviation 1; likelihoods are of these numbers, in nats. One split: four fifths to train, a
tenth to choose on, a tenth to test (digits: 200 to choose on, the shipped 360 to test).

Every flow of every library has the same number of transforms, the same hidden layers and, for a seed, the same batches
of `BATCH` under Adam with one rise, cosine and clip; every tenth of the way the weights are judged on the validation
rows and the best are kept. With --average they are the averages that `pushforward.train` makes of them, of every
library's flows alike. The mixture (scikit-learn) has as many components, full or diagonal, and the kernel density
(Gaussian) the bandwidth that the validation rows like best. Whatever is in the JSON file is not run again.
"""

import argparse
import copy
import importlib.util
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import flows_of
import numpy as np
import torch
from flows_of import IMAGES, LONGER, TABLES, LogProb, Made
from flows_of.from_pushforward import prepared
from torch import Tensor, nn

import pushforward as pf
from pushforward.training.average import blend

BATCH, LR, CLIP, WARMUP = 256, 2e-3, 5.0, 100
Row = dict[str, float]


@dataclass(frozen=True)
class Rows:
    """A data set: rows in their own units, their resolution, and the way to numbers near 0."""

    name: str
    train: Tensor
    choose: Tensor
    test: Tensor
    width: Tensor
    curve: Callable[[Tensor], Tensor]
    mean: Tensor
    std: Tensor

    @classmethod
    def made(cls, name: str, parts: tuple[Tensor, Tensor, Tensor], width: Tensor, curve: Callable[[Tensor], Tensor]):
        """With the mean and deviation of the training part."""
        bent = curve(parts[0] + width * torch.rand(parts[0].shape, generator=seeded(0), dtype=torch.float64))
        return cls(name, *parts, width, curve, bent.mean(0), bent.std(0))

    def numbers(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Rows as the models see them, with noise of their resolution."""
        spread = rows + self.width * torch.rand(rows.shape, generator=generator, dtype=rows.dtype)
        return ((self.curve(spread) - self.mean) / self.std).float()


def seeded(seed: int) -> torch.Generator:
    """A generator of one's own."""
    return torch.Generator().manual_seed(seed)


def split(rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Four fifths, a tenth and a tenth, at random."""
    whole = torch.from_numpy(rows)[torch.randperm(len(rows), generator=seeded(0))]
    tenth = len(rows) // 10
    return whole[: -2 * tenth], whole[-2 * tenth : -tenth], whole[-tenth:]


def digits() -> Rows:
    """8 x 8 pixels of 17 levels, as logits of a little more than a hundredth to a little less than one."""
    data = pf.data.digits()
    train, test = (part.double().flatten(1) for part in (data.values, data.held_out))
    parts = (train[:-200], train[-200:], test)
    return Rows.made("digits", parts, torch.ones(64).double(), lambda v: (0.01 + 0.98 * v / 17).logit())


def protein(path: Path) -> Rows:
    """Ten columns, each with its resolution; what differs least."""
    rows = np.unique(np.loadtxt(path, delimiter=","), axis=0)
    width = torch.tensor([0.01, 0.01, 1e-5, 1e-3, 1.0, 0.01, 0.01, 1.0, 1e-3, 1e-3], dtype=torch.float64)
    return Rows.made("protein", split(rows), width, lambda v: v)


def housing(path: Path) -> Rows:
    """Nine columns: place, age, four counts, income, value."""
    rows = np.genfromtxt(path, delimiter=",", skip_header=1, usecols=range(9))
    rows = rows[~np.isnan(rows).any(1) & (rows[:, 8] <= 500_000)]
    width = torch.tensor([0.01, 0.01, 1, 1, 1, 1, 1, 1e-4, 1], dtype=torch.float64)
    logs = torch.tensor([False, False, False, True, True, True, True, True, False])
    return Rows.made("housing", split(rows), width, lambda v: torch.where(logs, v.clamp_min(1e-9).log(), v))


NO_FLOWS = {"Gaussian mixture": "components", "kernel density": "bandwidth"}
FLOWS = (*TABLES, *IMAGES)


@dataclass(frozen=True)
class Budget:
    """How long flows train, and how long an average of their weights remembers; 0 for the weights themselves."""

    steps: int
    average: float = 0.0


def trained(made: Made, rows: Rows, seed: int, budget: Budget) -> Row:
    """Validation and test nats of the weights that the validation rows like best."""
    (module, log_prob), generator, steps = made, seeded(seed), budget.steps
    choose, test = (rows.numbers(part, seeded(1)) for part in (rows.choose, rows.test))
    optimizer = torch.optim.Adam(module.parameters(), LR)
    mean = Average(module, budget.average)
    best, kept, began = -math.inf, module.state_dict(), time.thread_time()
    for step in range(steps):
        batch = rows.train[torch.randint(len(rows.train), (BATCH,), generator=generator)]
        loss = -log_prob(rows.numbers(batch, generator)).mean()
        optimizer.param_groups[0]["lr"] = LR * min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), CLIP)
        optimizer.step()
        mean.follow(step)
        if (step + 1) % max(steps // 10, 1) == 0:
            with mean.put():
                now = judged(module, log_prob, choose).mean().item()
                if now > best:
                    best, kept = now, copy.deepcopy(module.state_dict())
    module.load_state_dict(kept)
    found = judged(module, log_prob, test)
    return {"choose": best, "seconds": time.thread_time() - began, **figures(found)}


class Average:
    """The average of a module's weights, as `pushforward.train` keeps one; without memory, the weights themselves."""

    def __init__(self, module: nn.Module, memory: float) -> None:
        self.memory, self.weights = memory, [p.data for p in module.parameters()]
        self.average = [p.clone() for p in self.weights] if memory else []

    def follow(self, step: int) -> None:
        """Move towards the weights of now."""
        if self.memory:
            blend(self.average, self.weights, step, self.memory)

    @contextmanager
    def put(self) -> Iterator[None]:
        """Within, the module has the average."""
        own = [p.clone() for p in self.weights] if self.memory else []
        for there, here in zip(self.weights, self.average):
            there.copy_(here)
        yield
        for there, here in zip(self.weights, own):
            there.copy_(here)


@torch.no_grad()
def judged(module: nn.Module, log_prob: LogProb, x: Tensor) -> Tensor:
    """Log-densities of rows, in evaluation mode."""
    module.eval()
    found = torch.cat([log_prob(part) for part in x.split(1_000)]).double()
    module.train()
    return found


def figures(log_probs: Tensor) -> Row:
    """The mean of the test rows and its standard error."""
    return {"test": log_probs.mean().item(), "error": (log_probs.std() / math.sqrt(len(log_probs))).item()}


def flow(library: str, name: str, rows: Rows, seed: int, budget: Budget) -> Row | None:
    """One flow of one library with one seed; ours starts its shifts and scales from the first rows."""
    torch.manual_seed(seed)
    made = flows_of.of(library)(name, rows.train.shape[1])
    if made is None:
        return None
    if library == "pushforward":
        made = prepared(made, rows.numbers(rows.train[:4096], seeded(2)))
    return trained(made, rows, seed, budget)


def mixture(rows: Rows) -> Row | None:
    """The Gaussian mixture that the validation rows like best."""
    if not importlib.util.find_spec("sklearn"):
        return None
    from sklearn.mixture import GaussianMixture

    began, best = time.thread_time(), (-math.inf, torch.empty(0), 0.0, "")
    train, choose, test = (
        rows.numbers(part, seeded(k)).double().numpy()
        for part, k in ((rows.train, 0), (rows.choose, 1), (rows.test, 1))
    )
    for kind in ("full", "diag"):
        for count in (1, 2, 4, 8, 16, 32, 64, 128):
            model = GaussianMixture(count, covariance_type=kind, reg_covar=1e-5, random_state=0).fit(train)
            now = float(model.score(choose))
            if now > best[0]:
                best = now, torch.from_numpy(model.score_samples(test)), float(count), kind
            elif now < best[0]:
                break
    return {"choose": best[0], "seconds": time.thread_time() - began, "components": best[2], **figures(best[1])}


def kernel(rows: Rows) -> Row:
    """The Gaussian kernel density, of the bandwidth that the validation rows like best."""
    began = time.thread_time()
    train = rows.numbers(rows.train, seeded(0))
    n, size = train.shape
    squares = [torch.cdist(rows.numbers(part, seeded(1)), train).square() for part in (rows.choose, rows.test)]

    def log_prob(square: Tensor, h: float) -> Tensor:
        total = torch.cat([(-part / (2 * h * h)).logsumexp(1) for part in square.split(500)]).double()
        return total - math.log(n) - size * math.log(h * math.sqrt(2 * math.pi))

    widths = [0.02 * 1.25**k for k in range(20)]
    best = max(widths, key=lambda h: log_prob(squares[0], h).mean().item())
    chosen = {"choose": log_prob(squares[0], best).mean().item(), "bandwidth": best}
    return {**chosen, "seconds": time.thread_time() - began, **figures(log_prob(squares[1], best))}


def jobs(
    rows: Rows, seed: int, budget: Budget, flows: Sequence[str]
) -> Iterator[tuple[str, str, Callable[[], Row | None]]]:
    """(model, library, call)."""
    if LONGER in flows:
        longer = replace(budget, steps=4 * budget.steps)
        yield LONGER, "pushforward", partial(flow, "pushforward", LONGER, rows, seed, longer)
    if seed == 0:
        yield "Gaussian mixture", "scikit-learn", partial(mixture, rows)
        yield "kernel density", "torch", partial(kernel, rows)
    for name in [each for each in FLOWS if each in flows]:
        for library in flows_of.installed():
            yield name, library, partial(flow, library, name, rows, seed, budget)


def table(found: dict[str, Row]) -> str:
    """The JSON's content as Markdown: a table for each data set, means over seeds and their spread."""
    cells: dict[tuple[str, ...], list[Row]] = {}
    for key, row in found.items():
        cells.setdefault(tuple(key.split("/")[:3]), []).append(row)
    lines: list[str] = []
    for data in dict.fromkeys(key[0] for key in cells):
        plain = [(key[1], rows[0]) for key, rows in cells.items() if key[0] == data and key[1] in NO_FLOWS]
        told = ", ".join(
            f"{name} {row['test']:.2f} ± {row['error']:.2f} ({NO_FLOWS[name]} {row[NO_FLOWS[name]]:.3g})"
            for name, row in plain
        )
        lines += [
            f"**{data}**; {told}",
            "",
            "| flow | " + " | ".join(flows_of.LIBRARIES) + " | CPU s |",
            "|---" * 6 + "|",
        ]
        for name in [each for each in (*FLOWS, LONGER) if (data, each, "pushforward") in cells]:
            each = [cells.get((data, name, library)) for library in flows_of.LIBRARIES]
            shown = " | ".join(spread([row["test"] for row in rows]) if rows else "" for rows in each)
            spent = ", ".join(f"{statistics.mean(r['seconds'] for r in rows):.0f}" if rows else "-" for rows in each)
            lines += [f"| {name} | {shown} | {spent} |"]
        lines += [""]
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Mean ± standard deviation over seeds; or how many have no density for some row."""
    lost = sum(not math.isfinite(value) for value in values)
    if lost:
        return f"-inf in {lost} of {len(values)}"
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def main(options: argparse.Namespace) -> None:
    """Run what is missing, and print the tables."""
    torch.set_num_threads(1)
    found: dict[str, Row] = json.loads(options.json.read_text()) if options.json.exists() else {}
    sets = [protein(options.protein)] if options.protein else []
    sets += [housing(options.housing)] if options.housing else []
    sets += [digits()] if options.digits else []
    for seed in range(options.seeds):
        for rows in sets:
            for name, library, call in jobs(rows, seed, Budget(options.steps, options.average), options.flows):
                key = f"{rows.name}/{name}/{library}/{seed}"
                if key in found or (row := call()) is None:
                    continue
                found[key] = row
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(found, indent=1) + "\n")
                print(f"{key:48} test {row['test']:9.3f} +- {row['error']:.3f}  {row['seconds']:6.1f} s", flush=True)
    print(table(found))
    if options.table:
        options.table.write_text(table(found))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--protein", type=Path, help="data.csv.gz of uci_protein")
    found.add_argument("--housing", type=Path, help="housing.csv of california_housing")
    found.add_argument("--digits", action=argparse.BooleanOptionalAction, default=True)
    found.add_argument("--flows", nargs="+", choices=(*FLOWS, LONGER), default=FLOWS)
    found.add_argument("--steps", type=int, default=1_000)
    found.add_argument("--average", type=float, default=0.0, help="memory of averaged weights, 0.99 say; 0 for none")
    found.add_argument("--seeds", type=int, default=3)
    found.add_argument("--json", type=Path, default=Path("runs/likelihoods.json"))
    found.add_argument("--table", type=Path, help="where to write the tables as Markdown")
    return found


if __name__ == "__main__":
    main(parser().parse_args())
