"""Where a token stands: every position encoding as at most five hooks, usable with other people's attention.

May import nothing of the library but its `_*` files.
"""

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
from pushforward.positions.rotation import convert_layout, frequencies, phases, rotate

__all__ = [
    "Axial",
    "Biases",
    "Embeds",
    "Position",
    "Properties",
    "Rotary",
    "Rotates",
    "Rotation",
    "Scores",
    "Values",
    "convert_layout",
    "frequencies",
    "phases",
    "rotate",
]
