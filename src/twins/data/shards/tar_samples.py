"""The samples in a tar file: where each image is, and what its label says."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ...errors import TwinsError
from ...shown_text import shown
from ..file_walk import is_clutter
from ..image_suffixes import IMAGE_SUFFIXES

BLOCK = tarfile.BLOCKSIZE
_LARGEST_LABEL = 1 << 20  # bytes of a .cls or .json member
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_LABEL_KEYS = ("label", "cls", "class")  # of a .json member; the first that is there counts
_NUMBER = re.compile(r"[-+.\d]+")


class TarSample(NamedTuple):
    """An image in a tar file, and what its neighbours of the same key say of it."""

    member: str
    offset: int
    size: int
    label: int | str  # a class's number, or its name
    class_name: str | None = None  # beside a number
    number: int | None = None  # among the images of its part, before these were shuffled into shards


def key_and_extension(member: str) -> tuple[str, str]:
    """A member's name as WebDataset parts it, at the first dot behind folders: "a/1.seg.PNG" -> "a/1", "seg.png"."""
    folder, slash, name = member.rpartition("/")
    stem, _, extension = name.partition(".")
    return folder + slash + stem, extension.lower()


def samples_of_tar(path: Path, shard_name: str) -> Iterator[TarSample]:
    """All samples of a shard, in its order; only headers and labels are read.

    Raises TwinsError, naming shard and member, for a file that is no plain tar, is damaged or cut short, and for a
    sample without an image or a label.
    """
    with _opened(path, shard_name) as (file, tar):
        members = _members(tar, file, shard_name)
        for key, of_key in groupby(members, key=lambda member: key_and_extension(member.name)[0]):
            yield _sample(key, list(of_key), file, shard_name)


class TarImage(NamedTuple):
    """An image in a tar file, whatever its neighbours say of it."""

    member: str
    offset: int
    size: int


def images_of_tar(path: Path, shard_name: str) -> Iterator[TarImage]:
    """All images of a shard, in its order; only headers are read, and labels are not asked for.

    Raises TwinsError as `check_whole` does.
    """
    with _opened(path, shard_name) as (file, tar):
        for member in _members(tar, file, shard_name):
            if member.name.lower().endswith(IMAGE_SUFFIXES):
                yield TarImage(member.name, member.offset_data, member.size)


def check_whole(path: Path, shard_name: str) -> None:
    """Raises TwinsError for a file that is no plain tar, is damaged or cut short; labels are not looked at."""
    with _opened(path, shard_name) as (file, tar):
        for _ in _members(tar, file, shard_name):
            pass


@contextmanager
def _opened(path: Path, shard_name: str) -> Iterator[tuple[BinaryIO, tarfile.TarFile]]:
    try:
        if not path.is_file():
            raise TwinsError(f"{shard_name}: not a regular file")  # a pipe would keep us waiting for ever
        with path.open("rb") as file:
            _refuse_compressed(file, shard_name)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                yield file, tar
    except TwinsError:
        raise
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise TwinsError(f"{shard_name}: cannot be read as a tar file ({error})") from error


def _refuse_compressed(file: BinaryIO, shard_name: str) -> None:
    start = file.read(6)
    file.seek(0)
    for magic, kind in _COMPRESSIONS.items():
        if start.startswith(magic):
            raise TwinsError(
                f"{shard_name}: compressed with {kind}; samples are read by their position: unpack it to a plain .tar "
                "(images are compressed already)"
            )


