"""Where a token stands: every position encoding as at most five hooks, usable with other people's attention.

Marks on tokens: `Learned`, `Multiplicative`, `Sinusoidal`, `Recurrent`, `Conditional`, `ComplexOrder`. Turns of
queries and keys: `Rotary`, `Axial`; shifts of them: `Floater`. Biases: `T5`, `ALiBi`, `KERPLE`, `FIRE`. Terms that
depend on the content: `Shaw`, `TransformerXL`, `XLNet`, `DeBERTa`, `CoPE`. None: `Unordered`. Below them the hooks, the
pure functions, attention as it is written (`place`, `attention`), with little memory (`toeplitz_attention`) and for
FlexAttention (`score_mod`). `check_encoding` proves what an encoding promises. May import nothing here but `_*` files.
"""

from pushforward.positions.absolute import Learned, Multiplicative, Sinusoidal, Unordered, sinusoids
from pushforward.positions.buckets import T5, signed_bucket, t5_bucket
from pushforward.positions.checking import check_encoding
from pushforward.positions.complex_order import ComplexOrder, complex_order
from pushforward.positions.conditional import Conditional
from pushforward.positions.coordinates import grid, packed, padded
from pushforward.positions.cope import CoPE
from pushforward.positions.deberta import DeBERTa
from pushforward.positions.decay import FIRE, KERPLE, ALiBi, alibi_slopes
from pushforward.positions.flex import ScoreMod, score_mod
from pushforward.positions.placed import Placed, attention, place
from pushforward.positions.position import (
    Biases,
    Embeds,
    Position,
    Properties,
    Rotates,
    Rotation,
    Scores,
    Toeplitz,
    Values,
)
from pushforward.positions.proof import Check, Proof
from pushforward.positions.recursive import Floater, Follows, Recurrent
from pushforward.positions.rotary import Axial, Rotary
from pushforward.positions.rotation import (
    Layout,
    Turn,
    convert_layout,
    frequencies,
    phases,
    rotate,
)
from pushforward.positions.shaw import Shaw
from pushforward.positions.toeplitz import diagonals, spread, toeplitz_attention
from pushforward.positions.transformer_xl import TransformerXL, XLNet

__all__ = [
    "ALiBi",
    "Axial",
    "Biases",
    "Check",
    "CoPE",
    "ComplexOrder",
    "Conditional",
    "DeBERTa",
    "Embeds",
    "FIRE",
    "Floater",
    "Follows",
    "KERPLE",
    "Layout",
    "Learned",
    "Multiplicative",
    "Placed",
    "Position",
    "Proof",
    "Properties",
    "Recurrent",
    "Rotary",
    "Rotates",
    "Rotation",
    "ScoreMod",
    "Scores",
    "Shaw",
    "Sinusoidal",
    "T5",
    "Toeplitz",
    "TransformerXL",
    "Turn",
    "Unordered",
    "Values",
    "XLNet",
    "alibi_slopes",
    "attention",
    "check_encoding",
    "complex_order",
    "convert_layout",
    "diagonals",
    "frequencies",
    "grid",
    "packed",
    "padded",
    "phases",
    "place",
    "rotate",
    "score_mod",
    "signed_bucket",
    "sinusoids",
    "spread",
    "t5_bucket",
    "toeplitz_attention",
]
