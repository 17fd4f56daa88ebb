"""Several processes, one global batch.

    torchrun --nproc-per-node 4 train.py

Every process computes its contiguous slice of the same global batch with the same noise (keyed by the
sample's index), so the loss curve does not depend on how many processes there are, but for rounding. Weights
are copied (DDP) or sharded (FSDP2); what is written to disk is whole tensors either way, so a run may be
resumed by another number of processes. All of them must see the run folder.

Here `local` is a tensor's part on this process, `whole` the tensor put together, `part` the way back. On one
process all three are the identity.
"""

import atexit
import inspect
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pushforward._errors import ConfigError, PushforwardError, TrainingError, explain
from pushforward.transforms import Transform

T = TypeVar("T")

_JOIN = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train together, and this one's place among them.

    Args:
        device: where this process computes.
        rank: its number.
        size: how many there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    def slice(self, batch: int) -> tuple[int, int]:
        """The samples of a global batch that are this process's: first and one past the last."""
        return batch * self.rank // self.size, batch * (self.rank + 1) // self.size

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def first(self, act: Callable[[], T]) -> T:
        """What `act` returns or raises on process 0, on every process."""
        if self.size == 1:
            return act()
        box: list[object] = [None, None]
        if self.rank == 0:
            try:
                box[0] = act()
            except (PushforwardError, OSError) as error:
                box[1] = error
        dist.broadcast_object_list(box)
        if isinstance(box[1], Exception):
            raise box[1]
        return box[0]  # pyright: ignore[reportReturnType]


def connect(device: str) -> World:
    """Join the processes that torchrun started, or find oneself alone.

    Joining gives up after 60 seconds: after a restart a missing peer is an error, not a wait without end.

    Args:
        device: the settings' device; "auto" is a GPU where there is one.
    """
    if not dist.is_available():
        return World(choose(device, 0))
    if not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        where = choose(device, int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=_JOIN)
        atexit.register(_leave)
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return World(choose(device, 0))
    where = choose(device, int(os.environ.get("LOCAL_RANK", dist.get_rank())))
    if where.type == "cuda":
        torch.cuda.set_device(where)
    return World(where, dist.get_rank(), dist.get_world_size())


def peer_lost(error: Exception) -> TrainingError | None:
    """What to say of an error by which torch tells that another process is gone; None of any other."""
    said = " ".join(str(error).split())
    if not isinstance(error, dist.DistError) and not any(
        word in said for word in ("Connection closed by peer", "gloo/")
    ):
        return None
    fix = "Start all of them again: they go on from the checkpoint, to the same bits."
    return TrainingError(explain("all processes to be there", f"one that is gone ({said[:200]})", fix))


def choose(device: str, number: int) -> torch.device:
    """The device of this name; a GPU without a number is GPU `number`.

    Raises:
        ConfigError: there is no such device.
    """
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        chosen = torch.device(name)
        if chosen.type == "cuda" and ":" not in name:
            chosen = torch.device("cuda", number)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        fix = "Use 'cpu', or 'auto' for whatever there is."
        raise ConfigError(explain("a device of this machine", f"{device!r} ({reason})", fix)) from error
    return chosen


def wrap(step: nn.Module, world: World, shard: bool) -> nn.Module:
    """The module whose backward pass adds up the gradients of all processes.

    Raises:
        ConfigError: sharding without several processes.
    """
    if shard:
        if world.size == 1:
            raise ConfigError(explain("several processes for shard", "one", "Start with torchrun, or drop shard."))
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh, alone = init_device_mesh(world.device.type, (world.size,)), set(scalars(step))
        for block in _blocks(step):
            fully_shard(block, mesh=mesh, ignored_params=alone)
        fully_shard(step, mesh=mesh, ignored_params=alone)
        return step
    if world.size == 1:
        return step
    replicas = nn.parallel.DistributedDataParallel
    known = inspect.signature(replicas).parameters
    synced = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # before torch 2.13
    options: dict[str, Any] = {synced: False, "gradient_as_bucket_view": True}
    return replicas(step, **options)


def scalars(module: nn.Module) -> list[nn.Parameter]:
    """The parameters without axes, which FSDP2 cannot split: every process keeps them whole."""
    return [p for p in module.parameters() if p.ndim == 0]


def _blocks(step: nn.Module) -> list[nn.Module]:
    """What is gathered at a time: the blocks of a network, inner ones first.

    FSDP2 gathers when a module is called, so a transform, which is asked to `encode`, belongs to what is around it;
    single layers do as well, whose weights are read by some.
    """
    lists = [each for each in step.modules() if isinstance(each, nn.ModuleList)]
    blocks = [block for each in lists for block in each if not isinstance(block, Transform) and any(block.children())]
    inside = [part for each in step.modules() if isinstance(each, Transform) for part in each.modules()]
    return [block for block in reversed(blocks) if block not in inside]


@contextmanager
def quietly(module: nn.Module) -> Generator[None]:
    """Within, backward passes keep their gradient to themselves (all but the last piece of a batch)."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        with module.no_sync():
            yield
    elif hasattr(module, "set_requires_gradient_sync"):
        module.set_requires_gradient_sync(False)  # pyright: ignore[reportCallIssue]
        try:
            yield
        finally:
            module.set_requires_gradient_sync(True)  # pyright: ignore[reportCallIssue]
    else:
        yield


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that lies on this process."""
    if type(tensor) in (Tensor, nn.Parameter):
        return tensor.detach()
    to_local = getattr(tensor.detach(), "to_local", None)
    return tensor.detach() if to_local is None else to_local()


def whole(piece: Tensor, like: Tensor) -> Tensor:
    """A tensor laid out like `like`, put together from every process's piece; a collective call."""
    if not hasattr(like, "device_mesh"):
        return piece
    from torch.distributed.tensor import DTensor

    mesh, placements = like.device_mesh, like.placements  # pyright: ignore[reportAttributeAccessIssue]
    return DTensor.from_local(
        piece, mesh, placements, run_check=False, shape=like.shape, stride=like.stride()
    ).full_tensor()


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's piece of a whole tensor laid out like `like`."""
    if not hasattr(like, "device_mesh"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = like.device_mesh, like.placements  # pyright: ignore[reportAttributeAccessIssue]
    return distribute_tensor(tensor.to(mesh.device_type), mesh, placements, src_data_rank=None).to_local()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
