"""Work in shares: `--shard I/N` makes some of the files of a folder, the same command without it makes the rest.

    samples       FOLDER/part-*      of `sample -o FOLDER`: samples in the data's units, and their classes
    likelihoods   RUN/likelihoods/*  of `evaluate --shard`: what each held-out event adds to the bits

What a file holds is a function of its index and of the plan, so it has the same bytes whoever makes it: on machines of
one kind. The folders are `training.Shards`.
"""

from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pushforward as pf
from pushforward._errors import ConfigError, explain
from pushforward.cli.guiding import guided, said
from pushforward.cli.output import SUFFIXES, write_samples
from pushforward.cli.units import Units

if TYPE_CHECKING:
    import torch

    from pushforward.cli.evaluate import Evaluate
    from pushforward.cli.sample import Sample
    from pushforward.report.bits import Measured
    from pushforward.training import Shards


_EVENTS = 256


def parts_folder(out: Path | None, shard: str | None) -> Path | None:
    """The folder of parts that samples go to: `out` if it names a folder, or the one it lies in.

    Raises:
        ConfigError: a share without a folder, or of a file.
    """
    if out is not None and out.suffix.lower() not in SUFFIXES and (out.is_dir() or not out.suffix):
        return out
    if shard is not None:
        fix = "Give all shares the same folder: -o many."
        raise ConfigError(explain("-o FOLDER with --shard", f"-o {out}" if out else "no -o", fix))
    return out.parent if out is not None and (out.parent / "plan.json").is_file() else None


def sample_parts(options: "Sample", folder: Path, units: Units, device: "torch.device") -> None:
    """Make what is missing of a share of the samples, and a file of them all if asked."""
    solver, seed = options.solve.build(options.run), options.machine.seed
    labels, worker = units.classes(options.count(), options.first, options.label), _share(options.shard)
    model = guided(pf.load(options.run, device=str(device)), options.run, options.guidance)
    plan = {"samples": units.name, "first": options.first, "label": options.label} | said(options.guidance)
    shards = pf.training.Shards.begin(folder, options.count(), options.batch, plan | _made_by(model, solver, seed))

    def make(first: int, count: int) -> "dict[str, torch.Tensor]":
        given = None if labels is None else labels[first : first + count]
        context = None if given is None else given.to(device)
        values = units.values(model.sample(count, context, solver, seed, options.first + first))
        return {"samples": values} if given is None else {"samples": values, "labels": given}

    shards.fill(make, *worker, progress="samples")
    if options.shard is not None:
        return told(shards, worker, "samples")
    if options.out is None or options.out == folder:
        return print(f"{options.count():,} samples of {units.name} in {len(shards):,} files in {folder}")
    found = gathered(shards)
    write_samples(options.out, found["samples"], units, found.get("labels"))
    return print(f"{options.count():,} samples of {units.name} in {options.out}")


def likelihood_parts(
    model: "pf.models.Model", data: "pf.data.Dataset", arguments: dict[str, Any], options: "Evaluate"
) -> "Measured | None":
    """What held-out events add to the bits, of a share or of all; None where nobody has begun to share."""
    from pushforward.report.bits import Measured, measured

    solver, n = arguments["solver"], arguments["n"]
    plan = {"data": data.describe(), "draws": options.draws, "held_out": pf.training.fingerprint({"": data.held_out})}
    plan |= _made_by(model, solver, options.machine.seed)
    folder = options.run / "likelihoods" / sha256(dumps([n, plan]).encode()).hexdigest()[:12]
    if options.shard is None and not folder.exists():
        return None

    def make(first: int, count: int) -> "dict[str, torch.Tensor]":
        here: dict[str, Any] = {**arguments, "first": first, "n": count}
        found = measured(model, data, **here)
        return {"log_prob": found.log_prob.T, "error": found.error, "solver_error": found.solver_error}

    shards, worker = pf.training.Shards.begin(folder, n, _EVENTS, plan), _share(options.shard)
    shards.fill(make, *worker, progress="likelihoods")
    if options.shard is not None:
        told(shards, worker, "likelihoods")
        return None
    one: dict[str, Any] = {**arguments, "n": 1}
    found, words = gathered(shards), measured(model, data, **one).coarser
    return Measured(found["log_prob"].T, found["error"], found["solver_error"], words)


def told(shards: "Shards", share: tuple[int, int], what: str) -> None:
    """Say what a share made and what is next."""
    worker, workers = share
    done = len(range(worker, len(shards), workers))
    print(f"{what}: {done:,} of {len(shards):,} files in {shards.folder}; when all are there, the same without a share")


def gathered(shards: "Shards") -> "dict[str, torch.Tensor]":
    """All events of a complete folder."""
    import numpy as np
    import torch

    parts = list(shards.views())
    return {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}


def _share(shard: str | None) -> tuple[int, int]:
    from pushforward.training.shards import share

    return (0, 1) if shard is None else share(shard)


def _made_by(model: "pf.models.Model", solver: "pf.solvers.Solver", seed: int) -> dict[str, Any]:
    return {"weights": pf.training.fingerprint(model.state_dict()), "solver": repr(solver), "seed": seed}
