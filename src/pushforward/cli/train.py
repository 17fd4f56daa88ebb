"""`pushforward train`: learn from data.

Which model is one option, `--model`, and each family's own options stand in a group of its name. (Sub-commands were
tried: they hide half of the options behind a second --help and make the order of flags matter.) Options of a family
that was not chosen are an error, not silently ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tyro
from tyro.conf import Positional, arg

import pushforward as pf
from pushforward import _config
from pushforward import _recipe as recipes
from pushforward._errors import ConfigError, explain
from pushforward._recipe import FLOWS, KINDS, Diffusion, FlowMap, Recipe, Run, Settings, Table
from pushforward.cli.families import FAMILIES, NETS, Family, built, objective_of, spelled, started
from pushforward.cli.options import FLAT, Session, prepare
from pushforward.cli.runs import Remembered, announce, conclude, run_folder, trained
from pushforward.cli.search import search
from pushforward.cli.sources import kept
from pushforward.cli.steering import Steering
from pushforward.cli.tables import is_table, learned, open_mixed, units_of_table
from pushforward.cli.units import FILE, Reading, read_units, units_of


@dataclass(frozen=True, slots=True)
class Train:
    """Learn from data; writes a run folder.

    Interrupted (Ctrl-C, a cluster's SIGTERM), it writes a checkpoint and leaves with status 75; the same command goes
    on to the same weights, bit for bit, as if nothing had happened.

    Examples:
      pushforward train digits                                   the digits that come with the package
      pushforward train my.csv --steps 5000                      a table: numbers under column names
      pushforward train my.csv --model nsf                       a table of anything: words, whole numbers, holes
      pushforward train my.csv --model nsf --kinds hour=circular:24 share=bounded:0:1    ... with known bounds
      pushforward train photos/ --transformer.patch 8            a folder of images, one sub-folder per class
      pushforward train digits --model nice --steps 400          a normalizing flow
      pushforward train digits --conditional --drop-labels 0.1   classes, and guidance towards them
      pushforward train new.csv --source old.csv                 from data to data: rows of one become rows of the other
      pushforward train digits --flow-map                        a model that jumps: sampled in one network call
      pushforward train --config runs/digits/config.toml --lr 3e-4    a run again, with one thing changed
      pushforward train photos/ --find lr                        which learning rate; --find batch: which batch size
      pushforward train photos/ --recompute --compile            less memory for activations; compiled blocks
      pushforward train photos/ --track tensorboard              metrics to a tracker too; see also pushforward watch
      torchrun --nproc-per-node 8 -m pushforward train photos/   on eight GPUs
    """

    data: Annotated[str, Positional, arg(metavar="DATA")]
    """A name (digits, moons, ...), a file (.csv .tsv .parquet .npy .npz .tar, IDX), or a folder of images or shards."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    """The run folder; by default runs/NAME. An interrupted run in it is continued."""
    model: Annotated[Family, arg(metavar="NAME")] = "auto"
    """auto: a diffusion model with a transformer inside for images, with an mlp for everything else.
    Diffusion models: transformer, mlp.
    Flows of couplings: nice, real_nvp, nsf_couplings (splines), flowpp, circular (angles), glow (images).
    Flows by autoregression: maf, iaf, nsf (splines), naf, umnn, sos, bernstein, bnaf, tarflow (transformers).
    Other flows: planar, radial, sylvester, gaussianization, residual_flow, ffjord (trained as a flow).
    Each has options of its own: pushforward train --model glow --help.
    On tables, nsf and maf learn columns of every kind, missing values, and every conditional; the others want numbers
    in every cell."""
    path: Literal["linear", "polynomial", "vp", "sub_vp", "cosine", "discrete", "ve", "edm"] = "linear"
    """From data to noise, for diffusion models: linear is flow matching, discrete is DDPM's chain, vp, sub_vp and ve
    are those of score matching, edm is Karras's."""
    prediction: Literal["velocity", "x0", "eps", "v", "score", "edm"] = "velocity"
    """What the network of a diffusion model says; any of them can be converted to any other."""
    flow_map: bool = False
    """Learn jumps instead of a velocity, by MeanFlow: a sample is then one network call, or a few. Steps take longer,
    and `pushforward distill` makes one of a run that was trained without it."""
    source: Annotated[str | None, arg(metavar="DATA")] = None
    """Start from rows of these data in place of noise, for diffusion models on the linear path; of the same columns or
    size, and read the same way. `sample --source` then carries rows over, `reflow` straightens their ways."""
    conditional: bool = False
    """Learn each class apart, so that one can ask for a class when sampling."""
    drop_labels: float = 0.0
    """With --conditional: the share of samples that learn without their class. It is what `sample --guidance` needs to
    push samples further towards a class; 0.1 is usual."""
    reading: Annotated[Reading, FLAT] = Reading()
    transformer: recipes.Transformer = recipes.Transformer()
    mlp: recipes.MLP = recipes.MLP()
    nice: recipes.NICE = recipes.NICE()
    real_nvp: recipes.RealNVP = recipes.RealNVP()
    nsf_couplings: recipes.NSFCouplings = recipes.NSFCouplings()
    flowpp: recipes.FlowPP = recipes.FlowPP()
    circular: recipes.Circular = recipes.Circular()
    glow: recipes.Glow = recipes.Glow()
    tarflow: recipes.TarFlow = recipes.TarFlow()
    maf: recipes.MAF = recipes.MAF()
    iaf: recipes.IAF = recipes.IAF()
    nsf: recipes.NSF = recipes.NSF()
    naf: recipes.NAF = recipes.NAF()
    umnn: recipes.UMNN = recipes.UMNN()
    sos: recipes.SOS = recipes.SOS()
    bernstein: recipes.Bernstein = recipes.Bernstein()
    bnaf: recipes.BNAF = recipes.BNAF()
    planar: recipes.Planar = recipes.Planar()
    radial: recipes.Radial = recipes.Radial()
    sylvester: recipes.Sylvester = recipes.Sylvester()
    gaussianization: recipes.Gaussianization = recipes.Gaussianization()
    residual_flow: recipes.ResidualFlow = recipes.ResidualFlow()
    ffjord: recipes.FFJORD = recipes.FFJORD()
    conditionals: float = 0.5
    """Share of the training of a table's flow spent on rows some of whose values are given, for `sample --given`."""
    find: Literal["lr", "batch"] | None = None
    """Search for a learning rate or a batch size in place of training; it takes seconds and writes nothing."""
    settings: Annotated[Settings, FLAT] = Settings()
    steering: Annotated[Steering, FLAT] = Steering()
    session: Annotated[Session, FLAT] = Session()


def run(options: Train) -> None:
    """Open the data, build the model, train it, and say what to do next."""
    if options.model != "auto":
        recipe_of(options, "")  # what can be refused at once is refused before the data are read
    prepare(options.settings.device, options.settings.threads)
    if options.model in ("maf", "nsf") and is_table(options.data):
        return _train_table(options)
    _refuse_table_options(options)
    ledger = pf.data.Ledger()
    data = options.reading.open(options.data, ledger)
    if options.conditional and not data.classes:
        fix = "Leave --conditional out, or put the images of each class in a sub-folder."
        raise ConfigError(explain("data with classes for --conditional", data.describe(), fix))
    if options.drop_labels and not options.conditional:
        fix = "Add --conditional, or leave --drop-labels out."
        raise ConfigError(explain("--drop-labels with --conditional", "it alone", fix))
    seen = data if options.conditional else data.unlabelled()
    recipe, units = recipe_of(options, data.kind), units_of(data, options.data, options.reading, options.conditional)
    name, rows = data.name, None
    if options.source is not None:
        units, rows, skipped = kept(options.source, data, units, options.settings.seed)
        ledger.rows.extend(skipped)
        recipe = replace(cast(Diffusion | FlowMap, recipe), source=len(rows.rows))
        name = f"{name}-from-{Path(options.source).stem}"
    path = run_folder(options.out, name)
    model = started(recipe, seen, options.settings.seed, rows)
    objective = objective_of(recipe, data.classes)
    if options.find is not None:
        return search(options.find, model, seen, objective, options.settings)
    about = data.describe() if rows is None else f"{data.describe()}\nfrom {len(rows.rows):,} rows of {options.source}"
    announce(about, model, spelled(recipe), options.settings, path)
    source = Remembered(seen, units, path, skipped=tuple(ledger.rows))
    facts: dict[str, Any] = {"recipe": recipe, "start": rows, **options.steering.arguments()}
    return conclude(trained(model, source, objective, options.settings, **facts), path, units)


def _train_table(options: Train) -> None:
    """The same for a table whose columns hold anything."""
    from pushforward.training.table_file import require_columns, write_columns

    if options.conditional:
        fix = "Leave it out: any column can be given, by `sample --given`."
        raise ConfigError(explain("no --conditional for a table's flow", "--conditional", fix))
    if not 0 <= options.conditionals <= 1:
        raise ConfigError(explain("--conditionals from 0 to 1", f"{options.conditionals}", "0.5 is usual."))
    table = open_mixed(options.data, options.reading)
    recipe = Table(options.nsf if options.model == "nsf" else options.maf, options.conditionals)
    path, units = run_folder(options.out, table.name), units_of_table(table, options.data, options.reading)
    model = built(recipe, (len(table.kinds),), 0, options.settings.seed)
    rows, columns = learned(table, model, recipe, options.settings.seed)
    objective = pf.objectives.Likelihood()
    if options.find is not None:
        return search(options.find, model, rows, objective, options.settings)
    require_columns(columns, path)
    announce(table.describe(), model, spelled(recipe), options.settings, path)
    source = Remembered(rows, units, path, lambda run: write_columns(columns, run))
    facts: dict[str, Any] = {"recipe": recipe, **options.steering.arguments()}
    return conclude(trained(model, source, objective, options.settings, **facts), path, units)


def _refuse_table_options(options: Train) -> None:
    """What only a flow of a table takes."""
    given = ["--kinds"] * bool(options.reading.kinds) + ["--conditionals"] * (options.conditionals != 0.5)
    if given:
        expected = f"{given[0]} with --model nsf or maf on a .csv, .tsv or .parquet file"
        got = f"{given[0]} with --model {options.model} on {options.data!r}"
        raise ConfigError(explain(expected, got, "Add --model nsf or drop it."))


def recipe_of(options: Train, kind: str) -> Recipe:
    """The model that the options describe, for data of this kind.

    Raises:
        ConfigError: options of a family that was not chosen.
    """
    chosen = options.model if options.model != "auto" else "transformer" if kind == "image" else "mlp"
    flow = chosen in FLOWS
    unused = [name for name, cls in FAMILIES.items() if name != chosen and getattr(options, name) != cls()]
    if unused:
        got = f"options --{unused[0].replace('_', '-')}.*, which it does not have"
        fix = f"Add --model {unused[0]} or drop them."
        raise ConfigError(explain(f"options of the model {chosen!r}", got, fix))
    if flow and (options.path != "linear" or options.prediction != "velocity"):
        got = f"--path {options.path} --prediction {options.prediction}"
        raise ConfigError(explain(f"no path and no prediction for the flow {chosen!r}", got, "Drop them."))
    if flow and options.flow_map:
        fix = "Drop it: a normalizing flow takes one pass as it is."
        raise ConfigError(explain(f"no --flow-map for the flow {chosen!r}", "--flow-map", fix))
    if options.source is not None and (flow or (options.path, options.prediction) != ("linear", "velocity")):
        got = f"--model {chosen}" if flow else f"--path {options.path} --prediction {options.prediction}"
        fix = "Leave --model, --path and --prediction out."
        raise ConfigError(explain("a diffusion model's velocity on the linear path, for --source", got, fix))
    if options.drop_labels and (flow or options.flow_map):
        got = "--flow-map" if options.flow_map else f"--model {chosen}"
        fix = "Drop --drop-labels; for guided jumps, distil a diffusion model: pushforward distill RUN --guidance 2."
        raise ConfigError(explain("--drop-labels with a diffusion model, which can be guided", got, fix))
    if flow:
        return getattr(options, chosen)
    net = getattr(options, chosen)
    words = options.path, options.prediction
    return FlowMap(net, *words) if options.flow_map else Diffusion(net, *words, options.drop_labels)


def shown(words: Sequence[str], default: "Train | None") -> tuple[type, "Train | None"]:
    """The options that `--help` explains, and their defaults: of families the one that was chosen, or both networks."""
    said = [after for word, after in zip(words, [*words[1:], ""]) if word == "--model"]
    said += [word.partition("=")[2] for word in words if word.startswith("--model=")]
    chosen = said[-1] if said else default.model if default else "auto"
    hidden = [name for name in FAMILIES if name != chosen and (chosen in FAMILIES or name not in NETS)]
    cls = make_dataclass(
        "Train",
        [(name, Annotated[FAMILIES[name], tyro.conf.Suppress], FAMILIES[name]()) for name in hidden],
        bases=(Train,), frozen=True, namespace={"__doc__": Train.__doc__},
    )  # fmt: skip
    return cls, cls(**{each.name: getattr(default, each.name) for each in fields(default)}) if default else None


def adopt(table: Mapping[str, Any], file: Path) -> Train:
    """The options that would train the run of this `config.toml` again."""
    run = _config.from_table(Run, table, KINDS)
    units = read_units(file.parent) if (file.parent / FILE).is_file() else None
    if run.model is None:
        fix = "Give its options on the command line."
        raise ConfigError(explain("a run whose model has a recipe", f"{str(file)!r}, built by hand", fix))
    diffusion = run.model if isinstance(run.model, Diffusion | FlowMap) else Diffusion()
    inner = run.model.net if isinstance(run.model, Diffusion | FlowMap) else run.model
    family = inner.flow if isinstance(inner, Table) else inner
    name = next(name for name, cls in FAMILIES.items() if cls is type(family))
    chosen: dict[str, Any] = {"model": name, name: family}
    return Train(
        data=units.path if units else run.data or tyro.MISSING,
        path=diffusion.path,
        prediction=diffusion.prediction,
        flow_map=isinstance(run.model, FlowMap),
        conditional=run.classes > 0,
        source=units.source or None if units else None,
        drop_labels=run.model.dropped if isinstance(run.model, Diffusion) else 0.0,
        conditionals=run.model.conditionals if isinstance(run.model, Table) else 0.5,
        reading=units.reading if units else Reading(),
        settings=run.settings,
        **chosen,
    )
