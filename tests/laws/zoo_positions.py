"""Every position encoding, as a constructor from (tokens, width of a token), for `HEADS` heads.

Clips, buckets and tables are so short that few tokens reach beyond them.
"""

from collections.abc import Callable

from pushforward import solvers
from pushforward.positions import (
    FIRE,
    KERPLE,
    T5,
    ALiBi,
    Axial,
    ComplexOrder,
    Conditional,
    CoPE,
    DeBERTa,
    Floater,
    Learned,
    Multiplicative,
    Position,
    Recurrent,
    Rotary,
    Shaw,
    Sinusoidal,
    TransformerXL,
    Unordered,
    XLNet,
)

HEADS = 4

POSITIONS: dict[str, Callable[[int, int], Position]] = {
    "alibi": lambda tokens, width: ALiBi(HEADS),
    "axial": lambda tokens, width: Axial(),
    "axial-3d": lambda tokens, width: Axial(axes=3),
    "axial-half": lambda tokens, width: Axial(layout="half"),
    "complex-order": lambda tokens, width: ComplexOrder(width),
    "conditional": lambda tokens, width: Conditional(width),
    "conditional-causal": lambda tokens, width: Conditional(width, kernel=4, causal=True),
    "conditional-image": lambda tokens, width: Conditional(width, columns=3),
    "cope": lambda tokens, width: CoPE(width // HEADS, tokens=3),
    "deberta": lambda tokens, width: DeBERTa(HEADS, width // HEADS, farthest=3),
    "deberta-buckets": lambda tokens, width: DeBERTa(HEADS, width // HEADS, farthest=9, buckets=4, normalise=True),
    "fire": lambda tokens, width: FIRE(HEADS, hidden=8, threshold=1.0),
    "floater": lambda tokens, width: Floater(HEADS, width // HEADS, solvers.Euler(steps=1), hidden=8),
    "kerple-log": lambda tokens, width: KERPLE(HEADS),
    "kerple-power": lambda tokens, width: KERPLE(HEADS, "power"),
    "learned": lambda tokens, width: Learned(tokens, width, std=1.0),
    "learned-hierarchy": lambda tokens, width: Learned(5, width, std=1.0, hierarchy=0.4),
    "multiplicative": lambda tokens, width: Multiplicative(tokens, width),
    "recurrent": lambda tokens, width: Recurrent(width),
    "rotary": lambda tokens, width: Rotary(),
    "rotary-half": lambda tokens, width: Rotary(layout="half"),
    "rotary-partial": lambda tokens, width: Rotary(fraction=0.5),
    "shaw": lambda tokens, width: Shaw(width // HEADS, clip=2),
    "sinusoidal": lambda tokens, width: Sinusoidal(),
    "sinusoidal-half": lambda tokens, width: Sinusoidal(layout="half"),
    "t5": lambda tokens, width: T5(HEADS, buckets=8, farthest=6),
    "t5-causal": lambda tokens, width: T5(HEADS, buckets=8, farthest=6, causal=True, scale=1.0),
    "transformer-xl": lambda tokens, width: TransformerXL(HEADS, width // HEADS),
    "transformer-xl-clamp": lambda tokens, width: TransformerXL(HEADS, width // HEADS, clamp=2),
    "unordered": lambda tokens, width: Unordered(),
    "xlnet": lambda tokens, width: XLNet(HEADS, width // HEADS),
}
