"""The SHA-256 of what a safetensors file holds, in the file's own metadata.

The format has no checksum, and every byte of a tensor is a valid number: damage would load as other weights. Files of
this package say of themselves that they are, and which digest their content has; those of others have none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

KEY = "twins_sha256"
_WRITER_KEY, _WRITER = "written_by", "twins"  # either key says that there is a digest, should the other be damaged


def with_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a file of these tensors, with the digest of both."""
    metadata = {**metadata, _WRITER_KEY: _WRITER}
    return {**metadata, KEY: _digest(tensors, metadata)}


def has_digest(metadata: Mapping[str, str]) -> bool:
    """Whether the file is one that has, or should have, a digest."""
    return KEY in metadata or metadata.get(_WRITER_KEY) == _WRITER


def is_as_written(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bool:
    """Whether the content of a file that should have a digest is what it was when it was written."""
    rest = {name: text for name, text in metadata.items() if name != KEY}
    return metadata.get(KEY) == _digest(tensors, rest)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Of the names, dtypes, shapes and bytes of all tensors, and of the metadata; whatever their order in the file."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), tuple(tensor.shape)]).encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
