"""Checkpoints in shards: what ranks share out lies in a folder beside the file that holds all the rest.

The file is an ordinary checkpoint, sealed, in which the tensors that are shared out are left out; it names the folder
and the SHA-256 of each file there. Those are safetensors files as torch.distributed.checkpoint writes them, one a rank,
so that nothing in them can be run, and any number of processes can read what any other number wrote.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import TwinsError
from .torch_files import UNREADABLE, read_archive

SHARDS = "shards"  # the field that names folder and files
_PARTS = ("model", "model_ema", "optimizer")  # fields that hold tensors of which ranks have shares
_DEPTH = 4  # of dictionaries, down to optimizer/state/0/exp_avg
_LEFT_OUT = "in the shards"  # what stands in the place of a tensor
_SUFFIX = ".safetensors"
_HEX = set("0123456789abcdef")


def leave_out(checkpoint: Mapping[str, Any], shared: Callable[[Any], bool]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the checkpoint without the tensors that are `shared`, those by their paths: "model/head.weight")."""
    tensors: dict[str, Any] = {}

    def without(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return {key: without(item, f"{path}/{key}") for key, item in value.items()}
        if not shared(value):
            return value
        tensors[path] = value
        return _LEFT_OUT

    return {name: without(value, name) if name in _PARTS else value for name, value in checkpoint.items()}, tensors


def put_back(checkpoint: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint that `leave_out` was given. Raises KeyError for a tensor that is not there."""

    def filled(value: Any, path: str, depth: int) -> Any:
        if isinstance(value, dict) and depth:
            return {key: filled(item, f"{path}/{key}", depth - 1) for key, item in value.items()}
        return tensors[path] if isinstance(value, str) and value == _LEFT_OUT else value

    return {name: filled(value, name, _DEPTH) if name in _PARTS else value for name, value in checkpoint.items()}


def gather_shards(checkpoint: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What `file` holds, together with the tensors in its shards, each of them whole and on the CPU.

    Raises TwinsError, naming the file, for shards that are missing, damaged, or not those that `file` was written with.
    """
    named = checkpoint[SHARDS]
    if not _names_files(named):
        raise TwinsError(f"{file}: does not say which shards are its own: the file is damaged")
    folder, digests = file.parent / named["folder"], named["files"]
    for name, digest in digests.items():
        _check(folder / name, digest, file)
    others = {path.name for path in folder.glob(f"*{_SUFFIX}")} - digests.keys()
    if others:
        raise TwinsError(f"{folder}: {min(others)} is no shard of {file}: remove it")
    try:
        content = put_back(checkpoint, _read(folder))
    except KeyError as error:
        raise TwinsError(f"{folder}: lacks {error}, which {file} left out: the shards are of another file") from error
    del content[SHARDS]
    return content


def shards_named_by(file: Path) -> str | None:
    """The folder with the shards of a checkpoint file; None for a file without, or one that cannot be read."""
    try:
        named = read_archive(file).content[SHARDS]
    except UNREADABLE:
        return None
    return str(named["folder"]) if _names_files(named) else None


def digest_of(file: Path) -> str:
    """SHA-256. Raises OSError for a file that cannot be read."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _names_files(named: Any) -> bool:
    if not (isinstance(named, Mapping) and isinstance(named.get("files"), Mapping) and named["files"]):
        return False
    names = [named.get("folder"), *named["files"]]
    return (
        all(isinstance(name, str) and name not in ("", "..") and Path(name).name == name for name in names)
        and all(name.endswith(_SUFFIX) for name in named["files"])
        and all(isinstance(d, str) and len(d) == 64 and set(d) <= _HEX for d in named["files"].values())
    )


def _check(shard: Path, digest: str, file: Path) -> None:
    try:
        unchanged = digest_of(shard) == digest
    except FileNotFoundError:
        raise TwinsError(f"{shard} is not there: {file} needs it; copy the folder anew") from None
    except OSError as error:
        raise TwinsError(f"{shard} cannot be read: {error.strerror}") from error
    if not unchanged:
        raise TwinsError(f"{shard} is cut short or damaged, or of another checkpoint than {file}: copy both anew")


def _read(folder: Path) -> dict[str, Tensor]:
    """All tensors in the shards, whole, by their paths. Raises TwinsError for files that hold something else."""
    from safetensors import SafetensorError
    from torch.distributed import checkpoint as dcp

    reader = dcp.HuggingFaceStorageReader(str(folder))
    try:
        saved: Mapping[str, Any] = reader.read_metadata().state_dict_metadata
        for path, tensor in saved.items():
            if sum(chunk.sizes.numel() for chunk in tensor.chunks) != tensor.size.numel():
                raise ValueError(f"{path} has gaps")
        tensors = {path: torch.empty(tensor.size, dtype=tensor.properties.dtype) for path, tensor in saved.items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as it is meant: each process by itself
            dcp.load(tensors, storage_reader=reader, no_dist=True)
    except (dcp.CheckpointException, SafetensorError, *UNREADABLE) as error:
        raise TwinsError(f"{folder}: holds no shards of a checkpoint ({type(error).__name__})") from error
    return tensors
