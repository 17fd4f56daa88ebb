"""Transforms in a row, and a transform turned round.

    encode = T_n o ... o T_2 o T_1        log |det dz/dx| = sum_k log |det dT_k|
    decode = T_1^-1 o T_2^-1 o ... o T_n^-1

A chain is a Python sequence of its transforms, in the order in which data meet them: it has a length,
indices, slices (a slice is a chain that shares the parameters), `in`, `index`, `reversed` and `+`. An empty
chain is the identity. Like a solver it can be watched and edited on the way, by a generator instead of a
callback:

    for x, ladj in chain.decode_steps(z): ...         # after each transform
    x, ladj = steps.send(edited)                      # go on as if the call had started here with `edited`
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import cast, overload

from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.logit import Logit
from pushforward.transforms.start import Starts, begin
from pushforward.transforms.transform import Transform, settled

Steps = Generator[tuple[Sample, PerSample], Sample | None, tuple[Sample, PerSample]]
"""Yields (value, ladj so far) after each transform, takes an edited value by `send`, returns the last."""

_Call = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


class Chain(Transform, Starts, Sequence[Transform]):
    """Transforms applied one after the other; a sequence of them.

    Like all modules, two chains are equal only if they are one object; compare members by `list(chain)`.

    Args:
        transforms: in the order in which data meet them.

    Raises:
        ConfigError: a member is not a transform.

    >>> import torch
    >>> from pushforward.transforms import DiagonalScale, Shift, reverse
    >>> chain = Chain(Shift((2,)), DiagonalScale((2,))) + Chain(reverse(2))
    >>> len(chain), type(chain[-1]).__name__, chain[1] in chain[1:]
    (3, 'Permutation', True)
    >>> chain.encode(torch.tensor([[1.0, 2.0]]))
    (tensor([[2., 1.]], grad_fn=...), tensor([0.], grad_fn=...))
    """

    def __init__(self, *transforms: Transform):
        super().__init__()
        for transform in transforms:
            if not isinstance(transform, Transform):
                fix = "Put a network inside a coupling, a surjection into models.Surjected, and no list around members."
                raise ConfigError(explain("transforms", f"a {type(transform).__name__}", fix))
        self.transforms = nn.ModuleList(transforms)

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return _all((transform.encode for transform in self), x, context)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return _all((transform.decode for transform in reversed(self)), z, context)

    def encode_steps(self, x: Sample, context: Context = None) -> Steps:
        """(value, ladj so far) after each transform, from data to noise.

        `send(x)` replaces the value, and everything that follows, the returned pair included, is what
        `encode_steps` of the rest of the chain gives from there: `ladj` counts anew from the edit.
        """
        return _steps((transform.encode for transform in self), x, context)

    def decode_steps(self, z: Sample, context: Context = None) -> Steps:
        """(value, ladj so far) after each transform, from noise to data; `send` as in `encode_steps`."""
        return _steps((transform.decode for transform in reversed(self)), z, context)

    def start(self, x: Sample, context: Context, std: float, inverse: bool = False) -> Sample:
        for transform in reversed(self) if inverse else self:
            x = begin(transform, x, context, std, inverse)
        return x

    def __len__(self) -> int:
        return len(self.transforms)

    def __iter__(self) -> Iterator[Transform]:
        return cast(Iterator[Transform], iter(self.transforms))

    @overload
    def __getitem__(self, index: int) -> Transform: ...
    @overload
    def __getitem__(self, index: slice) -> "Chain": ...
    def __getitem__(self, index: int | slice) -> "Transform | Chain":
        if isinstance(index, slice):
            return Chain(*list(self)[index])
        return cast(Transform, self.transforms[index])

    def __add__(self, other: "Chain") -> "Chain":
        return Chain(*self, *other) if isinstance(other, Chain) else NotImplemented


class Inverse(Transform, Starts):
    """A transform turned round: its encode is the other's decode, with the same parameters.

    Args:
        transform: what to turn round.

    >>> import torch
    >>> from pushforward.transforms import tile
    >>> Inverse(tile(4)).encode(torch.arange(4.0)[None])[0]
    tensor([[0., 2., 1., 3.]])
    """

    def __init__(self, transform: Transform):
        super().__init__()
        self.transform = transform

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return _to_noise(self.transform, x, context)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return _to_data(self.transform, z, context)

    def start(self, x: Sample, context: Context, std: float, inverse: bool = False) -> Sample:
        return begin(self.transform, x, context, std, not inverse)


def _to_noise(transform: Transform, x: Sample, context: Context) -> tuple[Sample, PerSample]:
    """Data to noise by `decode`: data that it does not reach have density 0."""
    match transform:
        case Chain():
            return _all((partial(_to_noise, each) for each in reversed(transform)), x, context)
        case Inverse():
            return transform.transform.encode(x, context)
        case _:
            z, ladj = transform.decode(x, context)
            return settled(z, ladj), ladj


def _to_data(transform: Transform, z: Sample, context: Context) -> tuple[Sample, PerSample]:
    """Noise to data by `encode`: noise that leads nowhere becomes NaN."""
    match transform:
        case Chain():
            return _all((partial(_to_data, each) for each in transform), z, context)
        case Inverse():
            return transform.transform.decode(z, context)
        case Logit():
            return transform.within(z)
        case _:
            return transform.encode(z, context)


def _all(calls: Iterable[_Call], x: Sample, context: Context) -> tuple[Sample, PerSample]:
    # the loop of `_steps` without its yield, which torch.compile cannot follow through nested chains
    total = x.new_zeros(len(x))
    for call in calls:
        x, ladj = call(x, context)
        total = total + ladj
    return x, total


def _steps(calls: Iterable[_Call], x: Sample, context: Context) -> Steps:
    total = x.new_zeros(len(x))
    for call in calls:
        x, ladj = call(x, context)
        total = total + ladj
        edited = yield x, total
        if edited is not None:
            x, total = edited, edited.new_zeros(len(edited))
    return x, total
