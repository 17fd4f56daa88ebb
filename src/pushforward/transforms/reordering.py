"""Numbers in another order and back, along the batch, in graphs of `torch.compile`.

Where an index may stand twice, the gradient of what is taken is added to zeros, one number after another. In an order
none does: whole rows are copied to their places, and the gradient takes them from there.
"""

import torch
from torch import Tensor


def reordered(rows: Tensor, order: Tensor) -> Tensor:
    """Rows [n, batch] in an order.

    >>> rows, order = torch.tensor([[5], [6], [7]]), torch.tensor([2, 0, 1])
    >>> reordered(rows, order).T.tolist(), put_back(reordered(rows, order), order).T.tolist()
    ([[7, 5, 6]], [[5, 6, 7]])
    """
    if not torch.is_grad_enabled():
        return rows.index_select(0, order)
    places = torch.arange(len(order), device=order.device)
    return put_back(rows, put_back(places, order))


def put_back(rows: Tensor, order: Tensor) -> Tensor:
    """Rows that are in an order, each at its own place: what undoes `reordered`."""
    return torch.empty_like(rows).index_copy_(0, order, rows)
