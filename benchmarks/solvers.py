"""How close a solver comes to the exact flow within a number of network calls, beside other libraries' solvers.

    python benchmarks/solvers.py [--oracle ring digits] [--path VE VP linear] [--nfe 4 6 8 10 16 20 32 50]
                                 [--seeds 0 1 2] [--starts 1000] [--screen 60] [--only TEXT] [--out FILE.json]
                                 [--quick]

The network is perfect (`peers/problem.py`), so what differs from the truth is the solver's error. Calls are counted
in the network. At a budget of n calls a row is that solver with as many steps as fit into n; "best" is the smallest
error among all of a library's rows whose calls do not exceed n, the mean over the seeds. Figures:

    rmse     root of the mean squared distance to the true endpoint, by the root mean square of the truth
    median   of the distances, each relative
    wrong    the share of endpoints next to another mode, in percent

On the digits a call costs hundreds of times more than on the ring: all rows run on the first `screen` starts of the
first seed, and at each budget the best five, and each library's best, on everything. Libraries that are not
installed have no rows. `--rows` adds rows that this program wrote before, where it does not measure them anew; so ours
alone are renewed by `--only pushforward --rows FILE.json`. One thread.

`auto` and `tuned` are searched for each budget on other starts than these are judged on, with their defaults.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import torch
from peers import Peer, installed
from peers.peer import Counted, at, within
from peers.problem import CURVES, LINEAR, VE, Curve, Mixture, digits, ring, score, truth
from torch import Tensor

from pushforward import paths, solvers
from pushforward.models import Diffusion, auto, tune
from pushforward.solvers import grids

BUDGETS = (4, 6, 8, 10, 16, 20, 32, 50)
ORACLES = {"ring": ring, "digits": digits}
FINALISTS = 5


@dataclass(frozen=True)
class Row:
    """One solver at one budget on one problem; figures are means over seeds, `spread` half the range of the rmse."""

    oracle: str
    path: str
    nfe: int
    calls: int
    library: str
    name: str
    rmse: float
    spread: float
    median: float
    wrong: float
    starts: int


# our side ----------------------------------------------------------------------------------------------------------


def model_of(denoiser: Mixture, curve: Curve, counted: Counted) -> Diffusion:
    """The perfect network on this path: it predicts x0, or the velocity where x0 says too little at t = 0."""
    path = {"VE": paths.EDM(), "VP": paths.Discrete.scheduled(), "linear": paths.Linear()}[curve.name]

    def net(x: Tensor, t: Tensor, context: object) -> Tensor:
        c = path.coefficients(t[:1])
        x0 = at(counted, x, c.alpha, max(c.sigma.item(), 1e-9))
        return (x - c.alpha * x0) / max(c.sigma.item(), 1e-9) - x0 if curve is LINEAR else x0

    prediction = paths.velocity if curve is LINEAR else paths.x0
    told = paths.preconditioning("none")  # it is given x as it is
    return Diffusion(net, path, prediction, shape=(denoiser.centres.shape[1],), precondition=told)


def ours(curve: Curve, denoiser: Mixture, pairs: Sequence[tuple[str, type, dict]]) -> Iterator[Peer]:
    """Rows of our solvers, given as (name, class, settings without `steps`); `model.decode(start, solver=...)`."""
    for name, kind, settings in pairs:

        def run(counted: Counted, eps: Tensor, steps: int, kind: type = kind, settings: dict = settings) -> Tensor:
            model = model_of(denoiser, curve, counted)
            return model.decode(eps * model.base.std, solver=kind(steps=steps, **settings))

        yield Peer("pushforward", name, run)


SEARCHES = {"auto": (auto, 50), "tuned": (tune, 10)}
"""How to search, and up to how many calls it is done here."""


def searched(curve: Curve, denoiser: Mixture, name: str) -> Peer:
    """`models.auto` or `models.tune`; a solver is found once for each number of calls."""
    model, (search, most) = model_of(denoiser, curve, denoiser), SEARCHES[name]

    @cache
    def found(calls: int) -> solvers.Solver:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return search(model, calls, seed=1_000_003).solver
        finally:
            torch.set_default_dtype(before)

    def run(counted: Counted, eps: Tensor, calls: int) -> Tensor:
        if calls > most:
            raise ValueError(f"{name} is not searched for beyond {most} calls")
        follow = model_of(denoiser, curve, counted)
        return follow.decode(eps * follow.base.std, solver=found(calls))

    return Peer("pushforward", name, run)


OURS: tuple[tuple[str, type, dict], ...] = (
    ("Euler", solvers.Euler, {}),
    ("Midpoint", solvers.Midpoint, {}),
    ("Heun", solvers.Heun, {}),
    ("RK4", solvers.RK4, {}),
    ("Heun, power 2", solvers.Heun, {"grid": solvers.Power(2.0)}),
    ("Midpoint, power 2", solvers.Midpoint, {"grid": solvers.Power(2.0)}),
    ("DDIM, Karras", solvers.DDIM, {"grid": grids.Karras()}),
    ("DPM-Solver++ 2M, Karras", solvers.DPMSolver, {"grid": grids.Karras()}),
    ("Karras", solvers.Karras, {}),
    ("Exponential x0 2, log-SNR", solvers.Exponential, {"grid": grids.LogSNR()}),
    ("Exponential v 2, share 0.3", solvers.Exponential, {"grid": grids.Share(0.3), "hold": "v", "clock": "angle"}),
    ("Exponential x0 3c, angle 0.8", solvers.Exponential,
     {"grid": grids.Angle(0.8), "order": 3, "clock": "angle", "correct": True}),
)  # fmt: skip


# the measurement ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """A perfect denoiser, a path, starts and where they truly end: [seeds, starts, dimensions]."""

    denoiser: Mixture
    curve: Curve
    eps: Tensor
    exact: Tensor

    @classmethod
    def make(cls, denoiser: Mixture, curve: Curve, seeds: Sequence[int], starts: int) -> "Problem":
        """Starts are each seed's own."""
        shape = (starts, denoiser.centres.shape[1])
        draws = [torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in seeds]
        eps = torch.stack(draws)
        return cls(denoiser, curve, eps, torch.stack([truth(denoiser, curve, one) for one in eps]))

    def first(self, starts: int) -> "Problem":
        """The first starts of the first seed."""
        return replace(self, eps=self.eps[:1, :starts], exact=self.exact[:1, :starts])

    def measure(self, peer: Peer, steps: int, nfe: int) -> Row:
        """All seeds in one batch, as no solver here sees its neighbours; then each seed's figures."""
        counted = Counted(self.denoiser)
        found = peer.run(counted, self.eps.flatten(0, 1), steps).view_as(self.exact)
        scores = [score(self.denoiser, one, exact) for one, exact in zip(found, self.exact)]
        rmse = [s.rmse for s in scores]
        return Row(
            self.denoiser.name, self.curve.name, nfe, counted.calls, peer.library, peer.name,
            statistics.mean(rmse), (max(rmse) - min(rmse)) / 2, statistics.mean(s.median for s in scores),
            statistics.mean(s.wrong for s in scores), self.eps.shape[0] * self.eps.shape[1],
        )  # fmt: skip


