"""The two kinds of files that torch.save has written: zip archives, and before 1.6 pickles with the bytes behind them.

Everything that is read is bounded by the size of the file, whatever its pickles claim.
"""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import struct
import sys
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from .files import SUFFIXES
from .pickle_stand_ins import Storage
from .seal import seal_of
from .unpickle import Unpickler

LEGACY_START = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
# All that cut and garbled files make the unpickler and `zipfile` raise.
UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, EOFError, OSError, RuntimeError, ValueError, MemoryError, OverflowError),
    *(LookupError, TypeError, AttributeError, AssertionError, zipfile.BadZipFile, NotImplementedError),
)


class FileContent(NamedTuple):
    """What a file holds, and the names that its pickle asked for in vain."""

    content: Any
    asked_for: list[str]


class NotTorchSaveError(ValueError):
    """A zip archive of something else; the text goes on from the name of the file."""


def read_archive(path: Path) -> FileContent:
    """The content of a zip archive, on the CPU.

    A file of ours is compared with its seal, others with the CRC-32 of each of their entries.

    Raises NotTorchSaveError for an archive of something else, and one of `UNREADABLE` for a damaged one.
    """
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        entries = {name.partition("/")[2]: entry for name, entry in archive.NameToInfo.items()}
        _check_entries(entries, file.seek(0, os.SEEK_END))  # of this very file: another may have taken its name
        seal = seal_of(file)
        if seal == "broken":
            raise zipfile.BadZipFile("a byte of it has changed")

        def bytes_of(name: str) -> Tensor:
            file.seek(_start_of(file, entries[name]))
            data = _read_bytes(file, entries[name].file_size)
            if seal == "none":
                _check_crc(data, entries[name])
            return data

        swapped = "byteorder" in entries and bytes(bytes_of("byteorder").numpy()).decode() != sys.byteorder
        storages: dict[Any, Storage] = {}

        def storage_of(dtype: torch.dtype, key: Any, location: Any, numel: int) -> Storage:
            if key not in storages:
                if entries[f"data/{key}"].file_size != numel * dtype.itemsize:
                    raise pickle.UnpicklingError("a storage has another size than its file")
                storages[key] = Storage(bytes_of(f"data/{key}"), dtype)
                if swapped:
                    storages[key].data.untyped_storage().byteswap(dtype)
            return storages[key]._replace(dtype=dtype)

        unpickler = Unpickler(io.BytesIO(bytes(bytes_of("data.pkl").numpy())), storage_of)
        return FileContent(unpickler.load(), unpickler.asked_for)


def read_legacy(path: Path) -> FileContent:
    """The content of a file as PyTorch wrote it before 1.6, on the CPU. Raises one of `UNREADABLE` for others."""
    with path.open("rb") as file:
        if Unpickler(file).load() != torch.serialization.MAGIC_NUMBER:
            raise pickle.UnpicklingError("not what torch.save begins with")
        if Unpickler(file).load() != torch.serialization.PROTOCOL_VERSION:
            raise pickle.UnpicklingError("another version of the format")
        left = path.stat().st_size
        Unpickler(file).load()  # of the machine that wrote it
        storages: dict[Any, Storage] = {}

        def storage_of(dtype: torch.dtype, key: Any, location: Any, numel: int, view: Any = None) -> Storage:
            nonlocal left
            if key not in storages:
                left -= numel * dtype.itemsize
                if left < 0 or numel < 0:
                    raise pickle.UnpicklingError("a storage is larger than the file")
                storages[key] = Storage(torch.empty(numel * dtype.itemsize, dtype=torch.uint8), dtype)
            if view is None:
                return storages[key]
            _, offset, size = view
            return Storage(storages[key].data[offset * dtype.itemsize :][: size * dtype.itemsize], dtype)

        unpickler = Unpickler(file, storage_of)
        content = unpickler.load()
        for key in Unpickler(file).load():
            data, dtype = storages[key]
            (numel,) = struct.unpack("<q", file.read(8))
            if numel * dtype.itemsize != data.numel():
                raise pickle.UnpicklingError("a storage has another size than its tensors say")
            _read_into(file, data)
        return FileContent(content, unpickler.asked_for)


def _check_entries(entries: dict[str, zipfile.ZipInfo], file_size: int) -> None:
    if "constants.pkl" in entries:
        raise NotTorchSaveError("is a TorchScript program: save the state dict of the network it was made from")
    if "data.pkl" not in entries:
        inside = [entry.filename for entry in entries.values() if entry.filename.endswith(SUFFIXES)]
        if inside:
            raise NotTorchSaveError(f"is a zip archive with {inside[0]} in it: unpack it and name that file")
        raise NotTorchSaveError("is a zip archive that torch.save did not write: a checkpoint is needed")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise NotTorchSaveError("is a compressed zip archive, which torch.save never writes: save the checkpoint anew")
    if sum(entry.file_size for entry in entries.values()) > file_size:
        raise pickle.UnpicklingError("the entries are larger than the file")


def _start_of(file: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored entry begin: after its own header, whose length the directory does not say."""
    file.seek(entry.header_offset)
    name_length, extra_length = struct.unpack("<26x2H", file.read(30))
    return entry.header_offset + 30 + name_length + extra_length


def _check_crc(data: Tensor, entry: zipfile.ZipInfo) -> None:
    """Raises BadZipFile for bytes that are not those which were written; PyTorch leaves the sums out on demand."""
    if entry.CRC and zlib.crc32(data.numpy().data) != entry.CRC:
        raise zipfile.BadZipFile(f"{entry.filename}: a byte of it has changed")


def _read_bytes(file: IO[bytes], count: int) -> Tensor:
    data = torch.empty(count, dtype=torch.uint8)
    _read_into(file, data)
    return data


def _read_into(file: IO[bytes], data: Tensor) -> None:
    """Fill a tensor of bytes from the file. Raises EOFError where the file ends before."""
    if data.numel() and file.readinto((ctypes.c_char * data.numel()).from_address(data.data_ptr())) != data.numel():  # type: ignore[attr-defined]
        raise EOFError("the file ends inside a tensor")
