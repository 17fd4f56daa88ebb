"""Tests run on one thread: the suite is many small calls, and two threads waiting for each other cost more than they give."""

import torch

torch.set_num_threads(1)
