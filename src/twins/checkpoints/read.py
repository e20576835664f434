"""Checkpoint files read safely: whatever the format, nothing in a file is run."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from ..errors import TwinsError

# Where training scripts keep the weights of a checkpoint, and a running average of them.
_PLAIN = ("model", "state_dict", "model_state_dict")
_AVERAGED = ("model_ema", "state_dict_ema", "ema_state_dict")

# Training arguments and paths ride along in many checkpoints. Paths are read as pure ones, which exist on every system
# and never touch the disk. Pairs, because leaving `safe_globals` would withdraw a bare class that the user had allowed.
_ALLOWED: list[Any] = [(argparse.Namespace, "argparse.Namespace")]
for _pure in (PurePosixPath, PureWindowsPath):
    for _name in (_pure.__name__, _pure.__name__.removeprefix("Pure")):
        _ALLOWED += [(_pure, f"pathlib.{_name}"), (_pure, f"pathlib._local.{_name}")]  # _local: Python 3.13

_NOT_WEIGHTS = (
    (rb"\Z", "is empty: download or copy it again"),
    (rb"\s*<", "is a web page, so a download failed: download the file again"),
    (rb"version https://git-lfs", "is a Git LFS pointer, not the file: run `git lfs pull` in its repository"),
)
_DAMAGED = "is cut short or damaged: download or copy it again"
_LEGACY_START = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)  # what torch.save began with before 1.6
# All that torch's restricted unpickler raised on 12,000 cut and garbled files.
_UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, EOFError, OSError, RuntimeError, ValueError),
    *(LookupError, TypeError, AttributeError, AssertionError),
)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a .pth, .pt, .bin, .tar or .safetensors file holds, on the CPU. Nothing in the file is run.

    The content decides the format, whatever the name is. A safetensors file is returned as {"model": state dict,
    "metadata": its strings}.

    Raises TwinsError for a file that is not there, cannot be read, is not a checkpoint or a damaged one, holds no
    tensors, or asks for more than tensors, plain types, paths and an argparse.Namespace.
    """
    path = Path(path).expanduser()
    start = _start(path)
    is_safetensors = start[8:9] == b"{"  # eight bytes of length, then a JSON header
    checkpoint = _read_safetensors(path) if is_safetensors else _read_pickle(path, start)
    if not isinstance(checkpoint, dict) or not state_dict_of(checkpoint):
        raise TwinsError(f"{path} holds no weights: a dictionary of tensors is needed")
    return checkpoint


def state_dict_of(checkpoint: Mapping[str, Any], ema: bool = False) -> dict[str, Tensor]:
    """The weights among a checkpoint's many things; empty where there are none."""
    averaged = [checkpoint.get(key) for key in _AVERAGED]
    plain = [*(checkpoint.get(key) for key in _PLAIN), checkpoint]
    for holder in averaged if ema else [*plain, *averaged]:
        items = holder.items() if isinstance(holder, Mapping) else ()
        if tensors := {name: item for name, item in items if isinstance(name, str) and isinstance(item, Tensor)}:
            return tensors
    return {}


def _start(path: Path) -> bytes:
    """The first bytes of a file that may be a checkpoint."""
    if path.is_dir():
        raise TwinsError(f"{path} is a directory: name the checkpoint file itself")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError:
        raise TwinsError(f"{path} is not there: check the path") from None
    except OSError as error:
        raise TwinsError(f"{path} cannot be read: {error.strerror}") from error
    for beginning, verdict in _NOT_WEIGHTS:
        if re.match(beginning, start):
            raise TwinsError(f"{path} {verdict}")
    return start


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise TwinsError(f'{path} needs the safetensors library: pip install "twins-vit[train]"') from error
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {"model": {name: file.get_tensor(name) for name in names}, "metadata": file.metadata() or {}}
    except SafetensorError as error:
        raise TwinsError(f"{path} {_DAMAGED}") from error


def _read_pickle(path: Path, start: bytes) -> Any:
    if start.startswith(b"PK"):
        _check_archive(path)
    elif not start.startswith(b"\x80"):
        raise TwinsError(f"{path} is not a checkpoint: a file that torch.save or safetensors wrote is needed")
    try:
        # The warning is about pickle protocols that the restricted reader may not know; it says so by failing too.
        with path.open("rb") as file, torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    except _UNREADABLE as error:
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            verdict = (
                f"asks for {asked[1]!r}, which weights do not need: refused, and nothing in it was run; "
                "save the state dict alone where the file was made"
            )
        elif start.startswith((b"PK", _LEGACY_START)):
            verdict = _DAMAGED
        else:
            verdict = "is a pickle that torch.save did not write: refused, and nothing in it was run"
        raise TwinsError(f"{path} {verdict}") from error


def _check_archive(path: Path) -> None:
    """Tell torch.save's zip archives from others, and from the first half of one."""
    try:
        with zipfile.ZipFile(path) as archive:
            files = {name.rpartition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError) as error:
        raise TwinsError(f"{path} {_DAMAGED}") from error
    if "constants.pkl" in files:
        raise TwinsError(f"{path} is a TorchScript program: save the state dict of the network it was made from")
    if "data.pkl" not in files:
        raise TwinsError(f"{path} is a zip archive that torch.save did not write: a checkpoint is needed")
