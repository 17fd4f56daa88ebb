"""What a field net is told besides x: the time, and a class or a vector, as one vector per sample.

    c = time(t) + class[context]      or      time(t) + W context      or      time(t)

Class index `classes` means "no class", and so does leaving the context out: for guidance one net learns both. The net
of a flow map (`two_times`) is also told how far to jump, and adds an embedding of it.
"""

from torch import Tensor, nn

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, Sample, Time
from pushforward.nets.time import FASTEST, TimeEmbedding


class Condition(nn.Module):
    """Time and context as one vector, [batch, width].

    Args:
        width: size of the vector.
        classes: number of classes context may name, 0 for none.
        context: length of a context vector instead, 0 for none.
        fastest: cycles of the fastest wave of the time (`time.py`).

    Raises:
        ConfigError: both classes and a context vector are asked for.
    """

    def __init__(self, width: int, classes: int = 0, context: int = 0, fastest: float = FASTEST) -> None:
        super().__init__()
        if classes and context:
            raise ConfigError(explain(
                "classes or a context vector", "both", "Append one-hot classes to the vector.",
            ))  # fmt: skip
        self.classes, self.length = classes, context
        self.time = TimeEmbedding(width, fastest=fastest)
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.vector = nn.Linear(context, width) if context else None
        self.leap: TimeEmbedding | None = None  # see `two_times`

    def forward(self, t: Time, context: Context, batch: int, leap: Time | None = None) -> Tensor:
        """One vector per sample.

        Args:
            t: times, [batch], or one time for all.
            context: class indices [batch], vectors [batch, context], or None.
            batch: how many samples.
            leap: t - s for a jump to time s, [batch]; None is 0, a velocity.

        Raises:
            ConfigError: a leap or a context for a net made without.
        """
        c = self._times(t, batch, leap)
        if self.label is not None:
            return c + self._label(self.label, context)
        if self.vector is not None:
            return c if context is None else c + self.vector(self._checked(context).to(c.dtype))
        if context is not None:
            raise ConfigError(explain(
                "no context for a net made without one", f"a context {list(context.shape)}",
                "Make the net with classes=... or leave the context out.",
            ))  # fmt: skip
        return c

    def _times(self, t: Time, batch: int, leap: Time | None) -> Tensor:
        c = self.time(t.expand(batch))
        if self.leap is not None:
            return c + self.leap((t.new_zeros(()) if leap is None else leap).expand(batch))
        if leap is not None:
            fix = "Make it one of a flow map: FlowMap.of(model), or nets.two_times(net)."
            raise ConfigError(explain("no leap for a net that is told one time", "one", fix))
        return c

    def _label(self, label: nn.Embedding, context: Context) -> Tensor:
        if context is None:
            return label.weight[self.classes]
        wanted = f"class indices [batch] from 0 to {self.classes - 1}, or {self.classes} for no class"
        if context.is_floating_point() or context.ndim != 1:
            raise ShapeError(explain(wanted, f"{context.dtype} {list(context.shape)}", "Pass an integer tensor."))
        try:
            return label(context)
        except IndexError:
            got = f"indices from {int(context.min())} to {int(context.max())}"
            raise ShapeError(explain(wanted, got, "Make the net with more classes.")) from None

    def _checked(self, context: Tensor) -> Tensor:
        if context.ndim != 2 or context.shape[1] != self.length:
            raise ShapeError(explain(
                f"context vectors [batch, {self.length}]", f"{list(context.shape)}",
                "Make the net with context=...",
            ))  # fmt: skip
        return context


def check_event(x: Sample, t: Time, shape: tuple[int, ...]) -> None:
    """Refuse a batch of events of another shape, or times that are not one per event."""
    if tuple(x.shape[1:]) != shape or not x.ndim:
        raise ShapeError(explain(
            f"events [batch, {', '.join(map(str, shape))}]", f"{list(x.shape)}",
            "Make the net with data.shape.",
        ))  # fmt: skip
    if t.ndim > 1 or (t.ndim and t.shape[0] not in (1, x.shape[0])):
        raise ShapeError(explain(
            f"times [batch] for {x.shape[0]} events", f"{list(t.shape)}", "Pass one time per event.",
        ))  # fmt: skip


def zero(layer: nn.Linear) -> nn.Linear:
    """The layer, with output 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
