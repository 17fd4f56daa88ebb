"""The door: other people's networks in, our models out, and models as folders to share.

`adopt` makes a `Diffusion` of a network in one of the `CONVENTIONS` of the field, `to_convention` a network of
theirs of one of our models. `save_folder` and `load_folder` write and read a model as the hubs keep them.
`rotary_from` reads the positions of a language model from its configuration, `load_roformer` a RoFormer with all that
belongs to it, and `save_roformer` writes one as `transformers` reads it. `adopt_flow` makes a `NormalizingFlow` of one
of zuko, nflows or normflows; `to_pyro` gives a flow's distribution to Pyro. `from_pickle` reads weights from an old
pickle, if one says so. Quirks of others live here and nowhere else. Imports training and what lies below it.
"""

from pushforward.interop.adopt import adopt, from_scheduler, to_convention
from pushforward.interop.clock import Affine, Clock, NoiseLevel, Steps
from pushforward.interop.convention import CONVENTIONS, Call, Convention
from pushforward.interop.folder import load_folder, save_folder
from pushforward.interop.peer_flows import adopt_flow
from pushforward.interop.pickles import from_pickle
from pushforward.interop.pyro import to_pyro
from pushforward.interop.roformer import load_roformer, roformer_config, save_roformer
from pushforward.interop.rope import rotary_from

__all__ = [
    "Affine", "CONVENTIONS", "Call", "Clock", "Convention", "NoiseLevel", "Steps", "adopt", "adopt_flow",
    "from_pickle", "from_scheduler", "load_folder", "load_roformer", "roformer_config", "rotary_from", "save_folder",
    "save_roformer", "to_convention", "to_pyro",
]  # fmt: skip
