"""A start from data: parameters that one look at data sets better than thousands of steps would.

A transform that can be started so is also a `Starts`. Its `start` sets its own parameters, in place, so that what it
makes of x has mean 0 and a given standard deviation (where it has parameters for that), and returns what it makes of
x. Transforms that hold others pass the start on in the order in which data meet them, so each member sees data as they
arrive. `models.prepare` does all this to a copy.

References:
    Kingma, Dhariwal 2018, arXiv 1807.03039 (Glow's actnorm).
    Salimans, Kingma 2016, arXiv 1602.07868 (the idea, for weight normalisation).
"""

import abc

from pushforward._typing import Context, Sample
from pushforward.transforms.transform import Transform, settled


class Starts(abc.ABC):
    """What a transform with a start from data promises besides being a `Transform`."""

    @abc.abstractmethod
    def start(self, x: Sample, context: Context, std: float, inverse: bool = False) -> Sample:
        """Set the parameters in place, without derivatives; returns what x becomes.

        Args:
            x: data as they arrive at this transform, two events or more.
            context: their context.
            std: the deviation wanted in each dimension; that of the base.
            inverse: data go through `decode`, as they do inside an `Inverse`.
        """


def begin(transform: Transform, x: Sample, context: Context, std: float, inverse: bool = False) -> Sample:
    """Start a transform from data if it can be; what x becomes in either case."""
    if isinstance(transform, Starts):
        return transform.start(x, context, std, inverse)
    return settled(*transform.decode(x, context)) if inverse else transform.encode(x, context)[0]
