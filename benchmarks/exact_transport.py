"""The exact squared W2 between two sets of n points, by few of its n**2 arcs, and a proof that no other is needed.

    primal  min sum_ij pi_ij |x_i - y_j|**2,        dual  max mean(u) + mean(v)   with   u_i + v_j <= |x_i - y_j|**2

A plan on some of the arcs whose potentials u, v keep the inequality on all of them is the plan of the whole. Potentials
of a part of the points, carried over by v_j = min_i |x_i - y_j|**2 - u_i, say which arcs matter: for each point the
`near` for which the inequality is tightest. Those that break it afterwards are added, until none does. Both are
questions for nearest neighbours: with W = max v,

    |x_i - y_j|**2 - v_j + W = |(x_i, 0) - (y_j, sqrt(W - v_j))|**2,

so a tree answers in place of all n**2 distances. This pays for points that fill their distributions evenly (Sobol'),
whose parts are like the whole; among random ones every round moves the potentials, and the dense solution is as fast.

References: Schmitzer 2016, arXiv 1510.05466 (sparse subproblems, shielded); Flamary et al. 2021, POT (network simplex).
"""

import argparse
import statistics
import time

import numpy as np
import ot
from scipy.sparse import coo_matrix
from scipy.spatial import cKDTree
from scipy.stats import norm
from scipy.stats.qmc import Sobol

Points = np.ndarray
_ALLOWED = 1e-9
"""How far rounding may break the inequality, in units of the largest cost."""


def squared_w2(x: Points, y: Points, part: int = 2500, near: int = 32) -> float:
    """Exact, of two sets of equal size [n, axes]; the first `part` points are matched first, densely."""
    return _densely(x, y) if len(x) <= part else solved(x, y, part, near)[0]


def solved(
    x: Points, y: Points, part: int = 2500, near: int = 32, allowed_breaks: int = 0
) -> tuple[float, Points, Points]:
    """The squared W2 of two sets of more than `part` points, u and v; up to so many arcs may break the inequality."""
    u = _potentials(ot.emd2([], [], _costs(x[:part], y[:part]), numItermax=10**7, log=True))[1]
    v = tightest(y, x[:part], u, 1)[1][:, 0]
    u = tightest(x, y, v, 1)[1][:, 0]
    arcs = _arcs(len(x), tightest(x, y, v, near)[0], tightest(y, x, u, near)[0])
    allowed = _ALLOWED * np.square(np.ptp(np.concatenate([x, y]), 0)).sum()
    while True:
        i, j = np.divmod(arcs, len(x))
        costs = coo_matrix((np.square(x[i] - y[j]).sum(1), (i, j)), shape=(len(x), len(y)))
        mean, u, v = _potentials(ot.emd2([], [], costs, numItermax=10**9, log=True))
        others, left = tightest(x, y, v, near)
        broken = left < u[:, None] - allowed
        if broken.sum() <= allowed_breaks:
            return mean, u, v
        arcs = np.union1d(arcs, (np.arange(len(x))[:, None] * len(x) + others)[broken])


def _densely(x: Points, y: Points) -> float:
    return float(ot.emd2([], [], _costs(x, y), numItermax=10**7))


def _costs(x: Points, y: Points) -> np.ndarray:
    return np.square(x[:, None] - y).sum(-1)


def _potentials(found: tuple[float, dict[str, np.ndarray]]) -> tuple[float, Points, Points]:
    return float(found[0]), np.asarray(found[1]["u"]), np.asarray(found[1]["v"])


def tightest(x: Points, y: Points, v: np.ndarray, near: int) -> tuple[np.ndarray, np.ndarray]:
    """For each x the y of the smallest |x - y|**2 - v and that, [n, near], rising."""
    most = v.max()
    tree = cKDTree(np.column_stack([y, np.sqrt(most - v)]))
    distance, index = tree.query(np.column_stack([x, np.zeros(len(x))]), k=[*range(1, near + 1)])
    return index, np.square(distance) - most


def _arcs(n: int, of_x: np.ndarray, of_y: np.ndarray) -> np.ndarray:
    """i n + j of neighbours either way, and of each i with itself, so that there is a plan."""
    here = np.arange(n)[:, None]
    return np.unique(np.concatenate([(here * n + of_x).ravel(), (of_y * n + here).ravel(), here[:, 0] * (n + 1)]))


def main() -> None:
    """Beside the dense solution, from a normal to a ring: equal, and faster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", nargs="+", type=int, default=[4096, 8192])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for n in options.points:
        ways = {"few arcs": squared_w2, "dense": _densely}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for seed in range(options.rounds):
            x = norm.ppf(Sobol(2, seed=2 * seed).random(n))
            u = Sobol(3, seed=2 * seed + 1).random(n)
            y = (3 + 0.1 * norm.ppf(u[:, 1:2])) * np.column_stack([np.cos(6.2832 * u[:, 0]), np.sin(6.2832 * u[:, 0])])
            found: list[float] = []
            for name, way in ways.items():
                begun = time.process_time()
                found.append(way(x, y))
                spent[name].append(time.process_time() - begun)
            assert abs(found[0] - found[1]) < 1e-9 * found[1], found
        print(f"{n:,} points: " + ", ".join(f"{k} {statistics.median(v):.2f} s" for k, v in spent.items()), flush=True)


if __name__ == "__main__":
    main()
