"""One update: gradient of the whole batch, a look at it, the optimizer, the average.

    loss = sum_i objective(model, batch, draw)_i / batch            over all processes and pieces
    g    = d loss / d w,   scaled down to norm `clip` if it is longer

Everything a step does is a function of its number: the batch, the noise, and what torch's default generator
gives to dropout, which is reseeded from the step's draw. Dropout therefore repeats exactly, given equal
numbers of processes and pieces.
"""

import copy
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pushforward._errors import ShapeError, TrainingError, explain
from pushforward._random import Draw
from pushforward._recipe import Settings
from pushforward.data.batch import Batch
from pushforward.training.average import blend
from pushforward.training.averages import Averages, named
from pushforward.training.blocks import Rerouted, can_compile
from pushforward.training.checkpoint import Checkpoint
from pushforward.training.distributed import World, local, part, quietly, whole, wrap
from pushforward.training.guard import Guard, NotFinite, Samples, diagnose
from pushforward.training.optimizer import AdamW, gradients, norm
from pushforward.training.precision import LossScale, caster, resolve
from pushforward.training.schedule import rate
from pushforward.training.weights import fitting, put_weights, up_to_date, weights

Objective = Callable[[Any, Batch, Draw], Tensor]
"""Per-sample losses, [batch], of a model on a batch, with all its noise from the draw."""


