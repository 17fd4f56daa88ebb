"""Two kinds of numbers in which frequencies are worked out: decimals of fifty digits, and float32.

Float32 has 24 bits. A frequency near 1 that is wrong in its last bit puts a token at position 10**6 wrong by 0.06
radians, and the product of position and frequency is rounded once more. So ours are exact, and float32 is there to
repeat what other people's tables contain, bit by bit.
"""

import abc
from decimal import Context, Decimal
from typing import Any, Literal

import numpy as np
import torch

Number = Any
"""A Decimal or a float32, whatever the arithmetic makes."""

Precision = Literal["exact", "float32"]

DIGITS = Context(prec=50)
"""Enough for 64 bits behind the point, with thirty digits to spare."""

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


class Arithmetic(abc.ABC):
    """Numbers in which a schedule is worked out."""

    turn: Number
    """Radians in a turn."""

    @abc.abstractmethod
    def constant(self, value: float) -> Number:
        """A setting, as something that adds to and multiplies the numbers of `periods`."""

    @abc.abstractmethod
    def number(self, value: float) -> Number:
        """One of the numbers of `periods`."""

    @abc.abstractmethod
    def periods(self, base: Number, rotated: int) -> list[Number]:
        """base**(2c/rotated) for each pair c."""


class Exact(Arithmetic):
    """Decimals; use within `decimal.localcontext(DIGITS)`."""

    turn = 2 * PI

    def constant(self, value: float) -> Number:
        return Decimal(value)

    def number(self, value: float) -> Number:
        return Decimal(value)

    def periods(self, base: Number, rotated: int) -> list[Number]:
        step: Decimal = base ** (Decimal(2) / Decimal(rotated))
        return [step**c for c in range(rotated // 2)]


class Single(Arithmetic):
    """float32, with the roundings of tables made in float32 by torch."""

    turn = float(2 * PI)

    def constant(self, value: float) -> Number:
        return value

    def number(self, value: float) -> Number:
        return np.float32(value)

    def periods(self, base: Number, rotated: int) -> list[Number]:
        exponents = torch.arange(0, rotated, 2, dtype=torch.int64, device="cpu").to(torch.float32) / rotated
        return list(torch.pow(base, exponents).numpy())
