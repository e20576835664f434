"""Randomness that is looked up, not drawn: every random choice follows from a key.

A sample's key is (seed, epoch, sample, repeat) and a batch's (seed, epoch, step, rank), so that neither the number of
workers nor the number of processes, nor a resumed run, changes what is seen.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(*key: int | str) -> int:
    """63 bits that follow from the key alone, on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest()) >> 1


@contextmanager
def keyed_randomness(*key: int | str) -> Iterator[None]:
    """Seed the CPU generators of Python, NumPy and PyTorch from the key, and put them back as they were afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = seed_of(*key)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
