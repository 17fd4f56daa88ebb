"""Where a token stands: every position encoding as at most five hooks, usable with other people's attention.

Holds encodings (`Axial`, `Learned`, `Rotary`, `Sinusoidal`, `Unordered`), the hooks they are made of, and the
pure functions below them (`rotate`, `sinusoids`, `convert_layout`). May import nothing here but `_*` files.
"""

from pushforward.positions.absolute import Learned, Sinusoidal, Unordered, sinusoids
from pushforward.positions.coordinates import grid, packed
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
from pushforward.positions.rotary import Axial, Rotary
from pushforward.positions.rotation import (
    Layout,
    Turn,
    convert_layout,
    frequencies,
    phases,
    rotate,
)

__all__ = [
    "Axial",
    "Biases",
    "Embeds",
    "Layout",
    "Learned",
    "Position",
    "Properties",
    "Rotary",
    "Rotates",
    "Rotation",
    "Scores",
    "Sinusoidal",
    "Turn",
    "Unordered",
    "Values",
    "convert_layout",
    "frequencies",
    "grid",
    "packed",
    "phases",
    "rotate",
    "sinusoids",
]
