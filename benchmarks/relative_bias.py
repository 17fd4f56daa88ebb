"""Memory and time of a relative bias on a processor: one number per distance against one per pair.

    python benchmarks/relative_bias.py [tokens] [heads]

Each row is a process of its own, so that the peak of its resident memory is its own; what it held before attention is
taken off. ALiBi is a fixed bias and runs forward; KERPLE is trained and runs forward and backward.
"""

import itertools
import resource
import subprocess
import sys
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

from pushforward.nets import attend
from pushforward.positions import KERPLE, ALiBi, place

FEATURES = 64


def peak() -> float:
    """The largest resident memory so far, in MB."""
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def measure(kind: str, way: str, tokens: int, heads: int) -> str:
    """One row of the table."""
    torch.manual_seed(0)
    encoding = ALiBi(heads) if kind == "ALiBi" else KERPLE(heads)
    q, k, v = (torch.randn(1, heads, tokens, FEATURES, requires_grad=kind == "KERPLE") for _ in range(3))
    short, pos = torch.randn(1, heads, 32, FEATURES), torch.arange(tokens)
    scaled_dot_product_attention(short, short, short, attn_mask=torch.zeros(32, 32))  # what is loaded once
    before, start = peak(), time.perf_counter()
    if way == "distances":
        out = attend(q, k, v, place(encoding, pos, FEATURES, q.dtype))
    else:
        out = scaled_dot_product_attention(q, k, v, attn_mask=encoding.bias(pos, pos, q.dtype)[None])
    if kind == "KERPLE":
        out.sum().backward()
    return f"{kind:8}{way:12}{peak() - before:10.0f} MB{time.perf_counter() - start:10.2f} s"


if __name__ == "__main__":
    if len(sys.argv) == 5:
        print(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        tokens, heads = (sys.argv[1:] + ["4096", "8"][len(sys.argv) - 1 :])[:2]
        print(f"torch {torch.__version__}; {tokens} tokens, {heads} heads, {torch.get_num_threads()} threads")
        for row in itertools.product(("ALiBi", "KERPLE"), ("distances", "pairs")):
            subprocess.run([sys.executable, __file__, *row, tokens, heads], check=True)