def _members(tar: tarfile.TarFile, file: BinaryIO, shard_name: str) -> Iterator[tarfile.TarInfo]:
    """The files in it that belong to samples. Raises TwinsError for what is damaged, up to the archive's end."""
    file_size = os.fstat(file.fileno()).st_size
    position, name = -1, "its start"
    while (member := _next(tar, name, shard_name)) is not None:
        tar.members = []  # type: ignore[attr-defined]  # which would keep them all
        if member.offset <= position or member.size < 0:  # a size below 0 would lead back, and round for ever
            raise TwinsError(f"{shard_name}: damaged at the header of {member.name}")
        position = member.offset
        name = member.name.rpartition("/")[2]
        if member.isdir() or is_clutter(name) or name.startswith("__") or "." not in name:
            continue
        if not member.isreg() or member.issparse():
            raise TwinsError(f"{shard_name}: {member.name} is a link, a device or a sparse file; store it as a file")
        if member.offset_data + member.size > file_size:
            raise TwinsError(f"{shard_name}: cut short within {member.name}; copy or fetch the shard again")
        yield member
    _check_end(file, tar.offset, shard_name)


def _next(tar: tarfile.TarFile, before: str, shard_name: str) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise TwinsError(f"{shard_name}: damaged or cut short after {before} ({error})") from error


def _sample(key: str, members: list[tarfile.TarInfo], file: BinaryIO, shard_name: str) -> TarSample:
    where = f"{shard_name}: {key}"
    fields: dict[str, tarfile.TarInfo] = {}
    for member in members:
        extension = key_and_extension(member.name)[1]
        if extension in fields:
            raise TwinsError(f"{where}: two members {member.name}; each sample needs a key of its own")
        fields[extension] = member
    images = [member for extension, member in fields.items() if f".{extension}" in IMAGE_SUFFIXES]
    if len(images) != 1:
        what = f"{len(images)} images ({', '.join(m.name for m in images)})" if images else "no image"
        raise TwinsError(f"{where}: {what} among its members {', '.join(sorted(fields))}; a sample has one")
    image, described = images[0], _described(fields.get("json"), file, where)
    label = _label(fields.get("cls"), described, file, where)
    class_name, number = described.get("class"), described.get("number")
    return TarSample(
        image.name,
        image.offset_data,
        image.size,
        label,
        shown(class_name) if isinstance(class_name, str) and class_name != label else None,
        number if _is_count(number) else None,
    )


def _label(cls: tarfile.TarInfo | None, described: dict[str, Any], file: BinaryIO, where: str) -> int | str:
    if cls is not None:
        label: Any = _content(cls, file, where).decode("utf-8", "replace").strip()
        source = cls.name
    else:
        label = next((described[key] for key in _LABEL_KEYS if key in described), None)
        source = "its .json"
    if isinstance(label, str) and label.isascii() and label.isdecimal() and len(label) < 10:
        return int(label)
    if _is_count(label) or (isinstance(label, str) and label and not _NUMBER.fullmatch(label)):
        return shown(label) if isinstance(label, str) else label
    if cls is None and label is None:
        raise TwinsError(f"{where}: has no label; expected a member {where.rpartition(': ')[2]}.cls with its number")
    raise TwinsError(f"{where}: {source} holds {str(label)[:40]!r}, which is no class's number or name")


def _described(member: tarfile.TarInfo | None, file: BinaryIO, where: str) -> dict[str, Any]:
    """What the .json member says; nothing where there is none."""
    if member is None:
        return {}
    try:
        value = json.loads(_content(member, file, where))
    except TwinsError:
        raise
    except (ValueError, RecursionError) as error:
        raise TwinsError(f"{where}: {member.name} is not JSON ({error})") from error
    return value if isinstance(value, dict) else {}


def _content(member: tarfile.TarInfo, file: BinaryIO, where: str) -> bytes:
    if member.size > _LARGEST_LABEL:
        raise TwinsError(f"{where}: {member.name} has {member.size} bytes, too many for a label")
    file.seek(member.offset_data)
    return file.read(member.size)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _check_end(file: BinaryIO, end: int, shard_name: str) -> None:
    """Raises TwinsError unless the archive ends with its mark, a block of zeros: `tarfile` takes any end for one."""
    file.seek(end)
    block = file.read(BLOCK)
    if block != bytes(BLOCK):
        what = "damaged" if len(block) == BLOCK else "cut short"
        raise TwinsError(f"{shard_name}: {what} at byte {end}; copy or fetch the shard again")