def measured(problem: Problem, rows: Sequence[Peer], budgets: Sequence[int], screen: int) -> list[Row]:
    """Every solver at every budget, on a part first where `screen` is not 0."""
    part = problem.first(screen) if screen else problem
    found: list[Row] = []
    for nfe in budgets:
        counts = {peer: within(peer, problem.eps[0], nfe) for peer in rows}
        steps = {peer: count for peer, count in counts.items() if count is not None}
        tried = [(peer, part.measure(peer, count, nfe)) for peer, count in steps.items()]
        if screen:
            tried.sort(key=lambda pair: pair[1].rmse)
            chosen = tried[:FINALISTS] + [pair for pair in tried if pair[0].name in SEARCHES]
            for library in {peer.library for peer in rows}:
                chosen += [pair for pair in tried if pair[0].library == library][:1]
            again = {peer: problem.measure(peer, steps[peer], nfe) for peer, _ in chosen}
            tried = [(peer, again.get(peer, row)) for peer, row in tried]
        found += [row for _, row in tried]
    return found


# tables ------------------------------------------------------------------------------------------------------------


def best(rows: Sequence[Row], nfe: int, full: int) -> Row | None:
    """The smallest error with at most `nfe` calls, among rows measured on all starts."""
    return min((r for r in rows if r.nfe <= nfe and r.starts == full), key=lambda r: r.rmse, default=None)


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """Markdown: the best of all peers and of each library at each budget, then every row."""
    problems = dict.fromkeys((r.oracle, r.path) for r in rows)
    for oracle, path in problems:
        here = [r for r in rows if (r.oracle, r.path) == (oracle, path)]
        full, budgets = max(r.starts for r in here), sorted({r.nfe for r in here})
        groups = {"best peer": [r for r in here if r.library != "pushforward"]}
        own = [r for r in here if r.library == "pushforward"]
        groups |= {f"our {name}": [r for r in own if r.name == name] for name in SEARCHES}
        groups |= {name: [r for r in here if r.library == name] for name in dict.fromkeys(r.library for r in here)}
        yield f"\n### {oracle}, {path}\n\n| | nfe | rmse | spread | median | wrong % | solver (calls) |"
        yield "|---|---|---|---|---|---|---|"
        for group, members in groups.items():
            for nfe in budgets:
                if (r := best(members, nfe, full)) is not None:
                    title = f"{r.library}: {r.name} ({r.calls})"
                    figures = f"{r.rmse:.4g} | {r.spread:.2g} | {r.median:.3g} | {100 * r.wrong:.2f}"
                    yield f"| {group} | {nfe} | {figures} | {title} |"
    for oracle, path in problems:
        here = [r for r in rows if (r.oracle, r.path) == (oracle, path)]
        full, budgets = max(r.starts for r in here), sorted({r.nfe for r in here})
        yield f"\n### all rows: {oracle}, {path} (rmse; * on the screening starts alone)\n"
        yield "| solver | " + " | ".join(map(str, budgets)) + " |\n|---|" + "---|" * len(budgets)
        for title in sorted({(r.library, r.name) for r in here}):
            own = {r.nfe: r for r in here if (r.library, r.name) == title}
            cells = (f"{own[n].rmse:.3g}{'' if own[n].starts == full else '*'}" if n in own else "" for n in budgets)
            yield f"| {title[0]}: {title[1]} | " + " | ".join(cells) + " |"


