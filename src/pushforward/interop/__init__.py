"""The door: other people's networks in, our models out, and models as folders to share.

`adopt` makes a `Diffusion` of a network in one of the `CONVENTIONS` of the field, `to_convention` a network of theirs
of one of our models. `save_folder` and `load_folder` write and read a model as the hubs keep them. `rotary_from` reads
the positions of a language model from its configuration, `load_roformer` a RoFormer with all that belongs to it, and
`save_roformer` writes one as `transformers` reads it. `adopt_flow` makes a `NormalizingFlow` of one of zuko, nflows or
normflows; `to_pyro` gives a flow's distribution to Pyro. `from_pickle` reads weights from an old pickle, if one says
so. `declared` says what a checkpoint's configuration means by its positions, `findings` what is wrong there,
`score_errors` how exact they are, and `losses_by_layout` tells layouts apart. Quirks of others live here and nowhere
else. Imports training and what lies below it.
"""

from pushforward.interop.adopt import adopt, from_scheduler, to_convention
from pushforward.interop.clock import Affine, Clock, NoiseLevel, Steps
from pushforward.interop.convention import CONVENTIONS, Call, Convention
from pushforward.interop.declared import Declared, declared
from pushforward.interop.defects import Finding, findings, stored
from pushforward.interop.folder import load_folder, save_folder
from pushforward.interop.invariance import score_errors
from pushforward.interop.layouts import losses_by_layout
from pushforward.interop.peer_flows import adopt_flow
from pushforward.interop.pickles import from_pickle
from pushforward.interop.pyro import to_pyro
from pushforward.interop.roformer import load_roformer, roformer_config, save_roformer
from pushforward.interop.rope import rotary_from

__all__ = [
    "Affine", "CONVENTIONS", "Call", "Clock", "Convention", "Declared", "Finding", "NoiseLevel", "Steps", "adopt",
    "adopt_flow", "declared", "findings", "from_pickle", "from_scheduler", "load_folder", "load_roformer",
    "losses_by_layout", "roformer_config", "rotary_from", "save_folder", "save_roformer", "score_errors", "stored",
    "to_convention", "to_pyro",
]  # fmt: skip
