"""Conditioners of published coupling flows: what makes the parameters of one half out of the other.

    ResidualDense    h = W_in [x, c];  h <- h + W_2 relu(W_1 relu(h))  per block;  W_out h         neural spline flows
    Convolutions     3 x 3 -> relu -> 1 x 1 -> relu -> 3 x 3 over the kept channels                  Glow

Both start with output 0, so a coupling starts as the identity. A vector context is appended to the input; over an
image as constant planes.

References:
    Durkan, Bekasov, Murray, Papamakarios 2019, arXiv 1906.04032 (residual blocks).
    He, Zhang, Ren, Sun 2016, arXiv 1603.05027 (their order).
    Kingma, Dhariwal 2018, arXiv 1807.03039 (the convolutions).
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from pushforward._errors import ShapeError, explain
from pushforward._typing import Context
from pushforward.nets.condition import zero
from pushforward.nets.sizes import check_sizes


class ResidualDense(nn.Module):
    """[batch, inputs] (and a context) to [batch, outputs], by residual blocks of constant width.

    Args:
        inputs, outputs: lengths of the vectors.
        hidden: width of the blocks.
        blocks: how many.
        context: length of a context vector, 0 for none.
        dropout: probability of dropping a unit within a block, in training.

    >>> ResidualDense(3, 4, hidden=8, blocks=1)(torch.randn(2, 3))
    tensor([[0., 0., 0., 0.],
            [0., 0., 0., 0.]], grad_fn=...)
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: int = 256, blocks: int = 2, context: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_sizes(hidden, dropout, context)
        self.context, self.dropout = context, dropout
        self.enter = nn.Linear(inputs + context, hidden)
        self.first = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        self.leave = zero(nn.Linear(hidden, outputs))

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """[batch, outputs] from [batch, inputs] and, if it was made with one, [batch, context]."""
        check_context(context, self.context)
        h = self.enter(x if context is None else torch.cat([x, context.to(x.dtype)], 1))
        for first, second in zip(self.first, self.second):
            h = h + second(dropout(relu(first(relu(h))), self.dropout, self.training))
        return self.leave(h)


class Convolutions(nn.Module):
    """The kept channels of an image, laid out flat, to `outputs` channels of the same height and width, flat again.

    The outputs of a coupling stand parameter by parameter: with size * changed of them, the first `changed` channels
    are the first parameter of each changed channel.

    Args:
        shape: (channels, height, width) of what it sees.
        outputs: channels of what it makes.
        hidden: channels between.
        context: length of a context vector, 0 for none.
    """

    def __init__(self, shape: tuple[int, int, int], outputs: int, hidden: int = 512, context: int = 0) -> None:
        super().__init__()
        check_sizes(hidden, context=context)
        self.shape, self.context = shape, context
        self.first = nn.Conv2d(shape[0] + context, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, hidden, 1)
        self.leave = nn.Conv2d(hidden, outputs, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(cast(Tensor, self.leave.bias))

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """[batch, outputs * height * width] from [batch, channels * height * width]."""
        check_context(context, self.context)
        image = x.reshape(len(x), *self.shape)
        if context is not None:
            planes = context.to(x.dtype)[:, :, None, None].expand(-1, -1, *self.shape[1:])
            image = torch.cat([image, planes], 1)
        return self.leave(relu(self.second(relu(self.first(image))))).flatten(1)


def check_context(context: Context, wanted: int) -> None:
    """Refuse a context that is not [batch, wanted]; any, if `wanted` is 0."""
    given = 0 if context is None else context.shape[-1] if context.ndim == 2 else -1
    if given != wanted:
        expected = f"a context [batch, {wanted}]" if wanted else "no context"
        got = "none" if context is None else f"one of shape {list(context.shape)}"
        fix = "Make the model with context=... or classes=..., or leave the context out (data.unlabelled())."
        raise ShapeError(explain(expected, got, fix))
