"""The room that trains: one loop, and everything that keeps its work safe.

`train` trains a model in place and returns its `History`; with a run folder it checkpoints, resumes to the bit and
leaves a folder that `load` turns back into a model. `build` makes a model from a recipe. `FlowDensity` is a flow over a
table with scikit-learn's words. `language_model` makes a small language model with one of the `ENCODINGS`, and
`train_language` trains it. `Settings`, the recipes (of flows: `FLOWS`) and `Run` are values without torch. One file
per idea: `schedule`, `average`, `profiles` and `averages` (of any width), `optimizer`, `precision`, `blocks`
(recomputed, compiled), `memory`, `guard` (what is not finite), `debugging`, `tracking`, `finding` (a learning rate, a
batch size), `engine` (one update), `distributed`, `weights`, `files`, `checkpoint`, `saving`, `stream`, `lock`,
`run_folder`, `run` (into folders and out of them), `environment`, `signals`, `progress`, `journal`, `loop`, `train`,
`rows`, `estimator`, `shards` (many events in many files), `stored_pairs`, `encodings`, `language`. May import
objectives, models and what stands below them.
"""

from pushforward._recipe import (
    BNAF,
    FFJORD,
    FLOWS,
    IAF,
    KINDS,
    MAF,
    MLP,
    NAF,
    NICE,
    NSF,
    SOS,
    UMNN,
    Bernstein,
    Circular,
    Diffusion,
    FlowPP,
    Gaussianization,
    Glow,
    NSFCouplings,
    Planar,
    Radial,
    RealNVP,
    Recipe,
    ResidualFlow,
    Run,
    Settings,
    Sylvester,
    Table,
    TarFlow,
    Transformer,
)
from pushforward.training.averages import averaged
from pushforward.training.build import build
from pushforward.training.encodings import ENCODINGS, Sizes
from pushforward.training.engine import Objective
from pushforward.training.estimator import FlowDensity
from pushforward.training.finding import BatchSearch, RateSearch, find_batch, find_lr
from pushforward.training.journal import History
from pushforward.training.language import language_model, train_language
from pushforward.training.run import load, read_run, save_run
from pushforward.training.shards import Shards, fingerprint
from pushforward.training.signals import Interrupted
from pushforward.training.stored_pairs import StoredPairs, store_pairs, store_real_pairs
from pushforward.training.stream import Data
from pushforward.training.tracking import Tracker
from pushforward.training.train import train

__all__ = [
    "BNAF", "BatchSearch", "Bernstein", "Circular", "Data", "Diffusion", "ENCODINGS", "FFJORD", "FLOWS",
    "FlowDensity", "FlowPP", "Gaussianization", "Glow", "History", "IAF", "Interrupted", "KINDS", "MAF", "MLP",
    "NAF", "NICE", "NSF", "NSFCouplings", "Objective", "Planar", "Radial", "RateSearch", "RealNVP", "Recipe",
    "ResidualFlow", "Run", "SOS", "Settings", "Shards", "Sizes", "StoredPairs", "Sylvester", "Table", "TarFlow",
    "Tracker", "Transformer", "UMNN", "averaged", "build", "find_batch", "find_lr", "fingerprint", "language_model",
    "load", "read_run", "save_run", "store_pairs", "store_real_pairs", "train", "train_language",
]  # fmt: skip
