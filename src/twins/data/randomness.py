"""Randomness that is looked up, not drawn: every random choice follows from a key.

A sample's key is (seed, epoch, sample, repeat) and a batch's (seed, epoch, step, rank), so that neither the number of
workers nor the number of processes, nor a resumed run, changes what is seen.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_GENERATORS: Any = np.random  # whose stubs do not tell of exchanging them
_SPARES: list[np.random.MT19937] = []  # one, as a rule: making one takes longer than most transforms


def seed_of(*key: int | str) -> int:
    """63 bits that follow from the key alone, on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest()) >> 1


@contextmanager
def keyed_randomness(*key: int | str) -> Iterator[None]:
    """Seed the CPU generators of Python, NumPy and PyTorch from the key, and put them back as they were afterwards.

    NumPy's is exchanged meanwhile and not copied, which takes thirty times as long; if it had drawn a second normal
    number in advance, that one is lost.
    """
    before = random.getstate(), _GENERATORS.get_bit_generator(), torch.get_rng_state()
    seed = seed_of(*key)
    random.seed(seed)
    spare = _SPARES.pop() if _SPARES else np.random.MT19937()
    _GENERATORS.set_bit_generator(spare)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        _GENERATORS.set_bit_generator(before[1])
        _SPARES.append(spare)
        torch.set_rng_state(before[2])
