"""What travels from a data set to an objective: one immutable batch."""

from dataclasses import dataclass

from torch import Tensor

from pushforward._typing import Context, Sample


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some events, and what belongs to them.

    Args:
        x: the events in the model's units, [batch, *event].
        context: what each event is conditioned on, [batch, *context], or None.
        eps: the noise each event is paired with, [batch, *event], or None where the coupling is free.
    """

    x: Sample
    context: Context = None
    eps: Sample | None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: str) -> "Batch":
        """The same batch on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return Batch(self.x.to(device, non_blocking=True), move(self.context), move(self.eps))
