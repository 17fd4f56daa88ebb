"""Tests run on one thread: many small calls, where two threads waiting for each other cost more than they give."""

import torch

torch.set_num_threads(1)