class _Step(nn.Module):
    """The objective as a module's forward pass, which is what DDP and FSDP2 need to see."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self._objective = (objective,)  # in a tuple: an objective's own networks are not trained

    def forward(self, batch: Batch, draw: Draw) -> Tensor:
        return self._objective[0](self.model, batch, draw)


class Engine:
    """A model in training.

    Args:
        model: trained in place.
        objective: its per-sample losses.
        settings: how.
        world: this process's place.
    """

    def __init__(self, model: nn.Module, objective: Objective, settings: Settings, world: World) -> None:
        self._settings, self._world = settings, world
        self._target = model.to(world.device)
        self._model = copy.deepcopy(model) if settings.shard else model
        self._model.train()
        compiles = settings.compile and can_compile(world.device)
        self._blocks = Rerouted(self._model, settings.recompute, compiles)
        step = _Step(self._model, objective)
        self._call = wrap(step, world, settings.shard) if world.size > 1 or settings.shard else step.forward
        self._named = {name: p for name, p in self._model.named_parameters() if p.requires_grad}
        if not self._named:
            raise TrainingError(explain("a model with weights to train", "none", "Set requires_grad."))
        self._parameters = list(self._named.values())
        self._scalars = [p for p in self._parameters if p.ndim == 0]
        self._fixed = [] if settings.shard else [p.detach() for p in self._parameters]
        self._optimizer = AdamW(self._named, settings)
        self._average = [local(p).clone() for p in self._parameters] if settings.ema else []
        self._profiles = Averages(settings.profiles, [local(p) for p in self._parameters])
        dtype = resolve(settings, world.device)
        self._cast = caster(dtype, world.device)
        self._scale = LossScale(world.device) if dtype is torch.float16 else None
        self._share: Tensor | None = None
        self._guard = Guard(world.device, skip=settings.on_nan == "skip")
        self._draw = Draw(settings.seed, "train", device=str(world.device))
        self._dropout = Draw(settings.seed, "dropout")
        self._generator = _default_generator(world.device)

    def advance(
        self, step: int, batch: Batch, stop: bool = False, lr: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor | bool]:
        """One update.

        Args:
            step: its number, counted from 0.
            batch: this process's samples.
            stop: this process wants to stop after it.
            lr: a learning rate in place of the schedule's.

        Returns:
            The loss and the gradient's norm before clipping, scalars, and whether any process wants to stop.

        Raises:
            NotFinite: the update was withheld.
        """
        loss, stops = self._backward(step, batch, stop)
        length = self._norm()
        skip, divisor = self._verdict(step, loss, length)
        if self._settings.clip:
            bound = (length / self._settings.clip).clamp_(min=1.0)
            divisor = bound if divisor is None else divisor * bound
        self._optimizer.update(rate(step, self._settings) if lr is None else lr, divisor, skip)
        for parameter in self._parameters:
            parameter.grad = None
        if self._average:
            blend(self._average, self._locals(), step, self._settings.ema)
        if self._settings.profiles:
            self._profiles.follow(self._locals(), step)
        return loss, length, stops

    @property
    def model(self) -> nn.Module:
        """The model that was handed in."""
        return self._target

    def settled(self) -> None:
        """Make sure that no update so far was withheld.

        Raises:
            NotFinite: with the first that was.
        """
        self._guard.settled()

    def skipped(self) -> list[int]:
        """The steps whose update was left out since this was asked last, as far as they are known."""
        return self._guard.taken()

    def explain(self, error: NotFinite, batch: Batch, debug: bool = False, names: Sequence[str] = ()) -> TrainingError:
        """Run a withheld step again and say where it went wrong; the debugger opens there if asked.

        Args:
            error: which step.
            batch: its samples.
            debug: open the debugger.
            names: what the samples' rows are called, if that is known.
        """
        first, _ = self._world.slice(self._settings.batch)
        whole_batch = batch.to(str(self._world.device))

        def losses() -> Tensor:
            return self._losses(error.step, 0, whole_batch, first)

        samples = Samples(first, tuple(names))
        return diagnose(error.step, self._model, whole_batch, losses, not self._settings.shard, debug, samples)

    def checkpoint(self, step: int, state: Mapping[str, Any], config: Mapping[str, Any]) -> Checkpoint:
        """Everything, as whole tensors; a collective call."""
        scale = {"loss_scale": self._scale.state()} if self._scale else {}
        average = {name: whole(tensor, like) for (name, like), tensor in zip(self._named.items(), self._average)}
        optim, profiles = self._optimizer.tensors(), self._kept()
        return Checkpoint(step, weights(self._model), average, optim, {**state, **scale}, config, profiles)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint.

        Raises:
            RunError: it is another model's.
        """
        self._guard.reset()
        for parameter in self._parameters:
            parameter.grad = None
        put_weights(self._model, checkpoint.model)
        optim, ema, profiles = (
            up_to_date(self._model, each) for each in (checkpoint.optim, checkpoint.ema, checkpoint.profiles)
        )
        self._optimizer.restore(optim)
        for (name, like), tensor in zip(self._named.items(), self._average):
            tensor.copy_(part(fitting(ema, name, like), like))
        for std, tensors in self._profiles.tensors.items():
            for (name, like), tensor in zip(self._named.items(), tensors):
                tensor.copy_(part(fitting(profiles, named(std, name), like), like))
        if self._scale and "loss_scale" in checkpoint.state:
            self._scale.restore(checkpoint.state["loss_scale"])

    def finish(self) -> None:
        """Put the averaged weights into the model that was handed in, ready to sample; a collective call."""
        average = {name: whole(tensor, like) for (name, like), tensor in zip(self._named.items(), self._average)}
        if average or self._target is not self._model:
            put_weights(self._target, {**weights(self._model), **average})
        self._target.eval()

    def judge(self, judge: Callable[[Any], float]) -> float:
        """What a judge says of the averaged weights; training goes on as if not asked. A collective call."""
        held = {name: tensor.clone() for name, tensor in weights(self._target).items()}
        average = {name: whole(tensor, like) for (name, like), tensor in zip(self._named.items(), self._average)}
        put_weights(self._target, {**weights(self._model), **average})
        self._target.eval()
        try:
            with torch.no_grad():
                return float(judge(self._target))
        finally:
            put_weights(self._target, held)
            self._model.train()

    def _kept(self) -> dict[str, Tensor]:
        """The averages of all widths as whole tensors; a collective call."""
        return {
            named(std, name): whole(tensor, like)
            for std, tensors in self._profiles.tensors.items()
            for (name, like), tensor in zip(self._named.items(), tensors)
        }

    def _backward(self, step: int, batch: Batch, stop: bool) -> tuple[Tensor, Tensor | bool]:
        settings, world = self._settings, self._world
        first, _ = world.slice(settings.batch)
        pieces = list(_pieces(batch, settings.accumulate)) if settings.accumulate > 1 else [(0, batch)]
        total = None
        for number, (offset, piece) in enumerate(pieces):
            final = number == len(pieces) - 1
            with nullcontext() if final or not isinstance(self._call, nn.Module) else quietly(self._call):
                losses = self._losses(step, number, piece, first + offset)
                share = self._shares(losses)
                losses.backward(share if self._scale is None else share * self._scale.value)
            loss = torch.dot(losses.detach(), share)
            total = loss if total is None else total + loss
        assert total is not None
        if world.size == 1:
            return total, stop
        both = world.total(torch.stack([total.float() / world.size, torch.full_like(total, stop).float()]))
        return both[0], both[1]

    def _shares(self, losses: Tensor) -> Tensor:
        """What each loss counts: 1/batch, times the processes, since they average their gradients."""
        if self._share is None or len(self._share) != len(losses) or self._share.dtype != losses.dtype:
            self._share = torch.full_like(losses, self._world.size / self._settings.batch)
        return self._share

    def _losses(self, step: int, number: int, piece: Batch, first: int) -> Tensor:
        """Per-sample losses of samples `first`.. of the global batch, float32 or wider."""
        seed = self._dropout.at(step).key(self._world.rank * self._settings.accumulate + number)
        self._generator.manual_seed(seed)
        with self._cast(), self._blocks.here():
            losses = self._call(piece, self._draw.at(step, first))
        if losses.ndim != 1 or len(losses) != len(piece):
            got = f"shape {tuple(losses.shape)} for {len(piece)} samples"
            raise ShapeError(explain("one loss per sample", got, "Let the objective return [batch] losses."))
        return losses.float() if losses.dtype.itemsize < 4 else losses

    def _norm(self) -> Tensor:
        if not self._settings.shard:
            found = norm(gradients(self._parameters))
        else:
            for p in self._scalars:
                if p.grad is not None:
                    self._world.total(p.grad).div_(self._world.size)
            sharded, alone = norm(gradients([p for p in self._parameters if p.ndim])), norm(gradients(self._scalars))
            found = (self._world.total(sharded.square()) + alone.to(sharded.device).square()).sqrt()
        return found if self._scale is None else found / self._scale.value

    def _verdict(self, step: int, loss: Tensor, norm: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Whether to skip this update, and what to divide the gradient by before clipping."""
        if self._scale is None:
            return self._guard.judge(step, loss, norm), None
        overflowed, divisor = self._scale.overflowed(norm), self._scale.value
        skip = self._guard.judge(step, loss, torch.where(overflowed > 0, 0.0, norm))
        self._scale.adapt(overflowed)
        return overflowed if skip is None else torch.maximum(skip, overflowed), divisor

    def _locals(self) -> list[Tensor]:
        """The weights on this process; FSDP2 may move them, otherwise they stay where they are."""
        return self._fixed or [local(p) for p in self._parameters]


@contextmanager
def borrowed_randomness(device: torch.device) -> Generator[None]:
    """Within, torch's default generators may be reseeded; afterwards they go on as if nothing had been."""
    generators = [torch.default_generator]
    if device.type != "cpu":
        generators.append(_default_generator(device))
    states = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states):
            generator.set_state(state)


def _default_generator(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        torch.cuda.init()
        return torch.cuda.default_generators[device.index or 0]
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    return torch.default_generator


def _pieces(batch: Batch, count: int) -> Iterator[tuple[int, Batch]]:
    """The batch in `count` pieces as equal as can be, each with the index of its first sample."""

    def cut(tensor: Tensor | None, low: int, high: int) -> Tensor | None:
        return None if tensor is None else tensor[low:high]

    n = len(batch)
    for i in range(min(count, n)):
        low, high = n * i // min(count, n), n * (i + 1) // min(count, n)
        yield low, Batch(batch.x[low:high], cut(batch.context, low, high), cut(batch.eps, low, high))
