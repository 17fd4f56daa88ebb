"""A table of mixed columns as a density: score rows, draw new ones, condition, fill in what is missing.

The rows are made up: what a passenger pays depends on the class, and a fifth of the ages is missing. Any data frame
does as well: pandas, polars, or whatever has `columns` and gives one by its name. Here it is an array of objects.
"""

import numpy as np

from pushforward.data import Bounded, Circular
from pushforward.training import FlowDensity

rng = np.random.default_rng(0)
n = 1_500
level = rng.integers(0, 3, n)
rows = np.empty((n, 5), dtype=object)
rows[:, 0] = np.array(["first", "second", "third"])[level]
rows[:, 1] = np.exp(4 - level + 0.2 * rng.normal(size=n))  # fare
rows[:, 2] = 80 * rng.beta(4 - level, 3, n)  # age
rows[:, 3] = (23 + level + rng.normal(size=n)) % 24  # hour of departure, around midnight
rows[:, 4] = rng.poisson(1 + level)  # bags
gone = rng.random(n) < 0.2
true_age = rows[gone, 2].astype(float)
rows[gone, 2] = None

kinds = {1: "positive", 2: Bounded(0, 80), 3: Circular(24), 4: "integer"}  # words are categories by themselves
flow = FlowDensity(columns=kinds, steps=400, hidden=32).fit(rows[:1_200])
print(f"held out: {flow.score(rows[1_200:]):.2f} nats a row")

new = flow.sample(1_000)
assert set(new[:, 0]) == {"first", "second", "third"}
assert (new[:, 1] > 0).all()
assert all(0 <= age <= 80 for age in new[:, 2])
assert all(isinstance(bags, int) and bags >= 0 for bags in new[:, 4])
print("new:     ", *(value if isinstance(value, str) else f"{value:.3g}" for value in new[0]))

first = flow.conditional({0: "first"}, 1_000)
fare = np.median(first[:, 1].astype(float))
print(f"median fare in first class: {fare:.1f}, where the formula says {np.exp(4):.1f}")
assert abs(fare / np.exp(4) - 1) < 0.1

filled = flow.impute(rows)[gone, 2].astype(float)
for k, name in enumerate(["first", "second", "third"]):
    here = level[gone] == k
    print(f"ages missing in {name} class: {filled[here].mean():.0f} on average, in truth {true_age[here].mean():.0f}")
    assert abs(filled[here].mean() - true_age[here].mean()) < 6
