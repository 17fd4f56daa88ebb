"""One of the processes of `test_distributed`: `python worker.py FOLDER RANK SIZE`."""

import json
import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from pushforward._errors import PushforwardError
from pushforward.models import FlowMap
from pushforward.nets import MLP, two_times
from pushforward.objectives import few_steps
from pushforward.training import Settings, train
from training.stand_in import Circle, Straight, flow_matching

SETTINGS = Settings(
    steps=12, batch=10, device="cpu", threads=1, log_every=1, checkpoint_every=5, warmup=2, accumulate=2
)


def outcome(folder: Path | None, data: Circle | None = None, mean_flow: bool = False, **changes: object) -> dict:
    """The losses and the weights of a run, or its error."""
    model, objective = (jumping(), few_steps.mean_flow()) if mean_flow else (Straight(), flow_matching)
    try:
        history = train(model, data or Circle(), objective, settings=SETTINGS, run=folder, progress=False, **changes)
    except PushforwardError as error:
        return {"error": str(error)}
    assert all(type(p) is torch.nn.Parameter for p in model.parameters())
    return {"losses": history.losses, "weights": [p.tolist() for p in model.parameters()]}


def jumping() -> FlowMap:
    """A small flow map, the same in every process."""
    torch.manual_seed(0)
    net = two_times(MLP((2,), hidden=16, layers=2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return FlowMap(net)


def resumed(finished: Path, folder: Path, **changes: object) -> dict:
    """A copy of a finished run without its newest checkpoint, begun again."""
    if dist.get_rank() == 0:
        shutil.copytree(finished, folder)
        shutil.rmtree(folder / "checkpoints/step-00000012")
    dist.barrier()
    return outcome(folder, **changes)


def main(folder: Path, rank: int, size: int) -> None:
    """Join the others, train in every way, write down what came of it."""
    rendezvous = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", rendezvous, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    found = {
        "copied": outcome(folder / "copied"),
        "sharded": outcome(folder / "sharded", shard=True),
        "resumed": resumed(folder / "copied", folder / "resumed"),
        "resumed sharded": resumed(folder / "sharded", folder / "resumed-sharded", shard=True),
        "mean flow": outcome(None, mean_flow=True),
        "mean flow sharded": outcome(None, mean_flow=True, shard=True),
        "recomputed": outcome(None, recompute=True),
        "recomputed sharded": outcome(None, recompute=True, shard=True),
        "poisoned": outcome(None, Circle(poison=3)),
    }
    (folder / f"rank-{rank}.json").write_text(json.dumps(found))
    dist.barrier()  # nobody leaves while another still listens
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)  # gloo's threads may outlive the group on a busy machine, and then abort an ordinary exit
