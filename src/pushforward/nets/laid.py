"""Small products with parameters that lie still, on a CPU, in memory that calls hand on to each other.

Where layers have a few hundred units and batches a few hundred rows, warm memory counts as much as arithmetic, and
twenty views cost what a product of 64 by 64 by 256 numbers does. So a network is computed in a workspace: a place for
its masked weights and its hidden layers, with all views made once. Networks of equal shape, as the transforms of a flow
are, share a pool of these. A call takes one and gives it back at its end, or after its gradient if there is to be one:
scoring with ten transforms takes a single workspace, which stays in cache.

Weights are masked anew at each call, since nobody can tell whether they have been written to.
"""

from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from pushforward._derivatives import Tensors
from pushforward.nets.products import Blocked, Products, Views, Workspace

LARGEST = 2**19
"""Numbers in the hidden layers of a call, beyond which memory is better taken as it comes."""

KEPT = 2**23
"""Numbers in the workspaces of a pool that nobody uses, at most: 32 MiB in float32."""


@dataclass(frozen=True, eq=False)
class Laid(Blocked):
    """Layers with parameters that lie still. Hooks on saved tensors meet the inputs, and no hidden layers."""

    weight: Tensor
    bias: Tensor
    addresses: tuple[int, int] = field(init=False)
    entries: Tensor = field(init=False)  # those of the parameter
    biases: Views = field(init=False)
    pool: "Pool" = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        key = self.layers, self.weight.dtype
        pool = _pools.get(key)
        if pool is None:
            _pools[key] = pool = Pool(Products(self.layers), self.weight)
        with torch.inference_mode(False), torch.no_grad():
            found = {"entries": self.weight.detach(), "biases": self.offsets(self.bias.detach())}
        for name, value in {**found, "pool": pool, "addresses": _addresses(self.weight, self.bias)}.items():
            object.__setattr__(self, name, value)

    def holds(self, weight: Tensor, bias: Tensor) -> bool:
        """Whether these are the parameters, still where they were."""
        return weight is self.weight and bias is self.bias and _addresses(weight, bias) == self.addresses

    def values(self, *inputs: Tensor) -> tuple[Tensors, "Lease"]:
        x, _, mask, _, *told = inputs
        lease = Lease(self.pool, self.pool.take(x.shape[1]))
        return (self._in(lease.space, x, mask, *told),), lease

    def gradients(
        self, inputs: Tensors, kept: "Lease", needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor | None, ...]:
        (x, _, mask, _, *told), (g,) = inputs, results
        space = kept.take()
        if space is None:  # a second gradient of the call
            self._in(space := self.pool.take(x.shape[1]), x, mask, *told)
        found = self.pool.take(x.shape[1])
        to_x = self.back(space, found, x, g, needed)
        to_weight = found.entries * mask if needed[1] else None
        to_bias, to_told = torch.cat([found.hidden.sum(1), g.sum(1)]), [found.hidden.clone()] if told else []
        self.pool.give(space)
        self.pool.give(found)  # the warmer one, to be taken next
        return to_x, to_weight, None, to_bias, *to_told

    def _in(self, space: Workspace, x: Tensor, mask: Tensor, *told: Tensor) -> Tensor:
        """The outputs for x, computed in this workspace."""
        torch.mul(self.entries, mask, out=space.entries)
        return self.through(space, self.biases, x, *told)


class Pool:
    """Workspaces of networks of one shape that are free; dropped when a call has another number of rows."""

    def __init__(self, product: Blocked, like: Tensor):
        self.product, self.like = product, like.new_empty(0)
        self.free: list[Workspace] = []

    def take(self, batch: int) -> Workspace:
        """A workspace for this many rows; any threads may ask at once."""
        try:
            space = self.free.pop()
        except IndexError:
            return self._new(batch)
        if space.hidden.shape[1] == batch:
            return space
        self.free.clear()
        return self._new(batch)

    def give(self, space: Workspace) -> None:
        """One back."""
        if (len(self.free) + 1) * (space.entries.numel() + space.hidden.numel()) <= KEPT:
            self.free.append(space)

    def _new(self, batch: int) -> Workspace:
        product = self.product
        with torch.inference_mode(False), torch.no_grad():
            entries, hidden = (1, sum(product.sizes)), (sum(product.rows[:-1]), batch)
            return Workspace(product, self.like.new_empty(entries), self.like.new_empty(hidden))


class Lease:
    """A workspace that goes back when nobody holds this any more."""

    __slots__ = ("_held", "_pool")

    def __init__(self, pool: Pool, space: Workspace):
        self._pool, self._held = pool, [space]

    @property
    def space(self) -> Workspace:
        """The workspace."""
        return self._held[0]

    def take(self) -> Workspace | None:
        """The workspace, for who comes first; none for others."""
        try:
            return self._held.pop()
        except IndexError:
            return None

    def __del__(self) -> None:
        for space in self._held:
            self._pool.give(space)


_pools: WeakValueDictionary[tuple[object, torch.dtype], Pool] = WeakValueDictionary()


def _addresses(weight: Tensor, bias: Tensor) -> tuple[int, int]:
    return weight.data_ptr(), bias.data_ptr()
