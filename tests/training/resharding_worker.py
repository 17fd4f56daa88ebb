"""One of the processes of `test_resharding`: `python resharding_worker.py FOLDER RANK SIZE`."""

import json
import os
import shutil
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from pushforward._recipe import MLP, Diffusion, RealNVP, Recipe, Settings, Transformer
from pushforward.data.batch import Batch
from pushforward.objectives import Likelihood, Regression
from pushforward.training import build, train

SETTINGS = Settings(
    steps=12, batch=10, device="cpu", threads=1, log_every=1, checkpoint_every=5, warmup=2, accumulate=2
)
KINDS: dict[str, Recipe] = {
    "mlp": Diffusion(MLP(8, 2)),
    "fire": Diffusion(Transformer(width=8, layers=2, heads=2, position="fire")),  # it has scalar parameters
    "real_nvp": RealNVP(couplings=2, hidden=8, layers=1),  # it is asked to encode, not called
}


class Noise:
    """Small images of noise in three classes."""

    shape, classes, name = (1, 4, 4), 3, "noise"

    def batches(self, size, draw, start=0, rank=0, world=1):
        low, high = size * rank // world, size * (rank + 1) // world
        while True:
            step = replace(draw, step=start, first=low)
            yield Batch(step.of("x").normal(high - low, self.shape), step.of("class").integers(high - low, 3))
            start += 1


def outcome(kind: str, folder: Path, **changes: object) -> dict:
    """The losses and the weights of a run."""
    recipe = KINDS[kind]
    torch.manual_seed(0)
    model = build(recipe, Noise.shape, Noise.classes)
    objective = Regression() if isinstance(recipe, Diffusion) else Likelihood()
    history = train(model, Noise(), objective, settings=SETTINGS, run=folder, progress=False, **changes)
    return {"losses": history.losses, "weights": [p.tolist() for p in model.parameters()]}


def begun(finished: Path, folder: Path) -> Path:
    """A copy of a finished run without its newest checkpoint."""
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "checkpoints/step-00000012")
    return folder


def main(folder: Path, rank: int, size: int) -> None:
    """Join the others, train, take up again, and take up what one process began."""
    rendezvous = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", rendezvous, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    found = {}
    for kind in KINDS:
        found[kind] = outcome(kind, folder / kind, shard=True)
        if rank == 0:
            begun(folder / kind, folder / f"{kind} resumed")
        dist.barrier()
        found[f"{kind} resumed"] = outcome(kind, folder / f"{kind} resumed", shard=True)
        found[f"{kind} of one"] = outcome(kind, folder / f"{kind} of one", shard=True)
    (folder / f"rank-{rank}.json").write_text(json.dumps(found))
    dist.barrier()  # nobody leaves while another still listens
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)  # gloo's threads may outlive the group on a busy machine, and then abort an ordinary exit
