"""Position encodings by name, made for a causal model of given sizes.

What an encoding counts with (a table, a clip, buckets, the distance beyond which all count the same) is made for the
length that is trained on, as in the papers, so that nothing is asked of it that training never reached. Nothing is
imported by name: the table is closed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from pushforward import positions
from pushforward._config import suggest
from pushforward._errors import ConfigError, explain
from pushforward.positions import Extension, Position

Family = Literal["none", "tokens", "turns", "biases", "content"]
"""What an encoding acts on."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What an encoding is made for.

    Args:
        length: tokens of a text in training.
        width: size of a token.
        heads: heads of attention.
    """

    length: int
    width: int
    heads: int

    @property
    def features(self) -> int:
        """The size of one head."""
        return self.width // self.heads


@dataclass(frozen=True, slots=True)
class Encoding:
    """A named encoding: what it acts on, and how it is made."""

    family: Family
    make: Callable[[Sizes], Position]


ENCODINGS: Final[Mapping[str, Encoding]] = MappingProxyType({
    "none": Encoding("none", lambda s: positions.Unordered()),
    "learned": Encoding("tokens", lambda s: positions.Learned(s.length, s.width)),
    "hierarchical": Encoding("tokens", lambda s: positions.Learned(s.length, s.width, hierarchy=0.4)),
    "multiplicative": Encoding("tokens", lambda s: positions.Multiplicative(s.length, s.width)),
    "sinusoidal": Encoding("tokens", lambda s: positions.Sinusoidal()),
    "recurrent": Encoding("tokens", lambda s: positions.Recurrent(s.width)),
    "conditional": Encoding("tokens", lambda s: positions.Conditional(s.width, kernel=4, causal=True)),
    "rope": Encoding("turns", lambda s: positions.Rotary()),
    "xpos": Encoding("turns", lambda s: positions.XPos()),
    "polar": Encoding("turns", lambda s: positions.Polar(s.heads, s.features)),
    "rerope": Encoding("turns", lambda s: positions.ReRoPE(window=max(1, s.length // 2))),
    "alibi": Encoding("biases", lambda s: positions.ALiBi(s.heads)),
    "kerple": Encoding("biases", lambda s: positions.KERPLE(s.heads)),
    "fire": Encoding("biases", lambda s: positions.FIRE(s.heads, threshold=float(s.length))),
    "t5": Encoding("biases", lambda s: positions.T5(
        s.heads, farthest=max(17, s.length), causal=True, std=s.width**-0.5)),
    "shaw": Encoding("content", lambda s: positions.Shaw(s.features, clip=min(16, s.length))),
    "transformer-xl": Encoding("content", lambda s: positions.TransformerXL(s.heads, s.features)),
    "deberta": Encoding("content", lambda s: positions.DeBERTa(s.heads, s.features, farthest=s.length)),
    "cope": Encoding("content", lambda s: positions.CoPE(s.features, tokens=s.length)),
})  # fmt: skip
"""Every encoding of a causal model that has a name."""

EXTENSIONS: Final[Mapping[str, Callable[[float, int], Extension]]] = MappingProxyType({
    "interpolation": lambda factor, trained: positions.Interpolation(factor),
    "NTK": lambda factor, trained: positions.NTK(factor),
    "YaRN": lambda factor, trained: positions.YaRN(factor, trained),
})  # fmt: skip
"""How RoPE's frequencies are stretched by a factor beyond the trained length, without training."""


def reach(position: Position) -> int | None:
    """How many positions an encoding has, where it has only so many: the rows of its table, or their square."""
    if not isinstance(position, positions.Learned | positions.Multiplicative):
        return None
    rows = len(position.table)
    return rows if position.hierarchy is None else rows**2


def encoding(name: str) -> Encoding:
    """The encoding of a name.

    Raises:
        ConfigError: no encoding has it.
    """
    if name not in ENCODINGS:
        known = f"an encoding ({', '.join(ENCODINGS)})"
        raise ConfigError(explain(known, repr(name), suggest(name, ENCODINGS)))
    return ENCODINGS[name]
