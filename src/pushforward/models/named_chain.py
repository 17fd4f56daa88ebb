"""The chain of the named flows whose transforms can be told a context or a class,

    [ shift -> scale -> transform ] x transforms -> shift -> scale -> normal base

with shift and scale where the papers normalise by the batch (`models.prepare` starts them from data). The transform's
formula runs from data to noise, so that likelihoods are one pass and training never searches for an inverse;
`formula="decode"` turns it round, for inference, where samples must be quick.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Literal, ParamSpec, TypedDict

from pushforward._config import suggest
from pushforward._errors import ConfigError, explain
from pushforward.models.base import Normal
from pushforward.models.flow import NormalizingFlow
from pushforward.models.named import numbers
from pushforward.transforms import Chain, DiagonalScale, Inverse, Logit, Shift, Transform
from pushforward.transforms.labelled import Labelled

Formula = Literal["encode", "decode"]
P = ParamSpec("P")


class Common(TypedDict, total=False):
    """What each of these flows takes by name.

    context: length of a context vector, 0 for none.
    classes: number of classes instead; no context, or index `classes`, then means "no class".
    support: (low, high) of bounded data, mapped to the line by a logit first; None for the line.
    alpha: how far off the ends that logit stays, as a share; samples may lie as far beyond. 0 keeps them within,
        and gives data on an end itself no density.
    formula: the direction that needs no inverse, "encode" (likelihoods) by default, or "decode" (samples).
    """

    context: int
    classes: int
    support: tuple[float, float] | None
    alpha: float
    formula: Formula


def takes(options: type) -> Callable[[Callable[P, NormalizingFlow]], Callable[P, NormalizingFlow]]:
    """Refuse, before anything is built, an event of no numbers, and options that are not the function's own."""

    def checked(make: Callable[P, NormalizingFlow]) -> Callable[P, NormalizingFlow]:
        named = inspect.signature(make)
        known = {*list(named.parameters)[:-1], *options.__annotations__}

        @functools.wraps(make)
        def made(*args: P.args, **kwargs: P.kwargs) -> NormalizingFlow:
            for word in kwargs:
                if word not in known:
                    raise ConfigError(explain(f"an option of {make.__name__}", repr(word), suggest(word, known)))
            numbers(named.bind(*args, **kwargs).arguments["shape"])
            return make(*args, **kwargs)

        return made

    return checked


def chained(shape: tuple[int, ...], made: Sequence[Transform], common: Common) -> NormalizingFlow:
    """The chain around transforms that are told a context or a class."""
    classes, formula = common.get("classes", 0), common.get("formula", "encode")
    if common.get("context", 0) and classes:
        fix = "Append a one-hot vector of the class to the context yourself."
        raise ConfigError(explain("context or classes", "both", fix))
    if not made or formula not in ("encode", "decode"):
        got = f"{len(made)} transforms, formula {formula!r}"
        raise ConfigError(
            explain("a transform at least, and a formula 'encode' or 'decode'", got, "Name one of the two.")
        )
    support = common.get("support")
    members: list[Transform] = [] if support is None else [Logit(common.get("alpha", 0.05), *support)]
    for transform in made:
        member = Labelled(transform, classes) if classes else transform
        members += [Shift(shape), DiagonalScale(shape), member if formula == "encode" else Inverse(member)]
    return NormalizingFlow(Chain(*members, Shift(shape), DiagonalScale(shape)), Normal(tuple(shape)))


def told(common: Common) -> int:
    """How many numbers a transform is told: of a context vector, or one for each class."""
    return common.get("context", 0) or common.get("classes", 0)
