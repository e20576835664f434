"""Checkpoint files read safely: whatever the format, nothing in a file is run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import TwinsError
from .files import INDEX, locate, shards_of
from .model_folder import stated_beside
from .safetensors_digest import has_digest, is_as_written
from .shards import SHARDS, gather_shards
from .torch_files import LEGACY_START, UNREADABLE, FileContent, NotTorchSaveError, read_archive, read_legacy
from .weights import holds_tensors, part_of_checkpoint, state_dict_of

_NOT_WEIGHTS = (
    (rb"\Z", "is empty: download or copy it again"),
    (rb"\s*<", "is a web page, so a download failed: download the file again"),
    (rb"version https://git-lfs", "is a Git LFS pointer, not the file: run `git lfs pull` in its repository"),
    (rb"\x1f\x8b", "is compressed by gzip: unpack it first"),
    (rb"(?s).{257}ustar", "is a tar archive: unpack it, and name the checkpoint in it"),
)
_DAMAGED = "is cut short or damaged: download or copy it again"


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a .pth, .pt, .bin, .tar, .ckpt or .safetensors file holds, on the CPU. Nothing in the file is run.

    The content decides the format, whatever the name is. A safetensors file is returned as {"model": state dict,
    "metadata": its strings}; an index of several files (`*.index.json`) as {"model": all their tensors}. A folder
    stands for the one checkpoint in it. `FILE#KEY` means what stands under that key alone, as {"state_dict": ...}.
    Where the file is in a folder as the Hugging Face hub has them, `meta` is what its config.json says, and
    `config_file` its path; see `model_folder`.

    Tensors, NumPy's arrays (as tensors) and numbers, plain types, paths and an argparse.Namespace are read. Objects of
    any other class are stubs: dictionaries with their attributes, whose `name` is the class's.

    Raises TwinsError for a file that is not there, cannot be read, is not a checkpoint or a damaged one, and for one
    that holds no tensors.
    """
    file, key = locate(path)
    content = _read_index(file) if file.name.endswith(INDEX) else _read_file(file)
    if key is not None:
        return part_of_checkpoint(content, key, str(file))
    stated = stated_beside(file)
    return {**content, **stated} if stated else content


def _read_index(index: Path) -> dict[str, Any]:
    """The tensors of all the files that an index names."""
    tensors: dict[str, Tensor] = {}
    for shard in shards_of(index):
        tensors |= state_dict_of(_read_file(shard))
    return {"model": tensors}


def _read_file(file: Path) -> dict[str, Any]:
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = opened.read(512)
    except OSError as error:
        raise TwinsError(f"{file} cannot be read: {error.strerror}") from error
    # Eight bytes of length, then a JSON header; the length may look like the start of anything.
    looks_like_safetensors = start[8:9] == b"{"
    if not (looks_like_safetensors and int.from_bytes(start[:8], "little") <= size - 8):
        for beginning, verdict in _NOT_WEIGHTS:
            if re.match(beginning, start):
                raise TwinsError(f"{file} {verdict}")
    content, asked_for = _read_safetensors(file) if looks_like_safetensors else _read_torch_file(file, start)
    if isinstance(content, dict) and SHARDS in content:
        content = gather_shards(content, file)
    if not isinstance(content, dict) or not holds_tensors(content):
        verdict = "holds no weights: a dictionary of tensors is needed"
        if asked_for:
            verdict += f"; it asks for {asked_for[0]!r}, which weights do not need: nothing in it was run"
        raise TwinsError(f"{file} {verdict}")
    return content


def _read_safetensors(file: Path) -> FileContent:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise TwinsError(f'{file} needs the safetensors library: pip install "twins-vit[train]"') from error
    try:
        with safe_open(file, framework="pt") as opened:
            names = opened.keys()
            tensors = {name: opened.get_tensor(name) for name in names}
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise TwinsError(f"{file} {_DAMAGED}") from error
    if has_digest(metadata) and not is_as_written(tensors, metadata):
        raise TwinsError(f"{file} is damaged, or another program has changed it: download or copy it again")
    return FileContent({"model": tensors, "metadata": metadata}, [])


def _read_torch_file(file: Path, start: bytes) -> FileContent:
    is_archive = start.startswith(b"PK")
    if not (is_archive or start.startswith(b"\x80")):
        raise TwinsError(f"{file} is not a checkpoint: a file that torch.save or safetensors wrote is needed")
    try:
        return read_archive(file) if is_archive else read_legacy(file)
    except NotTorchSaveError as error:
        raise TwinsError(f"{file} {error}") from error
    except UNREADABLE as error:
        if start.startswith((b"PK", LEGACY_START)):
            raise TwinsError(f"{file} {_DAMAGED}") from error
        raise TwinsError(
            f"{file} is a pickle that torch.save did not write: refused, and nothing in it was run"
        ) from error
