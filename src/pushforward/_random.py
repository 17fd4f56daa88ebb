"""Randomness as a function: every draw depends on (seed, purpose, step, sample index) and nothing else.

A `Draw` is an immutable address. Asking it twice gives the same numbers; asking for samples 64..127 gives
the rows 64..127 of asking for 0..127. So a resumed run, a run on two machines and a run with another batch
split all see the same noise, and there is no generator state to save or to share between threads.

Numbers are drawn in blocks of consecutive samples, each from a generator keyed by
blake2b(seed, purpose, step, block). The block length depends on the event's size alone, hence the
function of the sample index. (Salmon et al. 2011 is the idea; torch's own generators do the arithmetic.)
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Draw:
    """The address of a stream of random numbers.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for, slash-separated ("train/noise").
        step: which step of that purpose.
        first: index of the first sample within the global batch.
        device: where the numbers are drawn. Equal addresses agree on equal kinds of device.

    >>> draw = Draw(seed=0, purpose="sample")
    >>> bool((draw.normal(8, (2,))[3:] == draw.at(0, first=3).normal(5, (2,))).all())
    True
    """

    seed: int
    purpose: str = ""
    step: int = 0
    first: int = 0
    device: str = "cpu"

    def of(self, purpose: str) -> "Draw":
        """The sub-stream for one more purpose: independent of this one and of its siblings."""
        inner = f"{self.purpose}/{purpose}" if self.purpose else purpose
        return Draw(self.seed, inner, self.step, self.first, self.device)

    def at(self, step: int, first: int | None = None) -> "Draw":
        """The same purpose at another step, and from another sample on."""
        return Draw(self.seed, self.purpose, step, self.first if first is None else first, self.device)

    def key(self, block: int = 0) -> int:
        """63 bits that name this address."""
        text = f"{self.seed}|{self.purpose}|{self.step}|{block}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1

    def generator(self, block: int = 0) -> torch.Generator:
        """A generator of one's own at this address, for torch functions that take one."""
        generator = torch.Generator(self.device)
        generator.manual_seed(self.key(block))
        return generator

    def normal(self, n: int, shape: tuple[int, ...] = (), dtype: torch.dtype | None = None) -> Tensor:
        """Standard normal noise, [n, *shape]."""
        return self._blocks(n, shape, dtype, lambda block, g: block.normal_(generator=g))

    def uniform(self, n: int, shape: tuple[int, ...] = (), dtype: torch.dtype | None = None) -> Tensor:
        """Uniform on [0, 1), [n, *shape]."""
        return self._blocks(n, shape, dtype, lambda block, g: block.uniform_(generator=g))

    def signs(self, n: int, shape: tuple[int, ...] = (), dtype: torch.dtype | None = None) -> Tensor:
        """Rademacher signs, -1 or 1, [n, *shape]."""
        return (self.uniform(n, shape, dtype) < 0.5).to(dtype or torch.get_default_dtype()) * 2 - 1

    def integers(self, n: int, high: int) -> Tensor:
        """Whole numbers in [0, high), [n]."""
        return self._blocks(n, (), torch.int64, lambda block, g: block.random_(high, generator=g))

    def permutation(self, n: int) -> Tensor:
        """A random order of 0..n-1, [n]. One value for the whole address: it does not split by sample."""
        return torch.randperm(n, generator=self.generator(), device=self.device)

    def _blocks(
        self,
        n: int,
        shape: tuple[int, ...],
        dtype: torch.dtype | None,
        fill: Callable[[Tensor, torch.Generator], Tensor],
    ) -> Tensor:
        """Rows of blocks, each filled in place by a generator of its own."""
        rows = max(1, min(256, 8192 // max(1, math.prod(shape))))
        low, high = self.first // rows, (self.first + n - 1) // rows + 1
        whole = torch.empty(((high - low) * rows, *shape), dtype=dtype, device=self.device)
        for block, part in enumerate(whole.split(rows) if high - low > 1 else (whole,), low):
            fill(part, self.generator(block))
        start = self.first - low * rows
        return whole[start : start + n]


def fresh_seed() -> int:
    """A seed taken from torch's own default generator, so that `torch.manual_seed` governs it.

    >>> _ = torch.manual_seed(0); a = fresh_seed(); _ = torch.manual_seed(0); a == fresh_seed()
    True
    """
    return int(torch.randint(2**62, ()).item())
