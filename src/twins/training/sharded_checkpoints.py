"""Checkpoints of which each rank writes its shard; `checkpoints.shards` says what they look like."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch.distributed
from torch import Tensor
from torch.distributed import checkpoint as dcp
from torch.distributed.tensor import DTensor

from ..atomic_write import cannot_be_written, sync_folder
from ..checkpoints.resume import save_checkpoint
from ..checkpoints.rotation import newest_first
from ..checkpoints.shards import SHARDS, digest_of, leave_out, put_back, shards_named_by
from ..distributed.collectives import is_main, on_every_rank, on_main
from .checkpoint_writer import copied

_FOLDER = "shards-"  # and a random number, so that none is ever written over


class ShardedCheckpointWriter:
    """Writes a run's checkpoints, at once, as a `CheckpointWriter` does in a thread; every rank has to call `save`.

    The shards are on the disk, and have been read again, before the file that names them takes the place of the one
    before. Until then that one, and its shards, are what a run would go on with.
    """

    def __init__(self, keep: int) -> None:
        """`keep` earlier checkpoints stay beside the newest."""
        self.keep = keep
        self.blocked: list[float] = []  # seconds that each took

    def __enter__(self) -> ShardedCheckpointWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        return None

    def save(self, pack: Callable[[], dict[str, Any]], path: Path, also: Path | None = None) -> None:
        """Write what `pack` returns to `path` and a folder beside it; its weights, whole, to `also` in one file.

        Raises TwinsError, on every rank, where one of them cannot write.
        """
        started = time.monotonic()
        rest, shares = leave_out(pack(), lambda value: isinstance(value, DTensor))
        rest = copied(rest)
        if also is not None:
            _save_weights(rest, shares, also)
        folder = on_main(lambda: _new_folder(path))
        try:
            rest[SHARDS] = {"folder": folder.name, "files": _write_shards(shares, folder)}
            on_main(lambda: save_checkpoint(rest, path, self.keep))
        finally:
            if is_main():
                _remove_unnamed(path)
        self.blocked.append(time.monotonic() - started)

    def is_idle(self) -> bool:
        """Whether all is on the disk."""
        return True

    def wait(self) -> None:
        """Until all is on the disk, as it is already."""


def _new_folder(path: Path) -> Path:
    """For the shards of the next checkpoint; those which runs left that were killed while they saved make room."""
    _remove_unnamed(path)
    return path.with_name(_FOLDER + secrets.token_hex(4))


def _remove_unnamed(path: Path) -> None:
    """Remove the shards that neither the checkpoint at `path` nor an earlier one beside it names."""
    kept = {shards_named_by(file) for file in newest_first(path)}
    for folder in path.parent.glob(f"{_FOLDER}*"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _save_weights(rest: Mapping[str, Any], shares: Mapping[str, DTensor], path: Path) -> None:
    """The checkpoint without the optimiser's state, in one file; weights are gathered one by one for the main rank."""
    weights: dict[str, Tensor] = {}
    for name, share in shares.items():
        if not name.startswith("optimizer/"):
            whole = share.full_tensor()
            if is_main():
                weights[name] = whole.cpu()
    kept = {name: value for name, value in rest.items() if name != "optimizer"}
    on_main(lambda: save_checkpoint(put_back(kept, weights), path))


def _write_shards(shares: Mapping[str, DTensor], folder: Path) -> dict[str, str]:
    """The SHA-256 of each file, by name. Raises TwinsError, on every rank, where one cannot write."""
    writer = dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        dcp.save(dict(shares), storage_writer=writer)
    except dcp.CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        if not isinstance(causes[0], OSError):
            raise
        raise cannot_be_written(folder, causes[0]) from error

    def mine() -> dict[str, str]:
        try:
            sync_folder(folder)
            sync_folder(folder.parent)
            number = torch.distributed.get_rank() + 1
            return {file.name: digest_of(file) for file in folder.glob(f"shard-{number:05d}-*")}
        except OSError as error:
            raise cannot_be_written(folder, error) from error

    return {name: digest for files in on_every_rank(mine) for name, digest in files.items()}
