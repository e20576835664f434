"""Networks of the benchmark as small as tests want them."""

from __future__ import annotations

from functools import partial

import pytest

from twins.bench import networks
from twins.optional_dependencies import need

_NARROW = {"embed_dims": (32, 32, 64, 64), "num_heads": (1, 1, 2, 2), "depths": (2, 1, 1, 1)}


def use_narrow_networks(patch: pytest.MonkeyPatch) -> None:
    """Let the benchmark's networks, ours and timm's, have 5 blocks, local and global, and few channels."""
    for module in (networks, need("timm", extra="bench")):
        patch.setattr(module, "create_model", partial(module.create_model, **_NARROW))
