"""Recipes: what a run is made of, as values that need no torch.

A recipe says which model to build (`training.build` builds it) and how to train it (`Settings`). All are
frozen dataclasses of plain values, so they are compared, changed with `dataclasses.replace`, printed as
options of the command line and written to a run's `config.toml` before anything heavy is imported.

`KINDS` is the closed table of words a configuration may name a class by. Nothing is imported by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Final, Literal

from pushforward._config import suggest
from pushforward._errors import ConfigError, explain
from pushforward._flows import NICE, Circular, FlowPP, Glow, NSFCouplings, RealNVP, TarFlow
from pushforward._free_forms import (
    BNAF,
    FFJORD,
    IAF,
    MAF,
    NAF,
    NSF,
    SOS,
    UMNN,
    Bernstein,
    Gaussianization,
    Planar,
    Radial,
    ResidualFlow,
    Sylvester,
)

_WIDEST: Final = 0.288
"""Wider than any power-function average but the flat one."""

FORMAT_VERSION: Final = 1
"""The version of the layout of run folders and checkpoints that this library writes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train."""

    steps: int = 2_000
    """Updates of the weights."""
    batch: int = 256
    """Samples per update, over all processes together."""
    lr: float = 1e-3
    """The learning rate at its highest."""
    rates: tuple[tuple[str, float], ...] = ()
    """Factors on it for parameters of a name, or whose name ends in one: ("log_scale", 5.0)."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate goes on after the warm-up: down to 0 along a cosine, or constant."""
    warmup: int = 50
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """Decoupled weight decay of matrices; biases and gains never decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's memory of the gradient and of its square."""
    ema: float = 0.999
    """Memory of the averaged weights; 0 keeps the last weights instead."""
    profiles: tuple[float, ...] = ()
    """Also follow averages of these widths, shares of training, and keep them at every checkpoint: `pushforward ema`
    makes an average of any width of them afterwards. Usual are 0.05 and 0.1; none are followed by default."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 never clips."""
    accumulate: int = 1
    """Pieces that each batch is split in to save memory; the gradient stays the whole batch's."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the network: auto is bf16 on GPUs that have it, else fp32. A warning says where a processor
    would imitate bf16 or fp16."""
    recompute: bool = False
    """Compute what is inside the network's blocks again for the gradient instead of keeping it: the same bits in less
    memory and about a third more time."""
    compile: bool = False
    """Compile the network's blocks by torch.compile: slow to begin, faster from then on where kernels are small.
    Without a compiler it is left out with a warning."""
    seed: int = 0
    """Everything random is a function of the seed, the step and the sample."""
    on_nan: Literal["stop", "skip", "rollback"] = "stop"
    """At a loss or gradient that is not finite: stop before the update; skip this update; or roll back to the newest
    checkpoint and pass over the steps from it to the bad one. The last two at most ten times in a run."""
    log_every: int = 50
    """Steps from one line of metrics to the next."""
    checkpoint_every: int = 500
    """Steps from one checkpoint to the next; 0 writes one at the end alone."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto is a GPU where there is one."""
    threads: int | None = None
    """CPU threads; None leaves torch's own number."""
    shard: bool = False
    """Split weights and optimizer over the processes of torchrun (FSDP2) instead of copying them (DDP)."""

    def __post_init__(self) -> None:
        for name in ("steps", "warmup", "weight_decay", "clip", "checkpoint_every"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("batch", "accumulate", "log_every"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("lr", 0 < self.lr < float("inf"), "a positive number")
        self._require("rates", all(0 <= rate < float("inf") for _, rate in self.rates), "factors of 0 or more")
        self._require("ema", 0 <= self.ema < 1, "in [0, 1)")
        self._require("profiles", all(0 < std < _WIDEST for std in self.profiles), "widths above 0 and below 0.288")
        self._require("betas", all(0 <= beta < 1 for beta in self.betas), "two numbers in [0, 1)")
        self._require("threads", self.threads is None or self.threads >= 1, "1 or more")
        self._require("schedule", self.schedule in ("cosine", "constant"), "'cosine' or 'constant'")
        self._require("on_nan", self.on_nan in ("stop", "skip", "rollback"), "'stop', 'skip' or 'rollback'")
        self._require("precision", self.precision in ("auto", "fp32", "bf16", "fp16"), "auto, fp32, bf16 or fp16")

    def changed(self, **changes: object) -> "Settings":
        """These settings with some changed.

        >>> Settings(steps=100).changed(lr=1e-4).lr
        0.0001

        Raises:
            ConfigError: a setting that does not exist, or an impossible value.
        """
        known = [each.name for each in fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigError(explain("a training setting", repr(name), suggest(name, known)))
        return replace(self, **changes)  # pyright: ignore[reportArgumentType]

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            got = f"{name} = {getattr(self, name)!r}"
            raise ConfigError(explain(f"{name} to be {expected}", got, "Change the value."))


@dataclass(frozen=True, slots=True)
class Transformer:
    """A transformer over patches or tokens (`nets.Transformer`)."""

    width: int = 128
    """Features per token."""
    layers: int = 4
    """Blocks of attention and feed-forward."""
    heads: int = 4
    """Attention heads; they divide the width."""
    patch: int | None = None
    """Side of a patch of an image in pixels; None lets the network choose."""
    position: Literal[
        "axial", "rotary", "sinusoidal", "learned", "multiplicative", "conditional",
        "alibi", "kerple", "fire", "t5", "shaw", "transformer_xl", "deberta", "unordered",
    ] = "axial"  # fmt: skip
    """How tokens know where they stand."""
    fastest: float = 64.0
    """Cycles of the fastest wave that tells the time. Lower it, to 2 or 4, for the teacher of `distill --recipe
    continuous`, eulerian or mean-flow: they learn from the derivative in time, which fast waves drown."""


@dataclass(frozen=True, slots=True)
class MLP:
    """A residual multi-layer perceptron for small vectors (`nets.MLP`)."""

    hidden: int = 256
    """Features per layer."""
    layers: int = 4
    """Residual layers."""
    fastest: float = 64.0
    """Cycles of the fastest wave that tells the time. Lower it, to 2 or 4, for the teacher of `distill --recipe
    continuous`, eulerian or mean-flow: they learn from the derivative in time, which fast waves drown."""


@dataclass(frozen=True, slots=True)
class Diffusion:
    """Noise to data along a velocity field (`models.Diffusion`)."""

    net: Transformer | MLP = field(default_factory=Transformer)
    """The network."""
    path: Literal["linear", "polynomial", "vp", "sub_vp", "cosine", "discrete", "ve", "edm"] = "linear"
    """From data to noise."""
    prediction: Literal["velocity", "x0", "eps", "v", "score", "edm"] = "velocity"
    """What the network's output means."""
    dropped: float = 0.0
    """Share of the samples that learn without their class, for guidance (`objectives.Dropped`)."""
    source: int = 0
    """Rows of other data that samples start from, kept with the weights (`models.Rows`); 0 is noise."""


@dataclass(frozen=True, slots=True)
class FlowMap:
    """Jumps from noise to data (`models.FlowMap.of` the diffusion of the same words)."""

    net: Transformer | MLP = field(default_factory=Transformer)
    """The network, which is told two times."""
    path: Literal["linear", "polynomial", "vp", "sub_vp", "cosine", "discrete", "ve", "edm"] = "linear"
    """The path on which its output means something."""
    prediction: Literal["velocity", "x0", "eps", "v", "score", "edm"] = "velocity"
    """What the network's output means."""
    critic: bool = False
    """With a diffusion beside it that models its samples (`objectives.DistributionMatching`)."""
    jumps: int = 1
    """Network calls that a sample takes where nobody says."""
    renoise: float = 0.0
    """How much of each jump's noise is fresh, from 0 to 1: 1 is how consistency models make several jumps."""
    guidance: float = 1.0
    """How far its teacher was guided, which it does by itself; 1 is not at all."""
    source: int = 0
    """Rows of other data that samples start from, kept with the weights (`models.Rows`); 0 is noise."""


@dataclass(frozen=True, slots=True)
class Table:
    """A flow of the rows of a table, given any of their values (`models.AnyConditional`)."""

    flow: NSF | MAF = field(default_factory=NSF)
    """Its transforms; a spline follows an affine map here."""
    conditionals: float = 0.5
    """Share of the training spent on rows some of whose values are given; 0 leaves nothing that can be given."""

    def __post_init__(self) -> None:
        if self.flow.support is not None:
            got, fix = f"support = {self.flow.support}", "Bound columns instead: share=bounded:0:1."
            raise ConfigError(explain("a table's flow on the whole line", got, fix))


Coupled = NICE | RealNVP | NSFCouplings | FlowPP | Circular | Glow
"""Flows of couplings."""

FreeForm = BNAF | Planar | Radial | Sylvester | Gaussianization | ResidualFlow | FFJORD
"""Flows whose transforms are networks of their own kind."""

Recipe = Diffusion | FlowMap | Table | Coupled | FreeForm | TarFlow | MAF | IAF | NSF | NAF | UMNN | SOS | Bernstein
"""Which model to build."""

FLOWS: Final[Mapping[str, type]] = MappingProxyType(
    {
        "nice": NICE,
        "real_nvp": RealNVP,
        "nsf_couplings": NSFCouplings,
        "flowpp": FlowPP,
        "circular": Circular,
        "glow": Glow,
        "tarflow": TarFlow,
        "maf": MAF,
        "iaf": IAF,
        "nsf": NSF,
        "naf": NAF,
        "umnn": UMNN,
        "sos": SOS,
        "bernstein": Bernstein,
        "bnaf": BNAF,
        "planar": Planar,
        "radial": Radial,
        "sylvester": Sylvester,
        "gaussianization": Gaussianization,
        "residual_flow": ResidualFlow,
        "ffjord": FFJORD,
    }
)
"""The words of flows: `nsf` is the autoregressive one, as it has always been."""

KINDS: Final[Mapping[str, type]] = MappingProxyType(
    {"transformer": Transformer, "mlp": MLP, "diffusion": Diffusion, "flow_map": FlowMap, "table": Table, **FLOWS}
)
"""The closed table: the word of a configuration, and its class."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run folder's `config.toml` says.

    Args:
        settings: how it was trained.
        shape: the shape of one event.
        classes: how many classes its context distinguishes; 0 is none.
        data: the data set's name, for people and for `--data`'s default.
        objective: the objective, as it prints itself.
        model: how to build the model; None where it was built by hand.
        format_version: the version of the folder's layout.
        teacher: a digest of the weights of the networks that the objective asks.
        start: a digest of the weights of the model that this one was made of.
    """

    settings: Settings = field(default_factory=Settings)
    shape: tuple[int, ...] = ()
    classes: int = 0
    data: str = ""
    objective: str = ""
    model: Recipe | None = None
    format_version: int = FORMAT_VERSION
    teacher: str | None = None
    start: str | None = None
