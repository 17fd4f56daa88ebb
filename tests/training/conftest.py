"""What these tests need not wait for."""

import gc
import os

import pytest


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A process that dies does not take the disk with it, and pytest's heap is not worth collecting 100 times."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(gc, "collect", lambda generation=2: 0)
