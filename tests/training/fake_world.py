"""One process that believes it is one of 64: `python fake_world.py RANK OUT all|few`.

Collective calls are made and move nothing.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from laws.zoo_recipes import FLOWS, UNLABELLED
from pushforward._recipe import MLP, Diffusion, Recipe, ResidualFlow, Settings, Transformer
from pushforward.data.batch import Batch
from pushforward.objectives import Likelihood, Redrawn, Regression
from pushforward.training import build, engine, train

WORLD = 64
SMALL = Transformer(width=8, layers=1, heads=2)
POSITIONS = get_args(Transformer.__annotations__["position"])
RECIPES: dict[str, Recipe] = {
    "mlp": Diffusion(MLP(8, 1)),
    **FLOWS,
    **{name: Diffusion(replace(SMALL, position=name)) for name in POSITIONS},
}
FEW = ["mlp", "real_nvp", "fire"]
SETTINGS = {
    "plain": {},
    "accumulate": {"accumulate": 2},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "no average, no clip": {"ema": 0.0, "clip": 0.0},
    "constant, decay": {"schedule": "constant", "weight_decay": 0.1},
}
BASE = Settings(steps=2, batch=128, warmup=0, device="cpu", threads=1, log_every=1, checkpoint_every=1)


class Classes:
    """Small images of noise in three classes, or none."""

    shape, name = (1, 4, 4), "noise"

    def __init__(self, classes):
        self.classes = classes

    def batches(self, size, draw, start=0, rank=0, world=1):
        assert (rank, world) == (dist.get_rank(), WORLD)
        low, high = size * rank // world, size * (rank + 1) // world
        while True:
            step = replace(draw, step=start, first=low)
            labels = step.of("class").integers(high - low, self.classes) if self.classes else None
            yield Batch(step.of("x").normal(high - low, self.shape).clamp(-3, 3), labels)
            start += 1


def answered(wrap):
    """DDP as it is, but for its sums: the fake group's work holds no result, which DDP's own reduction asks for."""

    def hooked(step, world, shard):
        module = wrap(step, world, shard)
        if isinstance(module, torch.nn.parallel.DistributedDataParallel):
            module.register_comm_hook(None, _as_it_is)
        return module

    return hooked


def _as_it_is(_: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    future = torch.futures.Future[torch.Tensor]()
    future.set_result(bucket.buffer())
    return future


def outcome(recipe: Recipe, folder: Path | None, **changes: object) -> str:
    """What came of one configuration: "" if it trained."""
    classes = 0 if recipe in [FLOWS[name] for name in UNLABELLED] else 3
    model = build(recipe, (1, 4, 4), classes)
    objective = {Diffusion: Regression(), ResidualFlow: Redrawn(Likelihood())}.get(type(recipe), Likelihood())
    try:
        history = train(
            model, Classes(classes), objective, settings=BASE, run=folder, progress=False, recipe=recipe, **changes
        )
        assert len(history.losses) == 2
        # the weights of 63 others never came; one's own are whole and finite
        assert all(type(p) is torch.nn.Parameter for p in model.parameters())
        assert all(p.isfinite().all() for p in model.parameters())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main(rank: int, out: Path, names: list[str]) -> None:
    """These recipes and every setting, copied and sharded."""
    dist.init_process_group("fake", rank=rank, world_size=WORLD, store=FakeStore())
    engine.wrap = answered(engine.wrap)
    found = {}
    runs = {name: (RECIPES[name], {}) for name in names} | {
        name: (Diffusion(SMALL), changes) for name, changes in SETTINGS.items()
    }
    for shard in (False, True):
        for name, (recipe, changes) in runs.items():
            folder = out / f"run-{name}-{shard}" if rank == 0 else None
            found[f"{name}, shard={shard}"] = outcome(recipe, folder, shard=shard, **changes)
    (out / f"fake-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), list(RECIPES) if sys.argv[3] == "all" else FEW)
    os._exit(0)