def renewed(before: Sequence[Row], now: Sequence[Row]) -> list[Row]:
    """All rows, each once: what is measured now in place of what was."""
    return list({(r.oracle, r.path, r.nfe, r.library, r.name): r for r in (*before, *now)}.values())


def main(options: argparse.Namespace) -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    found = [Row(**row) for file in options.rows for row in json.loads(file.read_text(encoding="utf-8"))]
    for oracle in options.oracle:
        denoiser = ORACLES[oracle]()
        for curve in (CURVES[name] for name in options.path):
            began = time.perf_counter()
            problem = Problem.make(denoiser, curve, options.seeds, options.starts)
            rows = [*installed(curve), *ours(curve, denoiser, OURS)]
            rows += [searched(curve, denoiser, name) for name in options.search]
            rows = [peer for peer in rows if options.only in f"{peer.library}: {peer.name}"]
            screen = min(options.screen, options.starts) if oracle == "digits" else 0
            found = renewed(found, measured(problem, rows, options.nfe, screen))
            print(f"{oracle}, {curve.name}: {len(rows)} rows, {time.perf_counter() - began:.0f} s", file=sys.stderr)
            if options.out is not None:
                text = json.dumps([asdict(r) for r in found], indent=0)
                options.out.write_text(text, encoding="utf-8")
                options.out.with_suffix(".md").write_text("\n".join(tables(found)) + "\n", encoding="utf-8")
    print("\n".join(tables(found)))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", nargs="*", choices=ORACLES, default=list(ORACLES))
    parser.add_argument("--path", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--nfe", nargs="+", type=int, default=list(BUDGETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--starts", type=int, default=1000, help="for each seed")
    parser.add_argument("--screen", type=int, default=60, help="starts of the first pass over the digits; 0 for none")
    parser.add_argument("--only", default="", help="rows whose 'library: name' contains this")
    parser.add_argument("--search", nargs="*", choices=SEARCHES, default=list(SEARCHES), help="what to search for")
    parser.add_argument("--rows", nargs="*", type=Path, default=[], help="rows written before; kept where not renewed")
    parser.add_argument("--out", type=Path, help="rows as JSON; tables beside it as .md")
    parser.add_argument("--quick", action="store_true", help="the ring on VE with 200 starts at 4 and 10 calls")
    options = parser.parse_args()
    if options.quick:
        options.oracle, options.path, options.nfe = ["ring"], [VE.name], [4, 10]
        options.seeds, options.starts = [0], 200
    return options


if __name__ == "__main__":
    main(parsed())
