"""A masked network whose numbers become known level by level: each unit is computed once, when its level is.

Layers hold their biases from the start. When a level is known, products are added to the rows of its units, block by
block as in a call: what a block reads besides is not known yet, and under the mask. So all levels together cost the
arithmetic of one call. Rows, weights and what they read are cut by level beforehand and at once, since a view made by
itself takes half as long as the product of a few rows.
"""

import functools

from torch import Tensor

from pushforward.nets.products import Blocked, Blocks, Views, Workspace, filled, rows_of, seen_of

Counts = tuple[int, ...]
"""How many there are in each level."""


class Known:
    """Numbers, hidden layers and outputs of a network as far as they are known, by level.

    Args:
        product: the layers.
        weight, bias: their parameters, weights masked, without gradients.
        told: what a context adds to the hidden layers, [units, batch].
        n: the batch.
        numbers: numbers of each level.
        units: units of each level, in each hidden layer.
    """

    def __init__(
        self,
        product: Blocked,
        weight: Tensor,
        bias: Tensor,
        told: Tensor | None,
        n: int,
        numbers: Counts,
        units: Counts,
    ):
        space, offsets = Workspace(product, weight, weight.new_empty(sum(product.rows[:-1]), n)), product.offsets(bias)
        for h, offset, more in zip(space.layers, offsets, product.added(told), strict=False):
            filled(h, offset, more)
        x, y = weight.new_zeros(sum(numbers), n), filled(weight.new_empty(product.rows[-1], n), offsets[-1])
        each = product.rows[-1] // sum(numbers)
        self.numbers = x.split_with_sizes(numbers)
        self.hidden = [h.split_with_sizes(units) for h in space.layers]
        self.outputs = y.view(sum(numbers), each, n).permute(2, 0, 1).split_with_sizes(numbers, 1)
        rows, seen = [*space.rows, rows_of(y, product.layers[-1])], [seen_of(x, product.layers[0]), *space.seen]
        counts = [*[units] * len(space.layers), tuple(each * count for count in numbers)]
        self._pieces = [*map(_by_level, counts, product.layers, rows, space.weights, seen)]

    def add(self, i: int, level: int) -> None:
        """The i-th product for the rows of a level."""
        for rows, weights, seen in self._pieces[i][level]:
            rows.addmm_(weights, seen)


def _by_level(counts: Counts, blocks: Blocks, *views: Views) -> list[list[tuple[Tensor, Tensor, Tensor]]]:
    """Rows, their weights and what these read, for each level."""
    found: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in counts]
    for (levels, sizes), rows, weights, seen in zip(_cuts(counts, blocks), *views, strict=True):
        for level, part, w in zip(levels, rows.split_with_sizes(sizes), weights.split_with_sizes(sizes), strict=True):
            found[level].append((part, w, seen))
    return found


@functools.lru_cache(256)
def _cuts(counts: Counts, blocks: Blocks) -> list[tuple[list[int], list[int]]]:
    """Which levels each block has rows of, and how many."""
    found, level, left = list[tuple[list[int], list[int]]](), 0, counts[0]
    for rows, _ in blocks:
        levels, sizes = list[int](), list[int]()
        while rows:
            while not left:
                level += 1
                left = counts[level]
            levels.append(level)
            sizes.append(min(rows, left))
            rows, left = rows - sizes[-1], left - sizes[-1]
        found.append((levels, sizes))
    return found
