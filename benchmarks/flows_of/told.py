"""A network of ours within somebody else's flow."""

from torch import Tensor, nn


class Told(nn.Module):
    """A network that ignores the context nflows hands it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The network of x."""
        return self.net(x)
