"""Where a token stands: every position encoding as at most five hooks, usable with other people's attention.

Holds encodings (`Axial`, `CustomRotary`, `Learned`, `Mixed`, `Multimodal`, `Polar`, `ReRoPE`, `Rotary`, `Sinusoidal`,
`Unordered`, `XPos`), the hooks they are made of, how frequencies change for longer contexts (`Interpolation`, `NTK`,
`DynamicNTK`, `YaRN`, `Llama3`, `LongRoPE`, `Proportional`), and the pure functions below them (`rotate`, `sinusoids`,
`convert_layout`, and in place `rotate_`, `rerotate_`, `shift_`). May import nothing here but `_*` files.
"""

from pushforward.positions.absolute import Learned, Sinusoidal, Unordered, sinusoids
from pushforward.positions.arithmetic import Precision
from pushforward.positions.axes import Axial, Mixed, Multimodal
from pushforward.positions.cache import rerotate_, shift_
from pushforward.positions.coordinates import grid, illustrated, packed
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
from pushforward.positions.layout import Layout, convert_layout, detect_layout
from pushforward.positions.polar import Polar
from pushforward.positions.position import (
    Biases,
    Embeds,
    Position,
    Properties,
    Rotates,
    Rotation,
    Scores,
    Values,
)
from pushforward.positions.rerope import ReRoPE
from pushforward.positions.rotary import CustomRotary, Phased, Rotary
from pushforward.positions.rotation import Turn, frequencies, phases, rotate, rotate_
from pushforward.positions.spectrum import Spectrum
from pushforward.positions.xpos import XPos

__all__ = [
    "Axial",
    "Biases",
    "CustomRotary",
    "DynamicNTK",
    "Embeds",
    "Extension",
    "Interpolation",
    "Layout",
    "Learned",
    "Llama3",
    "LongRoPE",
    "Mixed",
    "Multimodal",
    "NTK",
    "Phased",
    "Plain",
    "Polar",
    "Position",
    "Precision",
    "Properties",
    "Proportional",
    "ReRoPE",
    "Rotary",
    "Rotates",
    "Rotation",
    "Scores",
    "Sinusoidal",
    "Spectrum",
    "Turn",
    "Unordered",
    "Values",
    "XPos",
    "YaRN",
    "convert_layout",
    "detect_layout",
    "frequencies",
    "grid",
    "illustrated",
    "packed",
    "phases",
    "rerotate_",
    "rotate",
    "rotate_",
    "shift_",
    "sinusoids",
]
