"""A causal network that attends to some numbers of each event and leaves the others as they are.

    told = [known values | known? | asked?]       three numbers for each number of the event, the flags 0 or 1
    m_i(x, told) = asked_i net_i(asked * x, told)

Parameters 0 are the identity, so numbers that are not asked for pass a flow unchanged, add nothing to its ladj and are
seen by nobody: what is left is a flow of the asked numbers alone, whichever they are, exactly.

References: Li, Akbar, Oliva 2020, arXiv 1909.06319 (flows conditioned on arbitrary parts of an event).
"""

import torch
from torch import Tensor, nn

from pushforward._typing import Context
from pushforward.nets.masked import MaskedDense, Walk


class Selective(nn.Module):
    """`MaskedDense` for the numbers that its context asks for; of a monotone map that is the identity at 0.

    Args:
        net: the network, with a context of three times its features.
    """

    order: Tensor

    def __init__(self, net: MaskedDense) -> None:
        super().__init__()
        self.net, self.sizes = net, net.sizes
        self.register_buffer("order", net.order.clone())

    def placed(self, x: Tensor, context: Context = None) -> Tensor:
        """Parameters [batch, n, k] in the order of their places, 0 for what is not asked."""
        asked = self._asked(context, x)
        return self.net.placed(x * asked, context) * asked.unsqueeze(2)

    def walk(self, n: int, context: Context = None) -> Walk:
        """The parameters of each level in turn, as `MaskedDense.walk`."""
        inner = self.net.walk(n, context)
        params = next(inner)
        parts = self._asked(context, params).split(self.sizes, 1)
        for level, asked in enumerate(parts):
            x = yield params * asked.unsqueeze(2)
            if level + 1 < len(parts):
                params = inner.send(x * asked)

    def _asked(self, context: Context, like: Tensor) -> Tensor:
        told = torch.empty(0, 0) if context is None else context
        return told[:, -len(self.order) :].index_select(1, self.order).to(like)
