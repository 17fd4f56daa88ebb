"""`pushforward train`: learn from data.

Which model is one option, `--model`, and each family's own options stand in a group of its name. (Sub-commands were
tried: they hide half of the options behind a second --help and make the order of flags matter.) Options of a family
that was not chosen are an error, not silently ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import tyro
from tyro.conf import Positional, arg

import pushforward as pf
from pushforward import _config
from pushforward._errors import ConfigError, explain
from pushforward._recipe import KINDS, MLP, NICE, Diffusion, RealNVP, Recipe, Run, Settings, Transformer
from pushforward.cli.options import FLAT, Session, prepare
from pushforward.cli.runs import Remembered, announce, conclude, run_folder
from pushforward.cli.units import FILE, Reading, read_units, units_of

Family = Literal["transformer", "mlp", "nice", "real_nvp"]


@dataclass(frozen=True, slots=True)
class Train:
    """Learn from data; writes a run folder.

    Interrupted (Ctrl-C, a cluster's SIGTERM), it writes a checkpoint and leaves with status 75; the same command goes
    on to the same weights, bit for bit, as if nothing had happened.

    Examples:
      pushforward train digits                                   the digits that come with the package
      pushforward train my.csv --steps 5000                      a table: numbers under column names
      pushforward train photos/ --transformer.patch 8            a folder of images, one sub-folder per class
      pushforward train digits --model nice --steps 400          a normalizing flow
      pushforward train --config runs/digits/config.toml --lr 3e-4    a run again, with one thing changed
      torchrun --nproc-per-node 8 -m pushforward train photos/   on eight GPUs
    """

    data: Annotated[str, Positional, arg(metavar="DATA")]
    """A name (digits, moons, ...), a file (.csv .tsv .parquet .npy .npz, IDX) or a folder of images."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    """The run folder; by default runs/NAME. An interrupted run in it is continued."""
    model: Literal["auto", "transformer", "mlp", "nice", "real_nvp"] = "auto"
    """A diffusion model with a transformer or mlp inside, or a normalizing flow (nice, real_nvp). auto: a transformer
    for images, an mlp for everything else."""
    path: Literal["linear", "polynomial", "vp", "sub_vp", "cosine", "discrete", "ve", "edm"] = "linear"
    """From data to noise, for diffusion models: linear is flow matching, discrete is DDPM's chain, vp, sub_vp and ve
    are those of score matching, edm is Karras's."""
    prediction: Literal["velocity", "x0", "eps", "v", "score", "edm"] = "velocity"
    """What the network of a diffusion model says; any of them can be converted to any other."""
    conditional: bool = False
    """Learn each class apart, so that one can ask for a class when sampling."""
    reading: Annotated[Reading, FLAT] = Reading()
    transformer: Transformer = field(default_factory=Transformer)
    mlp: MLP = field(default_factory=MLP)
    nice: NICE = field(default_factory=NICE)
    real_nvp: RealNVP = field(default_factory=RealNVP)
    settings: Annotated[Settings, FLAT] = field(default_factory=Settings)
    session: Annotated[Session, FLAT] = Session()


FAMILIES: Final[dict[Family, type]] = {"transformer": Transformer, "mlp": MLP, "nice": NICE, "real_nvp": RealNVP}


def run(options: Train) -> None:
    """Open the data, build the model, train it, and say what to do next."""
    if options.model != "auto":
        recipe_of(options, "")  # what can be refused at once is refused before the data are read
    prepare(options.settings.device, options.settings.threads)
    ledger = pf.data.Ledger()
    data = options.reading.open(options.data, ledger)
    if options.conditional and not data.classes:
        fix = "Leave --conditional out, or put the images of each class in a sub-folder."
        raise ConfigError(explain("data with classes for --conditional", data.describe(), fix))
    seen = data if options.conditional else data.unlabelled()
    recipe, units = recipe_of(options, data.kind), units_of(data, options.data, options.reading, options.conditional)
    path = run_folder(options.out, data.name)
    model = started(recipe, seen, options.settings.seed)
    announce(data.describe(), model, spelled(recipe), options.settings, path)
    objectives = pf.objectives
    objective = objectives.Regression() if isinstance(recipe, Diffusion) else objectives.Likelihood()
    source = Remembered(seen, units, path, tuple(ledger.rows))
    history = pf.train(model, source, objective, settings=options.settings, run=path, recipe=recipe)
    conclude(history, path, units)


def started(recipe: Recipe, data: "pf.data.Dataset", seed: int) -> "pf.models.Model":
    """The untrained model: its weights a function of the seed, a flow's scales taken from data."""
    import torch

    from pushforward._random import Draw

    draw = Draw(seed, "start")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.key())
        model = pf.training.build(recipe, data.shape, data.classes)
    if isinstance(model, pf.NormalizingFlow):
        return pf.models.prepare(model, data.train_batch(draw, min(1024, len(data))))
    return model


def recipe_of(options: Train, kind: str) -> Recipe:
    """The model that the options describe, for data of this kind.

    Raises:
        ConfigError: options of a family that was not chosen.
    """
    chosen: Family = options.model if options.model != "auto" else "transformer" if kind == "image" else "mlp"
    flow = chosen in ("nice", "real_nvp")
    unused = [name for name, cls in FAMILIES.items() if name != chosen and getattr(options, name) != cls()]
    if unused:
        got = f"options --{unused[0]}.*, which it does not have"
        fix = f"Add --model {unused[0]} or drop them."
        raise ConfigError(explain(f"options of the model {chosen!r}", got, fix))
    if flow and (options.path != "linear" or options.prediction != "velocity"):
        got = f"--path {options.path} --prediction {options.prediction}"
        raise ConfigError(explain(f"no path and no prediction for the flow {chosen!r}", got, "Drop them."))
    if flow:
        return options.nice if chosen == "nice" else options.real_nvp
    return Diffusion(getattr(options, chosen), options.path, options.prediction)


def spelled(recipe: Recipe) -> str:
    """A recipe in a few words."""
    names = {cls: kind for kind, cls in KINDS.items()}
    if isinstance(recipe, Diffusion):
        return f"diffusion ({names[type(recipe.net)]}, {recipe.path} path, {recipe.prediction})"
    return names[type(recipe)]


def adopt(table: Mapping[str, Any], file: Path) -> Train:
    """The options that would train the run of this `config.toml` again."""
    run = _config.from_table(Run, table, KINDS)
    units = read_units(file.parent) if (file.parent / FILE).is_file() else None
    if run.model is None:
        fix = "Give its options on the command line."
        raise ConfigError(explain("a run whose model has a recipe", f"{str(file)!r}, built by hand", fix))
    diffusion = run.model if isinstance(run.model, Diffusion) else Diffusion()
    family = run.model.net if isinstance(run.model, Diffusion) else run.model
    name = next(name for name, cls in FAMILIES.items() if cls is type(family))
    chosen: dict[str, Any] = {"model": name, name: family}
    return Train(
        data=units.path if units else run.data or tyro.MISSING,
        path=diffusion.path,
        prediction=diffusion.prediction,
        conditional=run.classes > 0,
        reading=units.reading if units else Reading(),
        settings=run.settings,
        **chosen,
    )
