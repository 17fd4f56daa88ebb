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
from pushforward.training import Settings, train
from training.stand_in import Circle, Straight, flow_matching

SETTINGS = Settings(
    steps=12, batch=10, device="cpu", threads=1, log_every=1, checkpoint_every=5, warmup=2, accumulate=2
)


def outcome(folder: Path | None, data: Circle | None = None, **changes: object) -> dict:
    """The losses and the weights of a run, or its error."""
    model = Straight()
    try:
        history = train(
            model, data or Circle(), flow_matching, settings=SETTINGS, run=folder, progress=False, **changes
        )
    except PushforwardError as error:
        return {"error": str(error)}
    assert all(type(p) is torch.nn.Parameter for p in model.parameters())
    return {"losses": history.losses, "weights": [p.tolist() for p in model.parameters()]}


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
        "poisoned": outcome(None, Circle(poison=3)),
    }
    (folder / f"rank-{rank}.json").write_text(json.dumps(found))
    dist.barrier()  # nobody leaves while another still listens
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)  # gloo's threads may outlive the group on a busy machine, and then abort an ordinary exit
