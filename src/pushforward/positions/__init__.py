"""Where a token stands: every position encoding as at most five hooks, usable with other people's attention.

Marks on tokens: `Learned`, `Multiplicative`, `Sinusoidal`, `Recurrent`, `Conditional`, `ComplexOrder`. Turns of
queries and keys: `Rotary`, `CustomRotary`, `Axial`, `Multimodal`, `Mixed`, `XPos`, `Polar`, `ReRoPE`, and how their
frequencies change for longer contexts (`Interpolation`, `NTK`, `DynamicNTK`, `YaRN`, `Llama3`, `LongRoPE`,
`Proportional`); shifts of them: `Floater`. Biases: `T5`, `ALiBi`, `KERPLE`, `FIRE`. Terms that depend on the content:
`Shaw`, `TransformerXL`, `XLNet`, `DeBERTa`, `CoPE`. None: `Unordered`. Below them the hooks, pure functions
(`rotate`, `sinusoids`, `convert_layout`, and in place `rotate_`, `rerotate_`, `shift_`), attention as it is written
(`place`, `attention`), with little memory (`toeplitz_attention`) and for FlexAttention (`score_mod`).
`check_encoding` proves what an encoding promises. May import nothing here but `_*` files.
"""

from pushforward.positions.absolute import Learned, Multiplicative, Sinusoidal, Unordered, sinusoids
from pushforward.positions.arithmetic import Precision
from pushforward.positions.axes import Axial, Mixed, Multimodal
from pushforward.positions.buckets import T5, signed_bucket, t5_bucket
from pushforward.positions.cache import rerotate_, shift_
from pushforward.positions.checking import check_encoding
from pushforward.positions.complex_order import ComplexOrder, complex_order
from pushforward.positions.conditional import Conditional
from pushforward.positions.coordinates import grid, illustrated, packed, padded
from pushforward.positions.cope import CoPE
from pushforward.positions.deberta import DeBERTa
from pushforward.positions.decay import FIRE, KERPLE, ALiBi, alibi_slopes
from pushforward.positions.extension import (
    NTK,
    DynamicNTK,
    Extension,
    Interpolation,
    Llama3,
    LongRoPE,
    Plain,
    Proportional,
    YaRN,
)
from pushforward.positions.flex import ScoreMod, score_mod
from pushforward.positions.layout import Layout, convert_layout, detect_layout
from pushforward.positions.placed import Placed, attention, place
from pushforward.positions.polar import Polar
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
from pushforward.positions.rerope import ReRoPE
from pushforward.positions.rotary import CustomRotary, Phased, Rotary
from pushforward.positions.rotation import Turn, frequencies, phases, rotate, rotate_
from pushforward.positions.shaw import Shaw
from pushforward.positions.spectrum import Spectrum
from pushforward.positions.toeplitz import diagonals, spread, toeplitz_attention
from pushforward.positions.transformer_xl import TransformerXL, XLNet
from pushforward.positions.xpos import XPos

__all__ = [
    "ALiBi", "Axial", "Biases", "Check", "CoPE", "ComplexOrder", "Conditional", "CustomRotary", "DeBERTa",
    "DynamicNTK", "Embeds", "Extension", "FIRE", "Floater", "Follows", "Interpolation", "KERPLE", "Layout",
    "Learned", "Llama3", "LongRoPE", "Mixed", "Multimodal", "Multiplicative", "NTK", "Phased", "Placed", "Plain",
    "Polar", "Position", "Precision", "Proof", "Properties", "Proportional", "ReRoPE", "Recurrent", "Rotary",
    "Rotates", "Rotation", "ScoreMod", "Scores", "Shaw", "Sinusoidal", "Spectrum", "T5", "Toeplitz",
    "TransformerXL", "Turn", "Unordered", "Values", "XLNet", "XPos", "YaRN", "alibi_slopes", "attention",
    "check_encoding", "complex_order", "convert_layout", "detect_layout", "diagonals", "frequencies", "grid",
    "illustrated", "packed", "padded", "phases", "place", "rerotate_", "rotate", "rotate_", "score_mod", "shift_",
    "signed_bucket", "sinusoids", "spread", "t5_bucket", "toeplitz_attention",
]  # fmt: skip
